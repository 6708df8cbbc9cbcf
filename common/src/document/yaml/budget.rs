//! How far the parser may read ahead.
//!
//! Inside brackets the parser cannot tell a value from a name before it has met the closing
//! bracket, and keeps every token until then: a few MiB of text would become hundreds of MiB
//! of tokens. So the text is handed out by a meter, and each event renews its budget.

use std::cell::Cell;
use std::rc::Rc;

/// How many characters the parser may take for one event.
const CHARACTERS: usize = 256 << 10;

/// What an operator reads who wrote more than that in one piece.
pub(super) const EXCEEDED: &str =
    "is followed by more than 256 KiB in one piece: write long lists as lines, without brackets";

/// What is left of the budget; shared with the meter inside the parser.
#[derive(Default)]
pub(super) struct Budget(Rc<Meter>);

#[derive(Default)]
struct Meter {
    taken: Cell<usize>,
    exhausted: Cell<bool>,
}

impl Budget {
    /// The characters of `text`, ending early where the budget is exhausted.
    pub(super) fn metered<'t>(&self, text: &'t str) -> impl Iterator<Item = char> + 't {
        let meter = Rc::clone(&self.0);
        let mut characters = text.chars();
        std::iter::from_fn(move || {
            let character = characters.next()?;
            let taken = meter.taken.replace(meter.taken.get() + 1);
            if taken >= CHARACTERS {
                meter.exhausted.set(true);
            }
            // Once exhausted, always: the parser must not see a text with a gap.
            (!meter.exhausted.get()).then_some(character)
        })
    }

    /// Whether the text ended early: what the parser says then is not about the file.
    pub(super) fn is_exhausted(&self) -> bool {
        self.0.exhausted.get()
    }

    /// Begins anew for the next event.
    pub(super) fn renew(&self) {
        self.0.taken.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_where_the_budget_does_and_does_not_begin_again() {
        let text = "x".repeat(3 * CHARACTERS);
        let budget = Budget::default();
        let mut metered = budget.metered(&text);
        assert_eq!(metered.by_ref().take(CHARACTERS).count(), CHARACTERS);
        assert!(!budget.is_exhausted());
        budget.renew();
        assert_eq!(metered.by_ref().count(), CHARACTERS);
        assert!(budget.is_exhausted());
        budget.renew();
        assert_eq!((metered.count(), budget.is_exhausted()), (0, true));
    }
}
