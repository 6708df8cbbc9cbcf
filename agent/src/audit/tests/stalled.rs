//! The audit sink over a disk that does not answer.

use std::sync::mpsc;
use std::time::Duration;

use super::super::turns::{Line, QUICK_AGAIN};
use super::*;

/// A disk that is as slow as the test: it does not answer until the sender is dropped.
fn stall(audit: &Audit) -> (mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (answer, answered) = mpsc::channel::<()>();
    let (stalls, stalled) = mpsc::channel();
    let writer = Arc::clone(&audit.turns.writer);
    let disk = std::thread::spawn(move || {
        let Sink::File(file) = &writer.sink else { panic!("it is a file") };
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
    // Until its thread has begun: what comes before that is written with it.
    while audit.turns.turn.available_permits() > 0 || audit.turns.writer.waiting() > 0 {
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
    while audit.turns.turn.available_permits() > 0 {
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
    let writer = &audit.turns.writer;
    let asked = || async { writer.may_block_here() };
    let one = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let more = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    assert!(!one.block_on(asked()));
    assert!(more.block_on(asked()));
    writer.note(Duration::from_secs(1));
    for _ in 0..QUICK_AGAIN {
        assert!(!more.block_on(asked()), "the disk is slow");
        writer.note(Duration::ZERO);
    }
    assert!(more.block_on(asked()), "it is quick again");
}

/// Holds the turn while `reasons` come, and gives it back when all of them wait.
async fn in_one_go(audit: &Arc<Audit>, reasons: &[&'static str]) -> Vec<Result<(), AuditError>> {
    let turn = Arc::clone(&audit.turns.turn).acquire_owned().await.expect("the turn");
    let records: Vec<_> = reasons.iter().map(|reason| begin(audit, reason)).collect();
    while audit.turns.writer.waiting() < reasons.len() {
        tokio::task::yield_now().await;
    }
    drop(turn);
    let mut results = Vec::new();
    for record in records {
        results.push(record.await.expect("no panic"));
    }
    results
}

#[tokio::test]
async fn what_waits_is_written_with_the_next_each_line_once() {
    let place = place();
    let audit = Arc::new(Audit::to_file(&place.path, 1 << 20, 1).expect("opened"));
    let results = in_one_go(&audit, &["a", "b", "c"]).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(reasons(&place), ["a", "b", "c"], "in the order of coming");
    assert_eq!(audit.turns.writer.waiting(), 0);
}

#[tokio::test]
async fn who_has_given_up_before_its_thread_began_came_before_those_that_wait() {
    let place = place();
    let audit = Arc::new(Audit::to_file(&place.path, 1 << 20, 1).expect("opened"));
    let turn = Arc::clone(&audit.turns.turn).acquire_owned().await.expect("the turn");
    let later = begin(&audit, "later");
    while audit.turns.writer.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    audit.turns.writer.write(&Line::of(line::json(&refused("sooner")).expect("encoded"))).expect("written");
    drop(turn);
    later.await.expect("no panic").expect("written");
    assert_eq!(reasons(&place), ["sooner", "later"]);
}

#[tokio::test]
async fn lines_that_together_have_no_room_are_written_one_by_one() {
    let place = place();
    let one = line::json(&refused("a")).expect("encoded").len() as u64;
    let audit = Arc::new(Audit::to_file(&place.path, one + 1, 3).expect("opened"));
    let results = in_one_go(&audit, &["a", "b", "c"]).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(reasons(&place), ["c"], "no file is longer than it may be");
    for number in 1..=2 {
        assert_eq!(lines_of(&numbered(&place.path, number)).len(), 1);
    }
}

#[tokio::test]
async fn each_of_those_who_wait_hears_of_the_failure() {
    let place = place();
    let audit = Arc::new(Audit::to_file(&place.path, 1 << 20, 1).expect("opened"));
    std::fs::remove_file(&place.path).expect("removed");
    std::fs::create_dir(&place.path).expect("in its place");
    let results = in_one_go(&audit, &["a", "b", "c"]).await;
    assert!(results.iter().all(|result| matches!(result, Err(AuditError::Open { .. }))), "{results:?}");
    std::fs::remove_dir(&place.path).expect("removed");
    assert!(in_one_go(&audit, &["d"]).await[0].is_ok());
    assert_eq!(reasons(&place), ["d"], "nothing of what failed is written later");
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
