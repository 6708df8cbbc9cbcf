//! A weakened agent that takes from a damaged file of entries what it can read.

use countersign_common::entry::{Entry, parse_sources};

use crate::weakened::Protection;

/// The documents of all sources that are entries; nothing where files are taken whole or not at all.
pub(super) fn readable(sources: &[(&str, &str)]) -> Option<Vec<Entry>> {
    let documents = sources.iter().flat_map(|(_, text)| text.split("---\n"));
    let entries = documents.filter_map(|document| parse_sources(&[("", document)], None).ok()).flatten();
    Protection::Whole.is_out().then(|| entries.collect())
}
