//! What a change does, in a line or line by line.

use countersign_common::proto::admin::{Change, ChangeKind};

/// One line: which entry, what happened, and for an update which fields.
pub(super) fn summary(change: &Change) -> String {
    let happened = match change.kind() {
        ChangeKind::Created => "created".to_owned(),
        ChangeKind::Deleted => "deleted".to_owned(),
        ChangeKind::Unchanged => "unchanged".to_owned(),
        ChangeKind::Updated => format!("updated ({})", fields(change).join(", ")),
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

/// The top-level fields in which two entries differ.
fn fields(change: &Change) -> Vec<&str> {
    let mut named: Vec<&str> = Vec::new();
    let mut field = "";
    for (sign, line) in lines(&change.before, &change.after) {
        if !line.starts_with([' ', '-', '#'])
            && let Some((name, _)) = line.split_once(':')
        {
            field = name;
        }
        if sign != ' ' && !named.contains(&field) {
            named.push(field);
        }
    }
    named
}

/// Both texts merged: lines of one only with their sign, common lines with a space. By the
/// longest common subsequence; entries are short.
fn lines<'a>(before: &'a str, after: &'a str) -> Vec<(char, &'a str)> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
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

    #[test]
    fn an_update_names_its_fields_and_shows_its_lines() {
        let before = "id: a\njwt:\n  ttl: 5m\nowner: x\n".to_owned();
        let after = "id: a\njwt:\n  ttl: 1m\nowner: x\n".to_owned();
        let change = Change { id: "a".to_owned(), kind: ChangeKind::Updated.into(), before, after };
        assert_eq!(summary(&change), "entry/a updated (jwt)");
        assert_eq!(
            difference(&change).unwrap(),
            "--- entry/a (agent)\n+++ entry/a (files)\n id: a\n jwt:\n-  ttl: 5m\n+  ttl: 1m\n owner: x\n"
        );
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
