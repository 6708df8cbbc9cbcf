//! The machine's clock.

use countersign_common::clock::{Clock, Timestamp};

/// The machine's wall clock. Everything else is told the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one clock")]
    fn now(&self) -> Timestamp {
        std::time::SystemTime::now().into()
    }
}
