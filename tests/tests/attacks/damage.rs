//! D7: what is at rest was damaged.

use std::path::Path;

use countersign_tests::{Agent, AgentSettings};

use super::{entry, own_uid, uid};

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
async fn d7_a_damaged_or_foreign_sealing_key_is_refused_and_nothing_is_sealed_anew() {
    let mut agent = agent().await;
    agent.kill();
    let (key, database) = (agent.folder().join("sealing.key"), agent.folder().join("data/countersign.redb"));
    let whole = std::fs::read(&key).expect("our file");
    damage(&key, |bytes| bytes.truncate(31));
    is_refused(&mut agent, &key, "is not exactly 32 bytes long");
    damage(&key, |bytes| *bytes = vec![0; 32]);
    is_refused(&mut agent, &key, "restore it from its backup");
    damage(&key, |bytes| *bytes = (100..132).collect());
    is_refused(&mut agent, &database, "it was sealed with another sealing key; configure that one");
    std::fs::write(&key, whole).expect("our file");
    agent.restart().await;
    let shown = agent.operator(&["entry", "list"], "");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("orders"), "the entries are still there");
}

#[tokio::test]
async fn d7_a_damaged_entries_file_changes_nothing_and_is_named() {
    let agent = agent().await;
    let file = agent.folder().join("entries.yaml");
    let whole = entry("orders", &[uid(own_uid())]) + &entry("stock", &[uid(own_uid())]);
    for (text, line) in [
        (whole.get(..whole.len() - 10).expect("longer").to_owned(), ":"),
        (whole.replace("spiffe_id", "spiffe\u{1b}[2Jid"), ":3: "),
        (whole.replace("selectors", "\tselectors"), ":3: "),
    ] {
        std::fs::write(&file, &text).expect("our folder");
        let applied = agent.operator(&["entry", "apply", "--prune", &file.display().to_string()], "");
        let said = String::from_utf8_lossy(&applied.stderr).into_owned();
        assert_eq!(applied.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("{}{line}", file.display())), "{said}");
        assert!(!said.contains('\u{1b}'), "the file speaks to the terminal: {said:?}");
    }
    let listed = agent.operator(&["entry", "list"], "");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("orders") && !listed.contains("stock"), "{listed}");
}
