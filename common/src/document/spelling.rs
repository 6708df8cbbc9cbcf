//! Words as they appear in problems: quoted so that nothing escapes onto a terminal,
//! and compared with the words that may have been meant.

/// The longest piece of an operator's text that a problem repeats, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// How alike two words must be (Jaro-Winkler, 0 to 1) for the one to be offered for the other.
const ALIKE: f64 = 0.88;

/// `text` in double quotes, control characters escaped, cut after 80 characters.
pub fn quoted(text: &str) -> String {
    let mut shown = String::from("\"");
    for (count, character) in text.chars().enumerate() {
        if count == MAX_QUOTED_CHARS {
            shown.push('…');
            break;
        }
        match character {
            '"' | '\\' => shown.extend(['\\', character]),
            '\'' => shown.push(character),
            // Control characters, and those that turn the direction of writing: a problem must
            // read as what the file says.
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown.push('"');
    shown
}

/// The one of `words` that is spelt most like `word`, if any is near enough to be meant.
pub fn near_miss<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    // The comparison is quadratic in the length; no word that is meant is that long.
    if word.len() > MAX_QUOTED_CHARS {
        return None;
    }
    let folded = |word: &str| word.to_lowercase().replace('-', "_");
    let word = folded(word);
    words
        .into_iter()
        .map(|known| (strsim::jaro_winkler(&folded(known), &word), known))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// What follows an unknown word: `, did you mean "x"?`, or where nothing is near, the words known.
pub(super) fn suggestion(word: &str, words: &[&str]) -> String {
    match (near_miss(word, words.iter().copied()), words) {
        (Some(meant), _) => format!(", did you mean {}?", quoted(meant)),
        (None, []) => String::new(),
        (None, [only]) => format!("; only {only} is known here"),
        (None, [first @ .., last]) => format!("; known here are {} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_typed_is_shown_escaped_and_cut() {
        assert_eq!(quoted("it's \"5m\""), r#""it's \"5m\"""#);
        assert_eq!(quoted("a\u{1b}[2J\n\u{202e}"), r#""a\u{1b}[2J\n\u{202e}""#);
        assert_eq!(quoted(&"x".repeat(100)), format!("\"{}…\"", "x".repeat(80)));
    }

    #[test]
    fn a_word_that_is_nearly_right_is_recognised() {
        let words = ["selectors", "spiffe_id", "jwt"];
        assert_eq!(near_miss("selctors", words), Some("selectors"));
        assert_eq!(near_miss("Spiffe-ID", words), Some("spiffe_id"));
        assert_eq!(near_miss("es265", ["ES256", "RS256"]), Some("ES256"));
        assert_eq!(near_miss("owner", words), None);
        assert_eq!(near_miss(&"selectors".repeat(1000), words), None);
    }

    #[test]
    fn where_nothing_is_near_the_known_words_are_listed() {
        assert_eq!(suggestion("nope", &["a", "b", "c"]), "; known here are a, b and c");
        assert_eq!(suggestion("nope", &["a"]), "; only a is known here");
        assert_eq!(suggestion("nope", &[]), "");
    }
}
