//! Places as the endpoint takes them, and what is recorded of refusals.

use std::sync::Arc;

use countersign_common::clock::{Clock, Timestamp};

use super::*;
use crate::drain;
use crate::peer::CgroupMembership;

/// A user in a cgroup; in none if it is empty.
pub(crate) fn key(uid: u32, cgroup: &str) -> Key {
    let path = if cgroup.is_empty() { "/" } else { cgroup };
    Key::new(uid, &[CgroupMembership { hierarchy: 0, controllers: String::new(), path: path.to_owned() }])
}

/// An admission that records nowhere anybody looks.
pub(crate) fn admission(connections: usize, requests: usize, streams: usize) -> Arc<Admission> {
    recorded(Limits { connections, requests, streams }, Audit::to_stderr())
}

fn recorded(limits: Limits, audit: Audit) -> Arc<Admission> {
    #[derive(Debug)]
    struct Standstill;
    impl Clock for Standstill {
        fn now(&self) -> Timestamp {
            Timestamp::from_seconds(1_800_000_000)
        }
    }
    Admission::new(limits, Arc::new(audit), Arc::new(Standstill))
}

#[tokio::test]
async fn places_come_back_and_who_holds_none_is_forgotten() {
    let admission = admission(16, 16, 16);
    let flooder = key(1, "/a");
    let held: Vec<_> = (0..16).filter_map(|_| admission.place(Kind::Connection, &flooder, 7)).collect();
    assert_eq!(admission.in_use(Kind::Connection), Use { used: 4, limit: 16, refused: 12 });
    let uses = admission.by_key();
    assert_eq!(uses, [KeyUse { key: flooder, held: [4, 0, 0], refused: 12 }]);
    drop(held);
    assert_eq!(admission.in_use(Kind::Connection).used, 0);
    assert_eq!(admission.by_key()[0].held, [0; 3]);
}

#[tokio::test]
async fn a_user_that_has_its_half_is_refused_before_anything_is_known_of_it() {
    let admission = admission(16, 16, 16);
    let _held: Vec<_> =
        (0..16).filter_map(|n| admission.place(Kind::Connection, &key(1, &format!("/{n}")), 7)).collect();
    let comes = |uid| admission.place(Kind::Connection, &Key::of_user(uid), 7).is_some();
    assert!(!comes(1) && comes(2));
}

#[tokio::test(start_paused = true)]
async fn who_takes_its_requests_back_is_worked_for_as_soon_as_before() {
    let admission = admission(16, 16, 16);
    let (flood, other) = (key(1, "/a"), key(2, "/b"));
    admission.in_turn(&other, async {}).await;
    let costly = || tokio::time::advance(Duration::from_millis(5));
    let begin = Instant::now();
    // Until it has to wait.
    while begin.elapsed() < Duration::from_secs(1) {
        admission.in_turn(&flood, costly()).await;
    }
    for _ in 0..10_000 {
        let taken_back = admission.in_turn(&flood, costly());
        assert!(tokio::time::timeout(Duration::ZERO, taken_back).await.is_err());
    }
    let begin = Instant::now();
    admission.in_turn(&flood, async {}).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_request_that_becomes_a_stream_is_no_request_any_more() {
    let admission = admission(16, 16, 4);
    let caller = key(1, "/a");
    let mut first = admission.place(Kind::Request, &caller, 7).unwrap();
    assert!(first.becomes_stream() && first.becomes_stream());
    let mut second = admission.place(Kind::Request, &caller, 7).unwrap();
    assert!(!second.becomes_stream());
    let used = |kind| admission.in_use(kind).used;
    assert_eq!((used(Kind::Request), used(Kind::Stream)), (1, 1));
    drop((first, second));
    assert_eq!((used(Kind::Request), used(Kind::Stream)), (0, 0));
}

#[tokio::test]
async fn a_flood_leaves_two_records() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let limits = Limits { connections: 4, requests: 4, streams: 4 };
    let admission = recorded(limits, Audit::to_file(&file, 1 << 20, 1).unwrap());
    let _held = admission.place(Kind::Connection, &key(61002, "/a"), 7).unwrap();
    for _ in 0..1000 {
        assert!(admission.place(Kind::Connection, &key(61002, "/a"), 7).is_none());
    }
    let (trigger, drain) = drain::channel();
    trigger.request();
    admission.tell_of_refusals(&drain).await;
    let reasons = loop {
        let text = std::fs::read_to_string(&file).unwrap();
        let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if records.len() == 2 {
            assert!(records.iter().all(|r| r["uid"] == 61002 && r["cgroup"] == "/a" && r["event"] == "admission"));
            break records.iter().map(|record| record["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        }
        tokio::task::yield_now().await;
    };
    assert!(reasons[0].starts_with("1 connection refused: user 61002"), "{reasons:?}");
    assert!(reasons[1].starts_with("999 connections refused: user 61002"), "{reasons:?}");
}
