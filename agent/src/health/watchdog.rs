//! Signs of life: sent only while the agent proves that it works.

use std::future::Future;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Notifier;

/// Twice in each period of the service manager's watchdog asks `probe` and, if that answers true
/// within half a period, gives a sign of life. A probe that fails or hangs means silence, and silence
/// means that the service manager restarts the agent (systemd.service(5), `WatchdogSec=`).
///
/// Ends at once where no watchdog is asked for, otherwise never: the caller drops it.
pub async fn watchdog<P, F>(notifier: &Notifier, mut probe: P)
where
    P: FnMut() -> F,
    F: Future<Output = bool>,
{
    let Some(limit) = notifier.watchdog_limit() else { return };
    let half = limit / 2;
    let mut ticks = interval(half);
    // After a stall one sign says as much as those that were missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(half, probe()).await {
            Ok(true) => {
                if let Err(error) = notifier.alive() {
                    tracing::error!(%error, "no sign of life could be given; the service manager will restart the agent");
                }
            }
            Ok(false) => tracing::error!("the agent does not answer itself correctly; no sign of life is given"),
            Err(_) => {
                tracing::error!(limit = ?half, "the agent does not answer itself in time; no sign of life is given")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::os::unix::net::UnixDatagram;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn supervisor() -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_nonblocking(true).expect("set");
        let notifier = Notifier::new(Some(path.into_os_string()), Some(LIMIT)).expect("connected");
        (directory, socket, notifier)
    }

    /// Signs of life that are waiting to be read.
    fn signs(socket: &UnixDatagram) -> u32 {
        let mut message = [0; 64];
        let mut signs = 0;
        while let Ok(length) = socket.recv(&mut message) {
            assert_eq!(&message[..length], b"WATCHDOG=1\n");
            signs += 1;
        }
        signs
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_agent_signs_twice_a_period() {
        let (_directory, socket, notifier) = supervisor();
        let watched = timeout(LIMIT * 2 + LIMIT / 4, watchdog(&notifier, || async { true })).await;
        assert!(watched.is_err(), "the watchdog goes on");
        assert_eq!(signs(&socket), 5, "at 0, 15, 30, 45 and 60 seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_or_hangs_is_silence_and_a_good_answer_ends_it() {
        let (_directory, socket, notifier) = supervisor();
        let asked = AtomicU32::new(0);
        let probe = || async {
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 => false,
                1 => pending().await,
                _ => true,
            }
        };
        let _ = timeout(LIMIT * 2, watchdog(&notifier, probe)).await;
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked > 2, "asked {asked} times");
        assert_eq!(signs(&socket), asked - 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_always_hangs_gives_no_sign() {
        let (_directory, socket, notifier) = supervisor();
        let _ = timeout(LIMIT * 10, watchdog(&notifier, pending)).await;
        assert_eq!(signs(&socket), 0);
    }

    #[tokio::test]
    async fn no_watchdog_asked_for_ends_at_once() {
        let notifier = Notifier::new(None, Some(LIMIT)).expect("nothing to reach");
        watchdog(&notifier, || async { panic!("not asked") }).await;
    }
}
