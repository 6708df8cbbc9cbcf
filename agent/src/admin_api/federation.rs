//! Which entries federate with which trust domains, and which of those have no bundle here. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use countersign_common::entry::{Entry, EntrySet};
use countersign_common::spiffe_id::TrustDomain;

use crate::store::ForeignBundles;

/// How many trust domains are warned of; the others are counted.
const MAX_WARNINGS: usize = 20;

/// How many entries a warning names.
const MAX_NAMED: usize = 5;

/// The entries that federate with `trust_domain`, in the order of their ids.
pub(super) fn federating<'e>(entries: &'e EntrySet, trust_domain: &'e TrustDomain) -> impl Iterator<Item = &'e Entry> {
    let entries = entries.entries.iter().map(|entry| &**entry);
    entries.filter(|entry| entry.federates_with.contains(trust_domain))
}

/// How many entries federate with each trust domain that any of them does with.
pub(super) fn counts(entries: &EntrySet) -> BTreeMap<&TrustDomain, u64> {
    let mut counts = BTreeMap::new();
    for domain in entries.entries.iter().flat_map(|entry| &entry.federates_with) {
        *counts.entry(domain).or_default() += 1;
    }
    counts
}

/// A line for each trust domain that one of `entries` federates with and that has no bundle. Such an
/// entry is legal, as the bundle may come later; until then nothing of that trust domain is valid.
pub(super) fn warnings<'e>(entries: impl Iterator<Item = &'e Arc<Entry>>, bundles: &ForeignBundles) -> Vec<String> {
    let mut missing: BTreeMap<&TrustDomain, BTreeSet<&str>> = BTreeMap::new();
    for entry in entries {
        for domain in entry.federates_with.iter().filter(|domain| !bundles.contains_key(*domain)) {
            missing.entry(domain).or_default().insert(entry.id.as_str());
        }
    }
    let mut lines: Vec<_> = missing.iter().take(MAX_WARNINGS).map(|(domain, ids)| warning(domain, ids)).collect();
    if let Some(more @ 1..) = missing.len().checked_sub(MAX_WARNINGS) {
        lines.push(format!("and {more} more trust domains have no bundle; see: countersign bundle list"));
    }
    lines
}

fn warning(domain: &TrustDomain, ids: &BTreeSet<&str>) -> String {
    let named: Vec<_> = ids.iter().take(MAX_NAMED).copied().collect();
    let more = match ids.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "no bundle of {domain} is set, and these entries federate with it: {}{more}; no SVID of it is valid for them \
         until one is, with: countersign bundle set {domain} FILE",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use countersign_common::bundle::Bundle;
    use countersign_common::entry::parse_entries;

    use super::*;

    fn entry(id: &str, with: &str) -> Arc<Entry> {
        let text = format!(
            "id: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: [\"unix:uid:1\"]\nfederates_with: [{with}]\n"
        );
        Arc::new(parse_entries("test", &text, None).unwrap().remove(0))
    }

    fn domain(name: &str) -> TrustDomain {
        TrustDomain::parse(name).unwrap()
    }

    #[test]
    fn trust_domains_without_a_bundle_are_told_once_with_their_entries() {
        let entries = [entry("b", "known, c.example"), entry("a", "c.example"), entry("d", "known"), entry("e", "")];
        let bundle = Bundle::parse(domain("known"), r#"{"keys": []}"#).unwrap();
        let bundles: ForeignBundles = [(domain("known"), Arc::new(bundle))].into();
        assert_eq!(
            warnings(entries.iter(), &bundles),
            ["no bundle of c.example is set, and these entries federate with it: a, b; no SVID of it is valid for \
                 them until one is, with: countersign bundle set c.example FILE"]
        );
        let many: Vec<_> = (0..9).map(|n| entry(&format!("e{n}"), "c")).collect();
        assert!(
            warnings(many.iter(), &bundles)[0].contains("federate with it: e0, e1, e2, e3, e4 and 4 more; no SVID")
        );
    }

    #[test]
    fn warnings_have_an_end() {
        let with: Vec<_> = (0..100).map(|n| format!("d{n}")).collect();
        let told = warnings([entry("a", &with.join(", "))].iter(), &ForeignBundles::new());
        assert_eq!(
            (told.len(), &*told[20]),
            (21, "and 80 more trust domains have no bundle; see: countersign bundle list")
        );
    }

    #[test]
    fn who_federates_is_found() {
        let entries = [entry("a", "x, y"), entry("b", "y"), entry("c", "")];
        let set = EntrySet { revision: 1, entries: entries.to_vec() };
        let ids = |name| {
            let domain = domain(name);
            federating(&set, &domain).map(|entry| entry.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(counts(&set), [(&domain("x"), 1), (&domain("y"), 2)].into());
        assert_eq!((ids("x"), ids("y"), ids("z")), (vec!["a".into()], vec!["a".into(), "b".into()], vec![]));
    }
}
