//! Some texts as one: an entry has several lists of them, and an agent many entries.

/// Texts in their order, each of which is followed by a newline and has none in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines(Box<str>);

impl Lines {
    /// Each text.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator('\n')
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<&'a str> for Lines {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        let mut lines = String::new();
        for text in texts {
            debug_assert!(!text.contains('\n'), "{text:?} would be two lines");
            lines.push_str(text);
            lines.push('\n');
        }
        Self(lines.into())
    }
}
