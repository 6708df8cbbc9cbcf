//! Audience patterns: which audiences an entry allows.
//!
//! An audience is a string of bytes that the verifier compares byte for byte (RFC 7519,
//! section 4.1.3), so a pattern never folds case, decodes `%`, resolves `..` or normalises
//! Unicode: each of those would let one audience pass for another.

use crate::lines::Lines;

/// An audience that an entry allows: exactly one string, or, written `prefix/*`, every
/// string that continues `prefix/` by one or more whole, non-empty segments.
///
/// `stock/*` allows `stock/a` and `stock/a/b`, and neither `stock`, `stock/`, `stock//a`
/// nor `stocks/a`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AudiencePattern(Box<str>);

/// Why a text is not an audience pattern. Reads well behind the text itself: `"a/*/b" has a "*" ...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudienceError {
    /// An audience names somebody.
    #[error("is empty")]
    Empty,
    /// Longer than [`AudiencePattern::MAX_BYTES`].
    #[error("is longer than {} bytes", AudiencePattern::MAX_BYTES)]
    TooLong,
    /// White space is seldom meant and never seen.
    #[error("has white space in it")]
    WhiteSpace,
    /// Control characters are never meant.
    #[error("has a control character in it")]
    Control,
    /// `*` or `/*` would allow everything; a prefix that ends in `/` (as `https://*` has) nearly so.
    #[error("allows too much: in front of \"/*\" stands a name, as in \"stock/*\"")]
    NoPrefix,
    /// Only whole segments at the end can be left open.
    #[error("has a \"*\" that is not a whole last segment, as in \"stock/*\"")]
    Star,
}

impl AudiencePattern {
    /// The longest pattern and the longest audience, in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Parses a pattern as written in an entry.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, AudienceError> {
        if text.is_empty() {
            return Err(AudienceError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(AudienceError::TooLong);
        }
        if text.contains(char::is_whitespace) {
            return Err(AudienceError::WhiteSpace);
        }
        if text.contains(char::is_control) {
            return Err(AudienceError::Control);
        }
        let prefix = match text {
            "*" => return Err(AudienceError::NoPrefix),
            _ => text.strip_suffix("/*"),
        };
        if prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('/')) {
            return Err(AudienceError::NoPrefix);
        }
        if prefix.unwrap_or(text).contains('*') {
            return Err(AudienceError::Star);
        }
        Ok(Self(text.into()))
    }

    /// Whether `audience` is allowed: exact bytes, no folding, no normalising.
    ///
    /// A `*` in `audience` is a byte like any other: `stock/*` allows the audience `stock/*`
    /// as it allows `stock/a`. What no entry can name (white space, control characters, more
    /// than [`Self::MAX_BYTES`] bytes) is not allowed by an open pattern either.
    pub fn allows(&self, audience: &str) -> bool {
        allows(&self.0, audience)
    }

    /// As written in the entry.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for AudiencePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a pattern, as it is written, says of `audience`.
fn allows(pattern: &str, audience: &str) -> bool {
    let Some(prefix) = pattern.strip_suffix('*') else {
        return *pattern == *audience;
    };
    let nameable = audience.len() <= AudiencePattern::MAX_BYTES
        && !audience.contains(|c: char| c.is_whitespace() || c.is_control());
    let rest = audience.strip_prefix(prefix);
    nameable && rest.is_some_and(|rest| rest.split('/').all(|segment| !segment.is_empty()))
}

/// The audience patterns of an entry in its order: one text, since an agent may keep a hundred
/// thousand entries.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Audiences(Lines);

impl Audiences {
    /// Whether one of the patterns allows `audience`, as [`AudiencePattern::allows`] has it.
    pub fn allow(&self, audience: &str) -> bool {
        // No pattern has white space in it, so each is a line.
        self.0.iter().any(|pattern| allows(pattern, audience))
    }

    /// Each pattern as it is written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<&'a AudiencePattern> for Audiences {
    fn from_iter<I: IntoIterator<Item = &'a AudiencePattern>>(patterns: I) -> Self {
        Self(patterns.into_iter().map(AudiencePattern::as_str).collect())
    }
}

impl std::fmt::Debug for Audiences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> AudiencePattern {
        AudiencePattern::parse(text).unwrap()
    }

    #[test]
    fn open_patterns_allow_whole_segments() {
        let stock = pattern("stock/*");
        for allowed in ["stock/a", "stock/a/b", "stock/*", "stock/..", "stock/A"] {
            assert!(stock.allows(allowed), "{allowed}");
        }
        let long = format!("stock/{}", "a".repeat(1024));
        for refused in
            ["stock", "stock/", "stock//a", "stock/a/", "stocks/a", "Stock/a", "", "/", "stock/a b", "stock/a\n", &long]
        {
            assert!(!stock.allows(refused), "{refused:?}");
        }
        assert!(pattern("https://sts.example.com/*").allows("https://sts.example.com/a"));
    }

    #[test]
    fn exact_patterns_allow_the_same_bytes_only() {
        let billing = pattern("billing");
        assert!(billing.allows("billing"));
        // The last but one is written with a Cyrillic letter, the last with a combining accent.
        for near in ["", "Billing", "billing/", "billing/a", "bill", "billing ", "b\u{456}lling", "billing\u{301}"] {
            assert!(!billing.allows(near), "{near:?}");
        }
        assert!(!pattern("caf\u{e9}").allows("cafe\u{301}"));
    }

    #[test]
    fn refusals_name_the_rule() {
        use AudienceError::{Control, Empty, NoPrefix, Star, TooLong, WhiteSpace};
        for (text, error) in [
            ("", Empty),
            (&*"a".repeat(1025), TooLong),
            ("a b", WhiteSpace),
            ("a\u{a0}b", WhiteSpace),
            ("a\tb", WhiteSpace),
            ("a\u{0}", Control),
            ("*", NoPrefix),
            ("/*", NoPrefix),
            ("stock//*", NoPrefix),
            ("https://*", NoPrefix),
            ("a*", Star),
            ("*/a", Star),
            ("a/*/b", Star),
            ("a/*/*", Star),
            ("a/**", Star),
            ("a/b*", Star),
        ] {
            assert_eq!(AudiencePattern::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(pattern(&"a".repeat(1024)).as_str().len(), 1024);
    }

    /// The rule in its longest words: split both at every slash and walk along.
    fn allows_naively(pattern: &str, audience: &str) -> bool {
        let pattern: Vec<&str> = pattern.split('/').collect();
        let audience: Vec<&str> = audience.split('/').collect();
        let open = pattern.last() == Some(&"*");
        let fixed = if open { pattern.len() - 1 } else { pattern.len() };
        let same = audience.len() >= fixed && (0..fixed).all(|i| pattern[i] == audience[i]);
        let more = &audience[fixed.min(audience.len())..];
        same && if open { !more.is_empty() && more.iter().all(|s| !s.is_empty()) } else { more.is_empty() }
    }

    proptest! {
        #[test]
        fn agrees_with_the_rule_in_its_longest_words(
            pattern in "[ab/]{1,6}|[ab/]{0,4}[ab]/\\*",
            audience in "[ab/*]{0,7}",
        ) {
            let parsed = AudiencePattern::parse(&pattern).unwrap();
            prop_assert_eq!(parsed.allows(&audience), allows_naively(&pattern, &audience));
        }

        #[test]
        fn a_list_allows_what_one_of_it_allows(
            patterns in prop::collection::vec("[ab/]{1,3}|[ab]/\\*", 0..4),
            audience in "[ab/*]{0,4}",
        ) {
            let patterns: Vec<_> = patterns.iter().map(|text| pattern(text)).collect();
            let list: Audiences = patterns.iter().collect();
            prop_assert_eq!(list.allow(&audience), patterns.iter().any(|pattern| pattern.allows(&audience)));
            prop_assert!(list.iter().eq(patterns.iter().map(AudiencePattern::as_str)));
            prop_assert_eq!(list.is_empty(), patterns.is_empty());
        }

        #[test]
        fn what_continues_a_prefix_by_segments_is_allowed(
            prefix in "[a-z:]{1,8}(/[a-z]{1,3}){0,2}",
            segments in prop::collection::vec("[a-z*.%]{1,4}", 1..4),
        ) {
            let open = AudiencePattern::parse(&format!("{prefix}/*")).unwrap();
            let audience = format!("{prefix}/{}", segments.join("/"));
            prop_assert!(open.allows(&audience));
            let beside = format!("x{audience}");
            prop_assert!(!open.allows(&beside));
            prop_assert!(!open.allows(&prefix));
        }

        #[test]
        fn a_star_is_legal_as_a_whole_last_segment_only(text in "[a/*]{1,8}") {
            let (body, open) = text.strip_suffix("/*").map_or((&*text, false), |body| (body, true));
            let legal = !body.contains('*') && !(open && (body.is_empty() || body.ends_with('/')));
            prop_assert_eq!(AudiencePattern::parse(&text).is_ok(), legal);
        }
    }
}
