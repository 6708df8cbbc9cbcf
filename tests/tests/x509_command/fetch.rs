//! `x509 fetch`, once: what it prints, what it writes, and how it ends.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_tests::until;
use serde_json::Value;
use tonic::Code;

use super::bed::{Bed, blocks, mode, printed};
use super::workload_api::{Says, WorkloadApi, X509svid, granted};

fn decoded(block: &str) -> Vec<u8> {
    STANDARD.decode(block.replace('\n', "")).expect("base64")
}

/// Whether the two are the chain and the key of what was sent.
fn are_of(svid: &X509svid, chain: &str, key: &str) -> bool {
    let (chain, key) = (blocks(chain, "CERTIFICATE"), blocks(key, "PRIVATE KEY"));
    chain.len() == 1 && key.len() == 1 && decoded(&chain[0]) == svid.x509_svid && decoded(&key[0]) == svid.x509_svid_key
}

#[tokio::test]
async fn identities_are_listed_and_a_key_is_shown_only_to_whoever_asks_for_it() {
    let bed = Bed::new();
    let answer = granted(&["orders", "batch"]);
    let _agent = WorkloadApi::start(&bed.socket(), Says::Grant(answer.clone()));
    let table = printed(&bed.run(&["fetch"]), 0);
    let rows: Vec<_> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(rows, ["SPIFFE", "spiffe://example.org/orders", "spiffe://example.org/batch"]);
    let json = printed(&bed.run(&["fetch", "-o", "json"]), 0);
    let value: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!([&value["svids"][0]["hint"], &value["svids"][1]["hint"]], ["orders", "batch"]);
    let yaml = printed(&bed.run(&["fetch", "-o", "yaml", "--hint", "batch"]), 0);
    assert!(yaml.contains("spiffe_id: \"spiffe://example.org/batch\"") && !yaml.contains("orders"), "{yaml}");
    let key = STANDARD.encode(&answer.svids[0].x509_svid_key);
    for shown in [table, json, yaml] {
        assert!(!shown.contains("BEGIN") && !shown.contains(&key[..40]), "{shown}");
    }
    let pem = printed(&bed.run(&["fetch", "-o", "pem"]), 0);
    assert!(are_of(&answer.svids[0], &pem, &pem), "the first");
    let pem = printed(&bed.run(&["fetch", "-o", "pem", "--spiffe-id", "spiffe://example.org/batch"]), 0);
    assert!(are_of(&answer.svids[1], &pem, &pem), "the one that was asked for");
    let told = printed(&bed.run(&["fetch", "--hint", "nobody"]), 1);
    assert!(told.contains("no SVID with the hint \"nobody\"") && told.contains("example.org/batch"), "{told}");
}

#[tokio::test]
async fn files_hold_what_the_agent_sent() {
    let bed = Bed::new();
    let mut answer = granted(&["orders"]);
    answer.federated_bundles = [("spiffe://other.org".to_owned(), granted(&["x"]).svids[0].bundle.clone())].into();
    let _agent = WorkloadApi::start(&bed.socket(), Says::Grant(answer.clone()));
    let directory = bed.directory();
    printed(&bed.run(&["fetch", "--write", &directory, "--key-mode", "0640"]), 0);
    let file = |name: &str| bed.file(name).expect("written");
    assert!(are_of(&answer.svids[0], &file("svid.pem"), &file("key.pem")));
    assert!(are_of(&answer.svids[0], &file("svid_and_key.pem"), &file("svid_and_key.pem")));
    assert_eq!(decoded(&blocks(&file("bundle.pem"), "CERTIFICATE")[0]), answer.svids[0].bundle);
    let other = blocks(&file("federated/other.org.pem"), "CERTIFICATE");
    assert_eq!(decoded(&other[0]), answer.federated_bundles["spiffe://other.org"]);
    let modes = ["key.pem", "svid_and_key.pem", "svid.pem"].map(|name| mode(&bed.path("svid").join(name)));
    assert_eq!(modes, [0o640, 0o640, 0o644]);
    assert!(printed(&bed.run(&["fetch", "--write", &directory, "--key-mode", "0644"]), 2).contains("0640"));
}

#[tokio::test]
async fn a_directory_is_refused_before_the_agent_is_asked() {
    let bed = Bed::new();
    let agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders"])));
    std::fs::set_permissions(bed.path("svid"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("ours");
    let told = printed(&bed.run(&["fetch", "--write", &bed.directory()]), 1);
    assert!(told.contains("may be written by others"), "{told}");
    assert_eq!(agent.calls(), 0);
    assert_eq!(std::fs::read_dir(bed.path("svid")).expect("ours").count(), 0);
}

#[tokio::test]
async fn each_answer_has_its_exit_code_and_nothing_is_written() {
    let bed = Bed::new();
    let directory = bed.directory();
    let fetch = || bed.run(&["fetch", "--write", &directory]);
    assert!(printed(&fetch(), 3).contains("no agent answers"));
    let agent = WorkloadApi::start(&bed.socket(), Says::End(Code::PermissionDenied));
    assert!(printed(&fetch(), 1).contains("the agent grants this process no X509-SVID"));
    for (says, code) in [(Code::Unavailable, 3), (Code::InvalidArgument, 1), (Code::Unimplemented, 1)] {
        agent.say(Says::End(says));
        assert!(printed(&fetch(), code).contains("as the test says"), "{says:?}");
    }
    let mut mixed = granted(&["orders", "batch"]);
    mixed.svids[0].x509_svid_key = mixed.svids[1].x509_svid_key.clone();
    agent.say(Says::Grant(mixed));
    assert!(printed(&fetch(), 1).contains("do not belong together"));
    assert!(bed.file("key.pem").is_none());
    let nowhere = bed.command(&["fetch"]).env_remove("SPIFFE_ENDPOINT_SOCKET").output().expect("it runs");
    assert!(printed(&nowhere, 2).contains("SPIFFE_ENDPOINT_SOCKET"));
}

#[tokio::test]
async fn a_gate_opens_with_the_first_svid() {
    let bed = Bed::new();
    let directory = bed.directory();
    let mut gate = bed.start(bed.command(&["fetch", "--write", &directory, "--wait", "10m"]));
    let agent = WorkloadApi::start(&bed.socket(), Says::End(Code::PermissionDenied));
    until("the first tries", || (agent.calls() >= 2).then_some(())).await;
    agent.say(Says::Grant(granted(&["orders"])));
    assert_eq!(gate.ended().await.code(), Some(0));
    assert!(bed.file("svid_and_key.pem").is_some());
}

#[tokio::test]
async fn a_gate_that_stays_shut_says_what_was_said_last() {
    let bed = Bed::new();
    let gate = || bed.run(&["fetch", "--wait", "300ms"]);
    assert!(printed(&gate(), 3).contains("no agent answers"));
    let agent = WorkloadApi::start(&bed.socket(), Says::End(Code::PermissionDenied));
    assert!(printed(&gate(), 1).contains("the agent grants this process no X509-SVID"));
    agent.say(Says::End(Code::Unimplemented));
    let told = bed.run(&["fetch", "--wait", "1000d"]);
    assert!(printed(&told, 1).contains("does not serve this"), "waiting would be of no use");
}
