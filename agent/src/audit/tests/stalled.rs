//! The audit sink over a disk that does not answer.

use std::sync::mpsc;

use super::*;

/// A disk that is as slow as the test: it does not answer until the sender is dropped.
fn stall(audit: &Audit) -> (mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (answer, answered) = mpsc::channel::<()>();
    let (stalls, stalled) = mpsc::channel();
    let sink = Arc::clone(&audit.sink);
    let disk = std::thread::spawn(move || {
        let Sink::File(file) = &*sink else { panic!("it is a file") };
        let _held = file.lock().expect("not poisoned");
        stalls.send(()).expect("the test goes on");
        let _ = answered.recv();
    });
    stalled.recv().expect("the disk stalls");
    (answer, disk)
}

fn begin(audit: &Arc<Audit>, reason: &'static str) -> JoinHandle<Result<(), AuditError>> {
    let audit = Arc::clone(audit);
    tokio::spawn(async move { audit.record(refused(reason)).await })
}

fn reasons(place: &Place) -> Vec<serde_json::Value> {
    lines_of(&place.path).iter().map(|line| line["reason"].clone()).collect()
}

#[tokio::test]
async fn a_disk_that_does_not_answer_keeps_one_thread_and_no_task() {
    let place = place();
    let audit = Arc::new(Audit::to_file(&place.path, 1 << 20, 1).expect("opened"));
    let (answer, disk) = stall(&audit);
    // All is one thread: were it held up, nothing below would be reached.
    tokio::time::pause();
    let first = begin(&audit, "first");
    while audit.turn.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let second = begin(&audit, "second");
    tokio::task::yield_now().await;
    tokio::time::advance(WRITE_LIMIT + Duration::from_secs(1)).await;
    let late = second.await.expect("no panic");
    assert!(matches!(late, Err(AuditError::Late)), "{late:?}");
    assert!(matches!(first.await.expect("no panic"), Err(AuditError::Late)));
    tokio::time::resume();
    drop(answer);
    disk.join().expect("no panic");
    audit.record(refused("third")).await.expect("the disk answers again");
    assert_eq!(reasons(&place), ["first", "third"], "what was begun is finished, what waited is not written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_quick_and_stalls_leaves_the_other_threads_of_the_runtime() {
    let place = place();
    let audit = Arc::new(Audit::to_file(&place.path, 1 << 20, 1).expect("opened"));
    begin(&audit, "zeroth").await.expect("no panic").expect("a quick disk");
    let (answer, disk) = stall(&audit);
    let first = begin(&audit, "first");
    while audit.turn.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let second = begin(&audit, "second");
    for _ in 0..100 {
        tokio::spawn(tokio::task::yield_now()).await.expect("the others are served");
    }
    assert!(!first.is_finished() && !second.is_finished());
    drop(answer);
    for record in [first, second] {
        record.await.expect("no panic").expect("the disk answers again");
    }
    disk.join().expect("no panic");
    assert_eq!(reasons(&place), ["zeroth", "first", "second"]);
}

#[test]
fn who_has_no_other_thread_does_not_write_in_place() {
    let audit = Audit::to_file(&place().path, 1 << 20, 1).expect("opened");
    let asked = || async { audit.quick_turn().is_some() };
    let one = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let more = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    assert!(!one.block_on(asked()));
    assert!(more.block_on(asked()));
    *lock(&audit.slow_until) = Some(Instant::now() + SLOW_FOR);
    assert!(!more.block_on(asked()), "the disk is slow");
}

#[tokio::test]
async fn records_that_nobody_waits_for_are_bounded() {
    let place = place();
    let audit = Arc::new(Audit::to_file(&place.path, 1 << 20, 1).expect("opened"));
    for number in 0..2 * MAX_LEFT {
        let _ = audit.record_later(refused(&number.to_string()));
    }
    assert_eq!(audit.left.available_permits(), 0);
    while audit.left.available_permits() < MAX_LEFT {
        tokio::task::yield_now().await;
    }
    assert_eq!(lines_of(&place.path).len(), MAX_LEFT);
}
