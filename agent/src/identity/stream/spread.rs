//! How far apart the open streams look at one and the same change: not at all while they are few.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Up to so many streams look at once.
const FEW: usize = 100;

/// For each of more streams, so much is added to the time over which all of them look ...
const FOR_EACH: Duration = Duration::from_millis(1);

/// ... which is never longer than this.
const LONGEST: Duration = Duration::from_secs(5);

/// How many streams are open.
#[derive(Debug, Default)]
pub struct OpenStreams {
    open: AtomicUsize,
    opened: AtomicU64,
}

/// One of them; counted no more when dropped.
pub(super) struct Counted {
    streams: Arc<OpenStreams>,
    part: u16,
}

impl OpenStreams {
    pub(super) fn join(self: &Arc<Self>) -> Counted {
        self.open.fetch_add(1, Ordering::Relaxed);
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        Counted { streams: Arc::clone(self), part: part(number) }
    }
}

impl Counted {
    /// How long this stream waits before it looks at a change.
    pub(super) fn delay(&self) -> Duration {
        delay(self.part, self.streams.open.load(Ordering::Relaxed))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.streams.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The part of the time that is a stream's own. Multiples of the golden ratio lie evenly, however
/// many there are (Knuth, The Art of Computer Programming, volume 3, section 6.4).
fn part(number: u64) -> u16 {
    let [.., low, high] = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    u16::from_le_bytes([low, high])
}

fn delay(part: u16, open: usize) -> Duration {
    if open <= FEW {
        return Duration::ZERO;
    }
    let all = FOR_EACH.saturating_mul(u32::try_from(open).unwrap_or(u32::MAX)).min(LONGEST);
    all * u32::from(part) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn streams_that_are_gone_count_no_more() {
        let streams = Arc::new(OpenStreams::default());
        let many: Vec<_> = (0..=FEW).map(|_| streams.join()).collect();
        assert!(many[1].delay() > Duration::ZERO);
        let last = streams.join();
        drop(many);
        assert_eq!(last.delay(), Duration::ZERO);
    }

    #[test]
    fn many_streams_lie_evenly_over_the_time() {
        let mut tenths = [0; 10];
        for number in 0..10_000 {
            let delay = delay(part(number), 10_000);
            tenths[(delay.as_millis() * 10 / 5001) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (950..=1050).contains(count)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn few_wait_for_nothing_and_nobody_longer_than_the_bound(number: u64, open in 0..100_000_usize) {
            let waits = delay(part(number), open);
            prop_assert!(waits <= LONGEST && (open > FEW || waits.is_zero()));
            prop_assert!(waits <= delay(part(number), open + 1) || open < FEW);
        }
    }
}
