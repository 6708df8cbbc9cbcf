//! When the next call of an open loop is due, to the microsecond: the runtime's own timers are
//! right to a millisecond only.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use crate::BenchError;

/// A timer of the kernel that goes off at equal distances, whether anybody has time for it or not.
pub(crate) struct Pacer {
    timer: AsyncFd<OwnedFd>,
    schedule: Schedule,
}

/// The times at which calls are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    next: Instant,
    period: Duration,
}

impl Schedule {
    /// The next time, which is used up by that.
    fn take(&mut self) -> Instant {
        let due = self.next;
        self.next += self.period;
        due
    }
}

impl Pacer {
    /// Begins `offset` from now; then each `period`.
    ///
    /// # Errors
    /// There is no timer left.
    pub(crate) fn start(offset: Duration, period: Duration) -> Result<Self, BenchError> {
        let begin = Instant::now() + offset;
        let timer = || {
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
            // A timer at zero would never go off.
            let first = TimeSpec::from_duration(offset.max(Duration::from_nanos(1)));
            let each = TimeSpec::from_duration(period);
            timer.set(Expiration::IntervalDelayed(first, each), TimerSetTimeFlags::empty())?;
            register(OwnedFd::from(timer))
        };
        let timer = timer().map_err(BenchError::system("set a timer"))?;
        Ok(Self { timer, schedule: Schedule { next: begin, period } })
    }

    /// Waits until the next call is due, and says when that was: in the past for a client that was
    /// busy with the one before.
    ///
    /// # Errors
    /// The timer cannot be read.
    pub(crate) async fn due(&mut self) -> Result<Instant, BenchError> {
        let due = self.schedule.take();
        while Instant::now() < due {
            let mut ready = self.timer.readable().await.map_err(BenchError::system("wait for a timer"))?;
            // What it counts is known from the clock; it is read so that it can go off again.
            let _ = ready.try_io(|timer| Ok(nix::unistd::read(timer.get_ref().as_fd(), &mut [0; 8])?));
        }
        Ok(due)
    }
}

#[allow(deprecated, reason = "the descriptor is owned by what it is registered with; the other way is unsafe code")]
fn register(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(timer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_due_at_equal_distances() {
        let begin = Instant::now();
        let mut schedule = Schedule { next: begin, period: Duration::from_micros(250) };
        let due: Vec<Duration> = (0..4).map(|_| schedule.take() - begin).collect();
        assert_eq!(due, [0, 250, 500, 750].map(Duration::from_micros));
    }

    #[tokio::test]
    async fn nothing_is_due_before_its_time() {
        let mut pacer = Pacer::start(Duration::from_micros(300), Duration::from_micros(200)).unwrap();
        for _ in 0..20 {
            let due = pacer.due().await.unwrap();
            assert!(Instant::now() >= due);
        }
    }
}
