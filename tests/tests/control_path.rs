//! The control path with a real agent: entries applied, listed, deleted, and never lost or
//! half applied, whatever happens to the agent in between.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign_tests::{Agent, AgentSettings, Workload, WorkloadSpec, allow_own_programs, countersign};

/// So many entries that a commit takes a while.
const ENTRIES: usize = 200;
/// Kills of one run.
const ROUNDS: u32 = 25;

/// `ENTRIES` entries that all say who wrote them.
fn generation(owner: &str) -> String {
    let one = |n| {
        format!("---\nid: e{n}\nspiffe_id: spiffe://example.org/e{n}\nselectors: [\"unix:uid:{n}\"]\nowner: {owner}\n")
    };
    (0..ENTRIES).map(one).collect()
}

/// Which generation the agent holds; panics if it holds parts of two.
fn held(agent: &Agent) -> String {
    let listed = agent.operator(&["entry", "list", "-o", "json"], "");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).expect("a list");
    assert_eq!(entries.len(), ENTRIES);
    let owner = entries[0]["owner"].as_str().expect("an owner").to_owned();
    assert!(entries.iter().all(|entry| entry["owner"] == *owner), "two generations are mixed");
    owner
}

#[tokio::test]
async fn d6_a_kill_during_apply_leaves_the_state_before_or_after() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    let files = ["a", "b"].map(|owner| {
        let file = agent.folder().join(format!("{owner}.yaml"));
        std::fs::write(&file, generation(owner)).expect("our folder");
        (owner, file)
    });
    agent.apply(&generation("a"));
    // Printed, so that a failure can be told with the instants of its kills.
    let mut random = RandomState::new().hash_one(0);
    println!("seed {random}");
    let mut changed = 0;
    let mut before = "a".to_owned();
    for round in 0..ROUNDS {
        let (owner, file) = files.iter().find(|(owner, _)| *owner != before).expect("the other one");
        let mut applying = Command::new(countersign())
            .args(["entry", "apply"])
            .arg(file)
            .env("COUNTERSIGN_ADMIN_SOCKET", agent.admin_socket())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("countersign runs");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Some kills come before the commit, some within, some after.
        let instant = Duration::from_micros(random >> 48);
        let _ = tokio::time::timeout(instant, std::future::pending::<()>()).await;
        agent.kill();
        let answered = applying.wait().expect("our child").success();
        agent.restart().await;
        let after = held(&agent);
        assert!(after == before || after == *owner, "round {round}");
        assert!(!answered || after == *owner, "round {round}: it was answered that it is done, and it is not");
        changed += u32::from(after != before);
        before = after;
    }
    println!("{changed} of {ROUNDS} kills came after the commit");
}

#[tokio::test]
async fn entries_and_signing_key_survive_a_kill() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    agent.apply(&format!(
        "id: a\nspiffe_id: spiffe://example.org/a\nselectors: [\"unix:uid:{uid}\"]\n{allow}jwt: {{audiences: [billing]}}\n"
    ));
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let token = workload.ask("fetch billing").await.token().to_owned();
    agent.restart().await;
    workload.say("reconnect").await;
    assert_eq!(workload.ask("fetch billing").await.code(), "Ok");
    let valid = workload.ask(&format!("validate billing {token}")).await;
    assert_eq!(valid.code(), "Ok", "a token from before the kill is still good: {valid:?}");
}

#[tokio::test]
async fn d7_a_damaged_database_is_an_error_that_names_the_file() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&generation("a"));
    agent.kill();
    let file = agent.folder().join("data/countersign.redb");
    let whole = std::fs::read(&file).expect("our file");
    for length in [0, 1, 100, whole.len() / 2] {
        std::fs::write(&file, &whole[..length]).expect("our file");
        let told = refused_to_start(&agent);
        assert!(told.contains("countersign.redb"), "cut to {length} bytes: {told}");
        assert_eq!(std::fs::metadata(&file).expect("it is still there").len(), length as u64, "it was replaced");
    }
    std::fs::write(&file, &whole).expect("our file");
    agent.restart().await;
    assert_eq!(held(&agent), "a");
}

#[tokio::test]
async fn d7_another_sealing_key_is_an_error_and_no_fresh_start() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    agent.kill();
    let key = agent.folder().join("sealing.key");
    let right = std::fs::read(&key).expect("our file");
    let wrong: Vec<u8> = right.iter().rev().copied().collect();
    std::fs::write(&key, wrong).expect("our file");
    let told = refused_to_start(&agent);
    assert!(told.contains("sealing key"), "{told}");
    std::fs::write(&key, right).expect("our file");
    agent.restart().await;
}

/// What the agent says when it is started on a state that it must not accept.
fn refused_to_start(agent: &Agent) -> String {
    let config = agent.folder().join("agent.toml");
    let ran = Command::new(countersign()).args(["agent", "--config"]).arg(config).output().expect("countersign runs");
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

#[tokio::test]
async fn sigterm_finishes_and_goes() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    agent.apply(&format!("id: a\nspiffe_id: spiffe://example.org/a\nselectors: [\"unix:uid:{uid}\"]\n{allow}"));
    let mut watching = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(watching.ask("watch").await.code(), "Ok");
    assert!(agent.terminate().await.success());
    assert_eq!(watching.hear().await.code(), "Unavailable", "a stream is told, not cut");
    assert!(!agent.workload_socket().exists() && !agent.admin_socket().exists(), "the sockets' names are gone");
}
