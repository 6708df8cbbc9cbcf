//! What a stream of X509-SVIDs says, and when: entries, bundles, records.

use std::sync::atomic::Ordering;

use countersign_common::entry::ImageRule;

use super::fake::{FakeAgent, bundle, end, entries, message, serials, silence};
use super::*;
use crate::attest::{Verdict, attestation_for_tests};
use crate::peer::{Credentials, FileIdentity, ProcessInstance};

#[tokio::test(start_paused = true)]
async fn each_entry_gives_one_svid_in_their_order_with_a_key_of_its_own() {
    let agent = FakeAgent::start(&(mine("b", "hint: x") + &mine("a", "hint: x") + &mine("c", "hint: y")));
    let mut stream = agent.watch().await.unwrap();
    let first = message(&mut stream).await;
    assert_eq!(entries(&first), ["a", "b", "c"]);
    let ids: Vec<_> = first.svids.iter().map(|issued| issued.svid.spiffe_id.as_str()).collect();
    assert_eq!(ids, ["spiffe://example.org/a", "spiffe://example.org/b", "spiffe://example.org/c"]);
    let hints: Vec<_> = first.svids.iter().map(|issued| issued.hint.as_deref()).collect();
    assert_eq!(hints, [Some("x"), None, Some("y")], "unique in a response");
    let keys: BTreeSet<_> = first.svids.iter().map(|issued| issued.svid.key.expose()).collect();
    assert_eq!(keys.len(), 3);
    assert_eq!(first.bundles.own().x509_authorities, bundle("example.org", &["root 1"]).x509_authorities);
    silence(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn two_entries_with_one_identity_give_two_svids() {
    let same = |id: &str| mine(id, "").replace(&format!("spiffe://example.org/{id}"), "spiffe://example.org/same");
    let agent = FakeAgent::start(&(same("a") + &same("b")));
    let first = message(&mut agent.watch().await.unwrap()).await;
    assert_eq!(entries(&first), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_matters_is_pushed_whole_and_another_is_not() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    let first = message(&mut stream).await;
    agent.apply(&mine("a", "owner: somebody")).await;
    agent.change_bundles(|set| Arc::make_mut(&mut set.own).sequence += 1);
    silence(&mut stream).await;

    agent.apply(&(mine("a", "") + &mine("b", ""))).await;
    let second = message(&mut stream).await;
    assert_eq!(entries(&second), ["a", "b"]);
    assert_ne!(serials(&first)[0], serials(&second)[0], "keys are not kept, so it is a new SVID");
    assert_ne!(first.svids[0].svid.key.expose(), second.svids[0].svid.key.expose());

    agent.apply(&mine("b", "")).await;
    assert_eq!(entries(&message(&mut stream).await), ["b"]);
    agent.apply(&mine("b", "hint: x")).await;
    assert_eq!(message(&mut stream).await.svids[0].hint.as_deref(), Some("x"));
    agent.apply("").await;
    let ended = end(&mut stream).await;
    assert!(matches!(ended, Refusal::NoEntry), "{ended}");
    assert_eq!(ended.fault(), Fault::Caller);
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_new_authority_in_the_bundle_is_pushed_with_valid_svids() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    let first = message(&mut stream).await;
    agent.change_bundles(|set| set.own = bundle("example.org", &["root 1", "root 2"]));
    let second = message(&mut stream).await;
    assert_eq!(second.bundles.own().x509_authorities.len(), 2);
    assert_ne!(serials(&first), serials(&second));
    assert!(!second.svids[0].svid.key.expose().is_empty());
    silence(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn an_identity_without_a_path_is_withheld_and_alone_it_is_nothing() {
    // No file can say so; a record of another making might.
    let without_path = |entry: &mut Entry| {
        if entry.id.as_str() == "r" {
            entry.spiffe_id = entry.spiffe_id.trust_domain().id();
        }
    };
    let agent = FakeAgent::start("");
    agent.apply_changed(&(mine("r", "") + &mine("z", "")), without_path).await;
    let mut stream = agent.watch().await.unwrap();
    assert_eq!(entries(&message(&mut stream).await), ["z"]);
    agent.apply_changed(&mine("r", ""), without_path).await;
    let ended = end(&mut stream).await;
    assert_eq!(ended.fault(), Fault::Caller);
    assert!(ended.to_string().contains("give it a path"), "{ended}");
    assert!(agent.watch().await.is_err_and(|refusal| refusal.fault() == Fault::Caller));
}

#[tokio::test(start_paused = true)]
async fn a_message_has_a_bound() {
    let many: String = (0..=MAX_SVIDS).map(|number| mine(&format!("e{number:03}"), "")).collect();
    let agent = FakeAgent::start(&many);
    let first = message(&mut agent.watch().await.unwrap()).await;
    assert_eq!(first.svids.len(), MAX_SVIDS);
    assert_eq!(entries(&first)[0], "e000");
}

/// What an unjudged rule about the image does to a message, which is not made smaller in silence.
#[tokio::test]
async fn what_cannot_be_told_is_unavailable() {
    let agent = FakeAgent::start(&mine("a", ""));
    let executable = FileIdentity { dev: 1, ino: 2, size: 3, mtime_ns: 4, ctime_ns: 5 };
    let instance = ProcessInstance { pid: 1, start_time: 1, executable };
    let selector = format!("unix:uid:{}", nix::unistd::geteuid()).parse().unwrap();
    let attested = || attestation_for_tests(instance.clone(), Credentials { uid: 1, gid: 1 }, [selector].into());
    let unjudged = Some(Verdict::Unjudged("no answer".to_owned()));
    let attestation = attested().with_image(ImageRule::Traced, unjudged);
    let text = mine("a", "allow: [traced]") + &mine("b", "");
    let both: Vec<_> = parse_entries("test", &text, None).unwrap().into_iter().map(Arc::new).collect();
    let refused = x509_svids::granted_for_tests(&agent.identity, &attestation, both).unwrap_err();
    assert_eq!(refused.fault(), Fault::Agent, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn each_issue_is_recorded_without_certificate_or_key() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    let first = message(&mut stream).await;
    agent.apply(&(mine("a", "hint: x") + &mine("b", ""))).await;
    let second = message(&mut stream).await;
    let records = agent.audit();
    assert!(
        records.iter().all(|record| record["event"] == "x509_svid" && record["outcome"] == "issued"),
        "{records:?}"
    );
    let told = |name: &str| records.iter().map(|record| record[name].as_str()).collect::<Vec<_>>();
    let (old, new) = (serials(&first), serials(&second));
    assert_eq!(told("serial"), [Some(&*old[0]), Some(&*new[0]), Some(&*new[1])]);
    assert_eq!(told("replaces"), [None, Some(&*old[0]), None]);
    assert_eq!(told("entry"), [Some("a"), Some("a"), Some("b")]);
    assert_eq!(told("authority"), [Some(fake::FIRST_AUTHORITY); 3]);
    assert_eq!(told("expires"), [Some("2027-09-01T13:00:00Z"); 3]);
    let text = format!("{records:?}");
    for issued in first.svids.iter().chain(&second.svids) {
        let key = issued.svid.key.expose();
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, &key[30..60]);
        assert!(!text.contains(&base64) && !text.contains("leaf"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_recorded_is_not_issued() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    message(&mut stream).await;
    let file = agent.folder.path().join("audit.log");
    std::fs::rename(&file, agent.folder.path().join("moved")).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(matches!(agent.watch().await, Err(Refusal::Audit(_))));
    agent.apply(&mine("a", "hint: x")).await;
    silence(&mut stream).await;
    // The clock of the schedule stood still: now it is past the first pause after a failure.
    std::fs::remove_dir(&file).unwrap();
    agent.set_clock(NOON + 60);
    assert_eq!(message(&mut stream).await.svids[0].hint.as_deref(), Some("x"), "it recovers without a hand");
}

#[tokio::test(start_paused = true)]
async fn for_a_client_that_does_not_read_nothing_is_signed() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut stream = agent.watch().await.unwrap();
    agent.apply(&mine("a", "hint: x")).await;
    let ended = async {
        while !agent.audit().iter().any(|record| record["outcome"] == "ended") {
            tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
        }
    };
    tokio::time::timeout(stream::READ_LIMIT * 3, ended).await.expect("it is given up");
    assert_eq!(agent.authority.signed.load(Ordering::Relaxed), 1);
    assert_eq!(message(&mut stream).await.svids.len(), 1);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_stream_is_not_taken_over_by_another_program() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut child = Child::play("exec on go");
    let mut stream = agent.identity.watch_x509_svids(&child.peer()).await.unwrap();
    message(&mut stream).await;
    let before = std::fs::read_link(child.proc("exe")).unwrap();
    child.go_on();
    child.until(|| std::fs::read_link(child.proc("exe")).is_ok_and(|now| now != before));
    agent.apply(&(mine("a", "") + &mine("b", ""))).await;
    assert!(matches!(end(&mut stream).await, Refusal::Attest(_)));
    assert_eq!(agent.authority.signed.load(Ordering::Relaxed), 1, "nothing was signed for the other program");
}

#[tokio::test]
async fn a_stream_ends_with_its_process() {
    let agent = FakeAgent::start(&mine("a", ""));
    let mut child = Child::play("stay");
    let mut stream = agent.identity.watch_x509_svids(&child.peer()).await.unwrap();
    message(&mut stream).await;
    child.kill();
    assert!(matches!(end(&mut stream).await, Refusal::Exited));
}

/// Thousands of streams are open at once, and wait.
#[tokio::test]
async fn a_waiting_stream_is_small() {
    let agent = FakeAgent::start(&mine("a", ""));
    let bytes = x509_svids::task_bytes_for_tests(&agent.identity, &Peer::of_this_process());
    assert!(bytes <= 2560, "{bytes}");
}
