//! D7: what is at rest was damaged. Without the protection the agent goes on with what it can
//! make of it, and nobody hears of entries and keys that are gone.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use countersign_tests::{Agent, AgentSettings, Workload, WorkloadSpec};

use super::{agent_without, entry, own_uid, uid};

/// An agent with an entry and keys.
async fn agent() -> Agent {
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&entry("orders", &[uid(own_uid())]));
    agent
}

/// Does something to the bytes of a file.
fn damage(file: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).expect("our file");
    how(&mut bytes);
    std::fs::write(file, &bytes).expect("our file");
}

/// The agent says what is wrong with which file and what to do.
fn is_refused(agent: &mut Agent, file: &Path, remedy: &str) {
    let said = agent.refuses_to_start();
    assert!(said.contains(&file.display().to_string()), "does not name {}: {said}", file.display());
    assert!(said.contains(remedy), "does not say {remedy:?}: {said}");
}

#[tokio::test]
async fn d7_a_damaged_database_is_refused_and_never_begun_anew() {
    let mut agent = agent().await;
    agent.kill();
    let file = agent.folder().join("data/countersign.redb");
    let whole = std::fs::read(&file).expect("our file");
    let cuts = [0, 5, 4096, whole.len() / 2];
    for length in cuts {
        std::fs::write(&file, &whole).expect("our file");
        damage(&file, |bytes| bytes.truncate(length));
        is_refused(&mut agent, &file, "restore it from a backup");
        // Nor was a new one begun in its place.
        is_refused(&mut agent, &file, "restore it from a backup");
    }
    damage(&file, |bytes| *bytes = b"not a database at all".to_vec());
    is_refused(&mut agent, &file, "is not a database of Countersign");
    std::fs::write(&file, &whole).expect("our file");
    agent.restart().await;
}

#[tokio::test]
async fn d7_a_changed_byte_of_keys_or_entries_is_refused() {
    let mut agent = agent().await;
    agent.kill();
    let file = agent.folder().join("data/countersign.redb");
    let whole = std::fs::read(&file).expect("our file");
    // How the sealed keys begin, and the record of the entry.
    for text in ["CSAK", "spiffe://example.org/orders"] {
        let at = whole.windows(text.len()).rposition(|bytes| bytes == text.as_bytes()).expect("it is there");
        std::fs::write(&file, &whole).expect("our file");
        damage(&file, |bytes| bytes[at + 12] ^= 0x01);
        is_refused(&mut agent, &file, "restore it from a backup");
    }
    std::fs::write(&file, &whole).expect("our file");
    agent.restart().await;
}

/// A token that has to stay good, whatever happens to the agent.
async fn token(agent: &Agent) -> String {
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    workload.ask("fetch billing").await.token().to_owned()
}

/// Whether the agent still knows the key that signed `token`.
async fn knows(agent: &Agent, token: &str) -> bool {
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    workload.ask(&format!("validate billing {token}")).await.code() == "Ok"
}

/// The ids of its entries.
fn entries(agent: &Agent) -> String {
    String::from_utf8_lossy(&agent.operator(&["entry", "list"], "").stdout).into_owned()
}

#[tokio::test]
async fn d7_hurts_without_the_protection_database() {
    let mut agent = agent_without(&["whole"]).await;
    agent.apply(&entry("orders", &[uid(own_uid())]));
    let token = token(&agent).await;
    agent.kill();
    damage(&agent.folder().join("data/countersign.redb"), |bytes| bytes.truncate(bytes.len() / 2));
    // It starts as if nothing had been.
    agent.restart().await;
    assert!(!entries(&agent).contains("orders") && !knows(&agent, &token).await);
}

#[tokio::test]
async fn d7_hurts_without_the_protection_sealing_key() {
    let mut agent = agent_without(&["whole"]).await;
    agent.apply(&entry("orders", &[uid(own_uid())]));
    let token = token(&agent).await;
    agent.kill();
    damage(&agent.folder().join("sealing.key"), |bytes| *bytes = (100..132).collect());
    agent.restart().await;
    assert!(entries(&agent).contains("orders") && !knows(&agent, &token).await, "keys were begun anew");
}

#[tokio::test]
async fn d7_a_damaged_or_foreign_sealing_key_is_refused_and_nothing_is_sealed_anew() {
    let mut agent = agent().await;
    agent.kill();
    let (key, database) = (agent.folder().join("sealing.key"), agent.folder().join("data/countersign.redb"));
    let whole = std::fs::read(&key).expect("our file");
    for length in [31, 0] {
        damage(&key, |bytes| bytes.truncate(length));
        is_refused(&mut agent, &key, "is not exactly 32 bytes long");
    }
    std::fs::remove_file(&key).expect("our file");
    is_refused(&mut agent, &key, "make one with");
    std::fs::write(&key, &whole).expect("our file");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("our file");
    damage(&key, |bytes| *bytes = vec![0; 32]);
    is_refused(&mut agent, &key, "restore it from its backup");
    damage(&key, |bytes| *bytes = (100..132).collect());
    is_refused(&mut agent, &database, "it was sealed with another sealing key; configure that one");
    std::fs::write(&key, whole).expect("our file");
    agent.restart().await;
    let shown = agent.operator(&["entry", "list"], "");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("orders"), "the entries are still there");
}

/// Has an operator apply a file, and delete what is not in it.
fn apply_file(agent: &Agent, text: &str) -> (Option<i32>, String) {
    let file = agent.folder().join("entries.yaml");
    std::fs::write(&file, text).expect("our folder");
    let applied = agent.operator(&["entry", "apply", "--prune", &file.display().to_string()], "");
    (applied.status.code(), String::from_utf8_lossy(&applied.stderr).into_owned())
}

/// Two entries, the end of the second one cut off.
fn cut_short() -> String {
    let whole = entry("stock", &[uid(own_uid())]) + &entry("orders", &[uid(own_uid())]);
    whole.get(..whole.len() - 10).expect("longer").to_owned()
}

#[tokio::test]
async fn d7_a_damaged_entries_file_changes_nothing_and_is_named() {
    let agent = agent().await;
    let file = agent.folder().join("entries.yaml");
    let whole = entry("orders", &[uid(own_uid())]) + &entry("stock", &[uid(own_uid())]);
    for (text, line) in [
        (cut_short(), ":"),
        (whole.replace("spiffe_id", "spiffe\u{1b}[2Jid"), ":3: "),
        (whole.replace("selectors", "\tselectors"), ":3: "),
    ] {
        let (code, said) = apply_file(&agent, &text);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("{}{line}", file.display())), "{said}");
        assert!(!said.contains('\u{1b}'), "the file speaks to the terminal: {said:?}");
    }
    // Nothing is left of it.
    let (code, said) = apply_file(&agent, "");
    assert!(code == Some(1) && said.contains("prune would delete every entry"), "{said}");
    let held = entries(&agent);
    assert!(held.contains("orders") && !held.contains("stock"), "{held}");
}

#[tokio::test]
async fn d7_hurts_without_the_protection_entries_file() {
    let agent = agent_without(&["whole"]).await;
    agent.apply(&entry("orders", &[uid(own_uid())]));
    let (code, said) = apply_file(&agent, &cut_short());
    assert_eq!(code, Some(0), "{said}");
    let held = entries(&agent);
    assert!(held.contains("stock") && !held.contains("orders"), "an entry is gone that nobody deleted: {held}");
}
