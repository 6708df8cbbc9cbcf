//! Time as the standards write it: whole seconds since 1970-01-01T00:00:00Z.
//!
//! Decisions take `now` as an argument. The one place that reads the machine's
//! clock implements [`Clock`] outside this crate.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, in whole seconds since 1970-01-01T00:00:00Z
/// (the `NumericDate` of RFC 7519, section 2, without fractions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The point `seconds` after 1970-01-01T00:00:00Z.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// This point moved into the future by `life`, fractions of a second cut off.
    /// Saturates at the end of time rather than wrapping.
    pub const fn after(self, life: Duration) -> Self {
        Self(self.0.saturating_add(life.as_secs()))
    }

    /// How long from `self` to `later`; zero if `later` is not later.
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_secs(later.0.saturating_sub(self.0))
    }
}

impl From<SystemTime> for Timestamp {
    /// A time before 1970 becomes 1970: nothing that we issue is valid there.
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_secs(time.0)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, in UTC. Times past the year 9999 print as seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const YEAR_10000: u64 = 253_402_300_800;
        if self.0 < YEAR_10000 {
            humantime::format_rfc3339_seconds((*self).into()).fmt(f)
        } else {
            write!(f, "@{}", self.0)
        }
    }
}

/// Where `now` comes from. The agent reads the system's clock; tests step their own.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}
