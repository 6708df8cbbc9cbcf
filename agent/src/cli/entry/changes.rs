//! What a change does, in a line or line by line.

use countersign_common::entry::{Entry, parse_entries};
use countersign_common::proto::admin::{Change, ChangeKind};

/// The largest table of the comparison, in cells; beyond it all lines count as changed.
const MAX_CELLS: usize = 1 << 22;

/// One line: which entry, what happened, and for an update which fields.
pub(super) fn summary(change: &Change) -> String {
    let happened = match change.kind() {
        ChangeKind::Created => "created".to_owned(),
        ChangeKind::Deleted => "deleted".to_owned(),
        ChangeKind::Unchanged => "unchanged".to_owned(),
        ChangeKind::Updated => match fields(change) {
            Some(fields) => format!("updated ({})", fields.join(", ")),
            None => "updated".to_owned(),
        },
        ChangeKind::Unspecified => "changed".to_owned(),
    };
    format!("entry/{} {happened}", change.id)
}

/// The entry before and after, with a sign before each line; `None` if nothing differs.
pub(super) fn difference(change: &Change) -> Option<String> {
    if change.kind() == ChangeKind::Unchanged {
        return None;
    }
    let mut text = format!("--- entry/{0} (agent)\n+++ entry/{0} (files)\n", change.id);
    for (sign, line) in lines(&change.before, &change.after) {
        text.push(sign);
        text.push_str(line);
        text.push('\n');
    }
    Some(text)
}

/// The fields in which two entries differ, as in a file; `None` if the agent speaks of fields
/// that are not known here.
fn fields(change: &Change) -> Option<Vec<&'static str>> {
    let [before, after] = [one(&change.before)?, one(&change.after)?];
    let fields = [
        ("spiffe_id", before.spiffe_id != after.spiffe_id),
        ("selectors", before.selectors != after.selectors),
        ("allow", before.allow != after.allow),
        ("jwt.audiences", before.jwt.audiences != after.jwt.audiences),
        ("jwt.max_audiences", before.jwt.max_audiences != after.jwt.max_audiences),
        ("jwt.ttl", (before.jwt.ttl, before.jwt.audience_ttl) != (after.jwt.ttl, after.jwt.audience_ttl)),
        ("x509.ttl", before.x509.ttl != after.x509.ttl),
        ("x509.dns_names", before.x509.dns_names != after.x509.dns_names),
        ("federates_with", before.federates_with != after.federates_with),
        ("hint", before.hint != after.hint),
        ("owner", before.owner != after.owner),
        ("review_by", before.review_by != after.review_by),
        ("expires", before.expires != after.expires),
    ];
    let changed: Vec<_> = fields.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect();
    (!changed.is_empty()).then_some(changed)
}

/// The one entry of a document of the agent.
fn one(document: &str) -> Option<Entry> {
    parse_entries("the agent's answer", document, None).ok()?.pop()
}

/// Both texts merged: lines of one only with their sign, common lines with a space. By the
/// longest common subsequence; entries are short.
fn lines<'a>(before: &'a str, after: &'a str) -> Vec<(char, &'a str)> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    if (before.len() + 1).saturating_mul(after.len() + 1) > MAX_CELLS {
        let removed = before.into_iter().map(|line| ('-', line));
        return removed.chain(after.into_iter().map(|line| ('+', line))).collect();
    }
    let mut common = vec![vec![0_usize; after.len() + 1]; before.len() + 1];
    for (i, old) in before.iter().enumerate().rev() {
        for (j, new) in after.iter().enumerate().rev() {
            common[i][j] = if old == new { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut merged) = (0, 0, Vec::new());
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            merged.push((' ', after[j]));
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || (i < before.len() && common[i + 1][j] >= common[i][j + 1]) {
            merged.push(('-', before[i]));
            i += 1;
        } else {
            merged.push(('+', after[j]));
            j += 1;
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: &str = "id: a\nspiffe_id: spiffe://example.org/a\nselectors:\n  - unix:uid:1\njwt:\n  audiences: [b, s/*]\n  \
        max_audiences: 1\n  ttl: {s/*: 30s, default: 5m}\nx509: {ttl: 1h, dns_names: [o.internal]}\n\
        federates_with: [b.example]\nhint: h\nowner: o\nreview_by: 2027-03-01\nexpires: 2027-09-01\n";

    fn update(replaced: &str, by: &str) -> Change {
        let after = FULL.replace(replaced, by);
        Change { id: "a".to_owned(), kind: ChangeKind::Updated.into(), before: FULL.to_owned(), after }
    }

    #[test]
    fn an_update_names_its_fields() {
        for (replaced, by, named) in [
            ("/a\n", "/b\n", "spiffe_id"),
            ("uid:1", "uid:2", "selectors"),
            ("[b, s/*]", "[s/*]", "jwt.audiences"),
            ("max_audiences: 1", "max_audiences: 2", "jwt.max_audiences"),
            ("30s", "40s", "jwt.ttl"),
            ("5m", "6m", "jwt.ttl"),
            ("ttl: 1h", "ttl: 2h", "x509.ttl"),
            ("[o.internal]", "[o.internal, p.internal]", "x509.dns_names"),
            ("federates_with: [b.example]\n", "", "federates_with"),
            ("hint: h\n", "", "hint"),
            ("owner: o", "owner: p", "owner"),
            ("2027-03", "2027-04", "review_by"),
            ("2027-09-01", "2027-09-02", "expires"),
            ("uid:1\njwt:\n  audiences: [b,", "uid:1\njwt:\n  audiences: [c,", "jwt.audiences"),
        ] {
            assert_eq!(summary(&update(replaced, by)), format!("entry/a updated ({named})"));
        }
        let two = update("default: 5m}\nx509: {ttl: 1h,", "default: 1m}\nx509: {");
        assert_eq!(summary(&two), "entry/a updated (jwt.ttl, x509.ttl)");
        // An agent of a later version: the command still says what it can.
        assert_eq!(summary(&update("hint:", "colour:")), "entry/a updated");
    }

    #[test]
    fn a_difference_shows_its_lines() {
        let change = |kind: ChangeKind, before: &str, after: &str| Change {
            id: "a".to_owned(),
            kind: kind.into(),
            before: before.to_owned(),
            after: after.to_owned(),
        };
        let updated = change(ChangeKind::Updated, "id: a\njwt:\n  ttl: 5m\n", "id: a\njwt:\n  ttl: 1m\n");
        assert_eq!(
            difference(&updated).unwrap(),
            "--- entry/a (agent)\n+++ entry/a (files)\n id: a\n jwt:\n-  ttl: 5m\n+  ttl: 1m\n"
        );
        let created = change(ChangeKind::Created, "", "id: a\n");
        assert_eq!(difference(&created).unwrap(), "--- entry/a (agent)\n+++ entry/a (files)\n+id: a\n");
        assert_eq!(difference(&change(ChangeKind::Unchanged, "id: a\n", "id: a\n")), None);
    }

    #[test]
    fn texts_too_long_to_compare_are_shown_whole() {
        let long = "a\n".repeat(3000);
        assert_eq!(lines(&long, &long).len(), 6000);
    }

    proptest! {
        #[test]
        fn both_sides_can_be_read_off_the_merge(before in "([ab]\n){0,8}", after in "([ab]\n){0,8}") {
            let merged = lines(&before, &after);
            let side = |not: char| merged.iter().filter(|(s, _)| *s != not).map(|(_, l)| format!("{l}\n")).collect::<String>();
            prop_assert_eq!((side('+'), side('-')), (before.clone(), after.clone()));
        }
    }
}
