//! The audit sink over a disk that does not answer.

use std::sync::mpsc;

use super::*;

#[tokio::test]
async fn a_disk_that_does_not_answer_keeps_one_thread_and_no_task() {
    let place = place();
    let audit = Arc::new(Audit::to_file(&place.path, 1 << 20, 1).expect("opened"));
    // The disk is as slow as this thread, which holds the file.
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
    let begin = |reason: &'static str| {
        let audit = Arc::clone(&audit);
        tokio::spawn(async move { audit.record(refused(reason)).await })
    };
    // All is one thread: were it held up, nothing below would be reached.
    tokio::time::pause();
    let first = begin("first");
    while audit.turn.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let second = begin("second");
    tokio::task::yield_now().await;
    tokio::time::advance(WRITE_LIMIT + Duration::from_secs(1)).await;
    let late = second.await.expect("no panic");
    assert!(matches!(late, Err(AuditError::Late)), "{late:?}");
    assert!(matches!(first.await.expect("no panic"), Err(AuditError::Late)));
    tokio::time::resume();
    drop(answer);
    disk.join().expect("no panic");
    audit.record(refused("third")).await.expect("the disk answers again");
    let reasons: Vec<_> = lines_of(&place.path).iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, ["first", "third"], "what was begun is finished, what waited is not written");
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
