//! The loop against a script of what the kernel may say.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncReadExt as _;

use super::*;
use crate::admission::tests::admission;
use crate::drain::{self, DrainTrigger};

/// Answers `accept` from a list, then waits for ever.
struct Script {
    answers: VecDeque<io::Result<UnixStream>>,
    asked: Arc<AtomicUsize>,
}

impl Incoming for Script {
    async fn next(&mut self) -> io::Result<UnixStream> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.answers.pop_front() {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

struct Fixture {
    accept_loop: AcceptLoop,
    script: Script,
    asked: Arc<AtomicUsize>,
    accepted: mpsc::Receiver<io::Result<Connection>>,
    drain: DrainTrigger,
    _stop: DrainTrigger,
}

fn fixture(answers: Vec<io::Result<UnixStream>>, places: usize) -> Fixture {
    let (drain, drained) = drain::channel();
    let (stop, stopped) = drain::channel();
    let (sender, accepted) = mpsc::channel(1);
    let asked = Arc::new(AtomicUsize::new(0));
    let accept_loop = AcceptLoop {
        admission: admission(places, 1, 1),
        preface_limit: Duration::from_secs(10),
        drain: drained,
        stop: stopped,
        on_intrusion: Arc::new(|_, _| ()),
        lingering: Arc::new(Semaphore::new(LINGERING)),
        accepted: sender,
    };
    let script = Script { answers: answers.into(), asked: Arc::clone(&asked) };
    Fixture { accept_loop, script, asked, accepted, drain, _stop: stop }
}

fn stream() -> io::Result<UnixStream> {
    UnixStream::pair().map(|(stream, _)| stream)
}

fn fails(errno: Errno) -> io::Result<UnixStream> {
    Err(errno.into())
}

#[tokio::test(start_paused = true)]
async fn without_descriptors_the_loop_pauses_and_then_goes_on() {
    let mut answers: Vec<_> = (0..20).map(|_| fails(Errno::EMFILE)).collect();
    answers.push(fails(Errno::ENFILE));
    answers.push(stream());
    let mut fixture = fixture(answers, 10);
    let start = Instant::now();
    let running = tokio::spawn(fixture.accept_loop.run(fixture.script));
    assert!(fixture.accepted.recv().await.unwrap().is_ok());
    // 10, 20, ... 640 ms, then one second each: the clock of the test jumps over them.
    assert_eq!(start.elapsed().as_secs(), 1 + 14);
    while fixture.asked.load(Ordering::Relaxed) < 23 {
        tokio::task::yield_now().await;
    }
    fixture.drain.request();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_a_pause() {
    let fixture = fixture((0..1000).map(|_| fails(Errno::ENOMEM)).collect(), 10);
    fixture.drain.request();
    fixture.accept_loop.run(fixture.script).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broken_socket_ends_the_loop_with_its_error() {
    let fixture = fixture(vec![fails(Errno::EBADF)], 10);
    let running = fixture.accept_loop.run(fixture.script);
    let error = tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::EBADF as i32));
}

#[tokio::test]
async fn who_has_no_place_is_closed_at_once_and_does_not_stop_the_loop() {
    let (first, _client) = UnixStream::pair().unwrap();
    let (second, mut refused) = UnixStream::pair().unwrap();
    let mut fixture = fixture(vec![Ok(first), Ok(second)], 1);
    let admission = Arc::clone(&fixture.accept_loop.admission);
    let running = tokio::spawn(fixture.accept_loop.run(fixture.script));
    let first = fixture.accepted.recv().await.unwrap();
    assert_eq!(refused.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(admission.in_use(Kind::Connection).used, 1);
    drop(first);
    assert_eq!(admission.in_use(Kind::Connection).used, 0);
    fixture.drain.request();
    running.await.unwrap().unwrap();
    assert!(fixture.accepted.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn refused_connections_are_not_owed_for() {
    let (streams, _clients): (Vec<_>, Vec<_>) = (0..100).map(|_| UnixStream::pair().unwrap()).unzip();
    let mut fixture = fixture(streams.into_iter().map(Ok).collect(), 100);
    let admission = Arc::clone(&fixture.accept_loop.admission);
    admission.in_turn(&Key::of_user(61_001), async {}).await;
    let uid = nix::unistd::geteuid().as_raw();
    // What could come before this one is held back is used up, and so are the places.
    while admission.connects(uid).is_none() {}
    let _held: Vec<_> = std::iter::from_fn(|| admission.place(Kind::Connection, &Key::of_user(uid), 7)).collect();
    let before = admission.connects(uid);
    let running = tokio::spawn(fixture.accept_loop.run(fixture.script));
    while fixture.asked.load(Ordering::Relaxed) <= 100 {
        tokio::task::yield_now().await;
    }
    let waits = admission.connects(uid).zip(before).map(|(after, before)| after - before);
    assert!(waits.is_some_and(|waits| waits < Duration::from_millis(10)), "{waits:?}");
    fixture.drain.request();
    running.await.unwrap().unwrap();
    assert!(fixture.accepted.recv().await.is_none());
}

#[tokio::test]
async fn nobody_who_takes_connections_ends_the_loop() {
    let fixture = fixture(vec![stream()], 1);
    drop(fixture.accepted);
    fixture.accept_loop.run(fixture.script).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_warning_is_written_once_in_its_interval() {
    let mut warning = Warning::default();
    assert_eq!((warning.is_due(), warning.is_due()), (true, false));
    tokio::time::advance(WARNING_INTERVAL).await;
    assert_eq!((warning.is_due(), warning.is_due()), (true, false));
}
