//! `countersign backup` and `countersign restore` with a real agent: nothing of what was backed up
//! is lost, and nothing is restored that could not be used.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use countersign_tests::{Agent, AgentSettings, Workload, WorkloadSpec, allow_own_programs, countersign};
use serde_json::Value;

fn entry(id: &str) -> String {
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    format!(
        "---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: [\"unix:uid:{uid}\"]\n{allow}\
         jwt: {{audiences: [billing]}}\n"
    )
}

fn backup(agent: &Agent) -> PathBuf {
    let file = agent.folder().join("backup");
    let taken = agent.operator(&["backup", &file.display().to_string()], "");
    assert!(taken.status.success(), "{}", said(&taken));
    file
}

fn restore(agent: &Agent, backup: &Path, more: &[&str]) -> Output {
    let config = agent.folder().join("agent.toml");
    let mut command = Command::new(countersign());
    command.arg("restore").arg("--config").arg(config).args(more).arg(backup).output().expect("countersign runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn ids(agent: &Agent) -> Vec<String> {
    let listed = agent.operator(&["entry", "list", "-o", "json"], "");
    let entries: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("a list");
    entries.iter().map(|entry| entry["id"].as_str().expect("an id").to_owned()).collect()
}

fn sequence(agent: &Agent) -> u64 {
    let shown = agent.operator(&["bundle", "show", "--format", "spiffe"], "");
    let bundle: Value = serde_json::from_slice(&shown.stdout).expect("a document");
    bundle["spiffe_sequence"].as_u64().expect("a sequence")
}

fn store(agent: &Agent) -> PathBuf {
    agent.folder().join("data/countersign.redb")
}

#[tokio::test]
async fn entries_and_keys_come_back_and_the_sequence_does_not_fall() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&entry("a"));
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let token = workload.ask("fetch billing").await.token().to_owned();
    let file = backup(&agent);
    assert_eq!(file.metadata().expect("the backup").permissions().mode() & 0o777, 0o600);
    let record = agent.audit().into_iter().find(|record| record["event"] == "backup_take").expect("a record");
    assert_eq!(record["outcome"], "taken");

    agent.apply(&entry("b"));
    // Published after the backup: what is restored must be told from it.
    assert!(agent.operator(&["authority", "prepare"], "").status.success());
    let published = sequence(&agent);
    agent.kill();
    std::fs::write(store(&agent), b"damaged").expect("our file");
    let restored = restore(&agent, &file, &["--replace"]);
    assert!(restored.status.success(), "{}", said(&restored));
    assert!(said(&restored).contains("1 entries at revision 1"), "{}", said(&restored));
    assert_eq!(std::fs::read(agent.folder().join("data/countersign.redb.replaced-1")).expect("kept"), b"damaged");

    agent.restart().await;
    assert_eq!(ids(&agent), ["a"]);
    assert!(sequence(&agent) > published, "{} after {published}", sequence(&agent));
    workload.say("reconnect").await;
    assert_eq!(workload.ask("fetch billing").await.code(), "Ok");
    let valid = workload.ask(&format!("validate billing {token}")).await;
    assert_eq!(valid.code(), "Ok", "the key that signed it is there again: {valid:?}");
}

#[tokio::test]
async fn a_restore_that_is_refused_changes_nothing() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&entry("a"));
    let file = backup(&agent);
    let running = restore(&agent, &file, &["--replace"]);
    assert_eq!(running.status.code(), Some(1));
    assert!(said(&running).contains("in use by another process"), "{}", said(&running));
    agent.kill();

    let before = std::fs::read(store(&agent)).expect("the store");
    let unasked = restore(&agent, &file, &[]);
    assert_eq!(unasked.status.code(), Some(1));
    assert!(said(&unasked).contains("--replace"), "{}", said(&unasked));

    let key = agent.folder().join("sealing.key");
    let right = std::fs::read(&key).expect("our file");
    std::fs::write(&key, (32..64).collect::<Vec<u8>>()).expect("our file");
    let sealed = restore(&agent, &file, &["--replace"]);
    assert_eq!(sealed.status.code(), Some(1));
    assert!(said(&sealed).contains("sealed with another sealing key"), "{}", said(&sealed));
    std::fs::write(&key, right).expect("our file");

    let whole = std::fs::read(&file).expect("the backup");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("our file");
    let cut = restore(&agent, &file, &["--replace"]);
    assert_eq!(cut.status.code(), Some(1));
    assert!(said(&cut).contains("backup") && said(&cut).contains("damaged"), "{}", said(&cut));

    assert_eq!(std::fs::read(store(&agent)).expect("the store"), before);
    let left: Vec<_> = std::fs::read_dir(agent.folder().join("data")).expect("our folder").collect();
    assert_eq!(left.len(), 1, "{left:?}");
    agent.restart().await;
    assert_eq!(ids(&agent), ["a"]);
}

#[tokio::test]
async fn a_backup_is_not_written_over_something() {
    let agent = Agent::start(AgentSettings::default()).await;
    let file = agent.folder().join("there");
    std::fs::write(&file, b"mine").expect("our file");
    let taken = agent.operator(&["backup", &file.display().to_string()], "");
    assert_eq!(taken.status.code(), Some(1));
    assert_eq!(std::fs::read(&file).expect("our file"), b"mine");
}
