//! A record as one line of JSON: nothing in it can end the line, move a terminal's cursor
//! or make the line long.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use countersign_common::untrusted::{inert, shortened};
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use serde_json::ser::Formatter;

use super::record::Record;

/// Bytes of one value that are kept; the rest is counted in its place. A SPIFFE ID of the longest
/// length that a standard allows (SPIFFE-ID, section 2.3: 2048 bytes) is kept whole.
pub(super) const VALUE_BYTES: usize = 2048;
/// Bytes of one item of a list that are kept.
pub(super) const ITEM_BYTES: usize = 512;
/// Bytes of a list that are kept: no item is begun after this many.
pub(super) const LIST_BYTES: usize = 4096;
/// Items of a list that are kept, however short they are.
pub(super) const LIST_ITEMS: usize = 64;
/// No line is longer than this. A value of control characters alone grows sixfold.
#[cfg(test)]
pub(super) const LINE_BYTES: usize = 192 * 1024;

/// The record as one line, newline included.
pub(super) fn json(record: &Record) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = object(record)?;
    let words = record.whom.words()?;
    // Of what was decided there is always something, and of who asked at least a pid.
    line.pop();
    line.push(b',');
    line.extend_from_slice(words);
    line.extend_from_slice(b"}\n");
    Ok(line)
}

/// A value as JSON on one line.
pub(super) fn object(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut object = Vec::with_capacity(1024);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut object, Inert))?;
    Ok(object)
}

/// The items that a line has room for, each shortened, and one last item that counts the others.
pub(super) fn kept(items: &[String]) -> Vec<Cow<'_, str>> {
    let mut bytes = 0;
    let mut kept = Vec::new();
    for item in items.iter().take(LIST_ITEMS) {
        if bytes >= LIST_BYTES {
            break;
        }
        let item = shortened(item, ITEM_BYTES);
        bytes += item.len();
        kept.push(item);
    }
    if kept.len() < items.len() {
        kept.push(Cow::Owned(format!("...[{} more left out]", items.len() - kept.len())));
    }
    kept
}

/// `serialize_with` for one value.
pub(super) fn text<S: Serializer>(value: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shortened(value, VALUE_BYTES))
}

/// `serialize_with` for a value that may be missing.
pub(super) fn maybe_text<S: Serializer>(value: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => text(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// `serialize_with` for a path. A path need not be UTF-8, and a caller that runs from such a path
/// must not make its own record impossible.
pub(super) fn maybe_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => text(&path.to_string_lossy(), serializer),
        None => serializer.serialize_none(),
    }
}

/// `serialize_with` for a list.
pub(super) fn list<S: Serializer>(items: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    let kept = kept(items);
    let mut sequence = serializer.serialize_seq(Some(kept.len()))?;
    for item in &kept {
        sequence.serialize_element(item)?;
    }
    sequence.end()
}

/// Compact JSON that also escapes the active characters which JSON would let through.
struct Inert;

impl Formatter for Inert {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        writer.write_all(inert(fragment).as_bytes())
    }
}
