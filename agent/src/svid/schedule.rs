//! When an X509-SVID is renewed, and when a renewal that failed is tried again. Pure: it is told the
//! time, by a clock that may be set forth and back.

use std::time::Duration;

use countersign_common::clock::Timestamp;

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// The part of its life after which an SVID is renewed, in thousandths: so much at the earliest ...
const EARLIEST: u64 = 400;

/// ... and up to so much more, by its serial number: SVIDs of one moment are not renewed in one moment.
const SPREAD: u64 = 200;

/// The times of one X509-SVID, and what became of its renewal so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    not_before: Timestamp,
    not_after: Timestamp,
    /// None if no SVID on the same terms could be valid for longer.
    renew_at: Option<Timestamp>,
    failures: u32,
    failed: Option<Failed>,
}

/// The last failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failed {
    at: Timestamp,
    try_again: Timestamp,
}

impl Schedule {
    /// The schedule of the SVID `serial`, which was issued at `issued` and is valid from `not_before`
    /// to `not_after`, both included. `end` is the moment at which every SVID on its terms ends.
    pub fn new(
        serial: &str,
        not_before: Timestamp,
        not_after: Timestamp,
        issued: Timestamp,
        end: Option<Timestamp>,
    ) -> Self {
        let life = issued.until(not_after).as_secs();
        let part = EARLIEST + u64::from(fraction(serial)) * SPREAD / u64::from(u16::MAX);
        // One second at least: a life that leaves no more is no reason to renew without a pause.
        let pause = (life.saturating_mul(part) / 1000).max(1);
        let is_last = end.is_some_and(|end| not_after.after(Duration::from_secs(1)) >= end);
        let renew_at = (!is_last).then(|| issued.after(Duration::from_secs(pause)));
        Self { not_before, not_after, renew_at, failures: 0, failed: None }
    }

    /// Whether the SVID may be in use.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// The last moment at which it is valid. Among many that are due, the soonest goes first.
    pub fn expires(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it is time to renew, or to try again. A clock that went back before the SVID, or before
    /// the last failure, is a reason too: what was reckoned by it means nothing any more.
    pub fn is_due(&self, now: Timestamp) -> bool {
        match self.failed {
            Some(failed) => now >= failed.try_again || now < failed.at,
            None => self.next() <= now || now < self.not_before,
        }
    }

    /// When it will be due, if the clock goes on as it does.
    pub fn next(&self) -> Timestamp {
        let expired = self.not_after.after(Duration::from_secs(1));
        self.failed.map_or(self.renew_at.unwrap_or(expired), |failed| failed.try_again)
    }

    /// Notes that a renewal failed at `now`. It is tried again after a pause that grows with each
    /// failure, and is never longer than half of the time that is left: a valid SVID is not let
    /// expire without another try, but for its last second.
    pub fn fail(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        let doubled = 1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
        let pause = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
        let left = now.until(self.not_after);
        let pause = if self.is_valid(now) { pause.min(left / 2) } else { pause };
        self.failed = Some(Failed { at: now, try_again: now.after(pause.max(Duration::from_secs(1))) });
    }
}

/// A number out of `0..=u16::MAX` that is fixed for a serial number (FNV-1a, its halves folded).
fn fraction(serial: &str) -> u16 {
    let hash = serial
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    u16::from_le_bytes([a ^ c ^ e ^ g, b ^ d ^ f ^ h])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// One that is issued at 1000 and valid from half a minute before that.
    fn schedule(serial: &str, life: u64) -> Schedule {
        Schedule::new(serial, at(970), at(1000 + life), at(1000), None)
    }

    #[test]
    fn svids_of_one_moment_are_renewed_over_a_fifth_of_their_life() {
        let times: Vec<u64> =
            (0..10_000_u32).map(|number| schedule(&format!("{number:032x}"), 3600).next().seconds() - 1000).collect();
        assert!(times.iter().all(|time| (1440..=2160).contains(time)), "{:?}", times.iter().max());
        // In each of the twelve minutes about a twelfth of them.
        for minute in 0..12 {
            let from = 1440 + minute * 60;
            let due = times.iter().filter(|time| (from..from + 60).contains(*time)).count();
            assert!((600..=1100).contains(&due), "{due} in minute {minute}");
        }
    }

    #[test]
    fn what_ends_with_its_entry_is_not_renewed_ever_more_often() {
        let last = |end| Schedule::new("a", at(970), at(1100), at(1000), Some(at(end)));
        for end in [1100, 1101] {
            assert_eq!(last(end).next(), at(1101));
            assert!(!last(end).is_due(at(1100)) && last(end).is_due(at(1101)));
        }
        assert!(last(1102).next() < at(1100));
    }

    #[test]
    fn a_clock_that_went_back_makes_it_due() {
        let mut schedule = schedule("a", 3600);
        assert!(schedule.is_due(at(969)) && !schedule.is_due(at(970)));
        schedule.fail(at(3000));
        assert!(!schedule.is_due(at(3000)) && schedule.is_due(at(2999)));
    }

    #[test]
    fn failures_make_pauses_longer_up_to_a_bound() {
        let mut schedule = schedule("a", 1_000_000);
        let mut now = schedule.next();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            schedule.fail(now);
            pauses.push(now.until(schedule.next()).as_secs());
            now = schedule.next();
        }
        assert_eq!(pauses[..8], [5, 10, 20, 40, 80, 160, 300, 300]);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE.as_secs()));
    }

    proptest! {
        #[test]
        fn is_renewed_at_about_half_of_its_life(serial in "[0-9a-f]{1,40}", life in 1..10_000_000_u64) {
            let schedule = schedule(&serial, life);
            let after = schedule.next().seconds() - 1000;
            prop_assert!(after >= 1 && after >= life * 4 / 10, "{} of {}", after, life);
            prop_assert!(after <= (life * 6 / 10).max(1), "{} of {}", after, life);
            prop_assert!(schedule.is_valid(schedule.next()));
            prop_assert_eq!(&schedule, &Schedule::new(&serial, at(970), at(1000 + life), at(1000), None));
        }

        #[test]
        fn is_due_from_its_time_on_and_not_before(life in 1..100_000_u64, probe in 970..200_000_u64) {
            let schedule = schedule("a", life);
            prop_assert_eq!(schedule.is_due(at(probe)), at(probe) >= schedule.next());
            prop_assert_eq!(schedule.is_valid(at(probe)), probe <= 1000 + life);
        }

        /// Every try fails, at the moment it is due or late: no time goes by in which the SVID
        /// expires without a try in its last half minute but one.
        #[test]
        fn failing_goes_on_until_the_end(life in 2..1_000_000_u64, lateness in prop::collection::vec(0..3_u64, 1..20)) {
            let mut schedule = schedule("a", life);
            let mut late = lateness.iter().cycle();
            let mut last_try = 0;
            for _ in 0..10_000 {
                let now = at(schedule.next().seconds() + late.next().unwrap());
                if !schedule.is_valid(now) {
                    break;
                }
                last_try = now.seconds();
                schedule.fail(now);
                prop_assert!(schedule.next() > now);
                let left = now.until(schedule.expires());
                prop_assert!(now.until(schedule.next()) <= (left / 2).max(Duration::from_secs(1)));
            }
            prop_assert!(1000 + life - last_try <= 5, "last try {} s before the end", 1000 + life - last_try);
        }
    }
}
