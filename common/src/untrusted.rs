//! Text that somebody else chose, on its way to a terminal, a log or a record: what may not
//! pass as it is, and how much of it is kept.

use std::borrow::Cow;

/// Whether a terminal or a reader of lines may take this character for a command: C0 and C1
/// controls (ECMA-48), line and paragraph separators, marks that reorder or hide what follows
/// (Unicode Standard Annex 9).
pub fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// At most `limit` bytes of `value`, followed by a count of what is missing if anything is.
pub fn shortened(value: &str, limit: usize) -> Cow<'_, str> {
    if value.len() <= limit {
        return Cow::Borrowed(value);
    }
    let kept = value.get(..value.floor_char_boundary(limit)).unwrap_or_default();
    Cow::Owned(format!("{kept}...[{} bytes left out]", value.len() - kept.len()))
}

/// `value` with each active character written as its code in backslash form, as JSON does it.
pub fn inert(value: &str) -> Cow<'_, str> {
    if !value.chars().any(is_active) {
        return Cow::Borrowed(value);
    }
    let mut inert = String::with_capacity(value.len() + 16);
    for character in value.chars() {
        if is_active(character) {
            inert.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            inert.push(character);
        }
    }
    Cow::Owned(inert)
}

/// As [`inert`], for a text of several lines: its line breaks stay.
pub fn inert_lines(text: &str) -> Cow<'_, str> {
    if text.split('\n').all(|line| matches!(inert(line), Cow::Borrowed(_))) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.split('\n').map(inert).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_or_a_line_is_written_as_its_code() {
        assert_eq!(inert("a\n\u{1b}[2J\u{9b}1m\u{2028}\u{202e}z"), "a\\u000a\\u001b[2J\\u009b1m\\u2028\\u202ez");
        assert!(matches!(inert("grüße, 東京 \\ \""), Cow::Borrowed(_)));
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(inert_lines("a\u{1b}[1A\r\n\u{202e}b\n"), "a\\u001b[1A\\u000d\n\\u202eb\n");
        assert!(matches!(inert_lines("{\n  \"a\": 1\n}"), Cow::Borrowed(_)));
    }

    #[test]
    fn every_active_character_fits_the_four_digits() {
        assert!(('\u{10000}'..=char::MAX).all(|character| !is_active(character)));
    }

    #[test]
    fn what_is_cut_is_counted_and_cut_between_characters() {
        assert_eq!(shortened("four", 4), "four");
        assert_eq!(shortened("fives", 4), "five...[1 bytes left out]");
        assert_eq!(shortened("aé", 2), "a...[2 bytes left out]");
    }
}
