//! T6: bearer material is nowhere but in the one reply that it belongs in.

use std::path::Path;

use countersign_tests::{Agent, AgentSettings, Workload, WorkloadSpec, allow_own_programs};

#[tokio::test]
async fn t6_no_bearer_material_in_logs_audit_or_database() {
    let agent = Agent::start(AgentSettings { log: "trace", ..AgentSettings::default() }).await;
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    agent.apply(&format!(
        "id: a\nspiffe_id: spiffe://example.org/a\nselectors: [\"unix:uid:{uid}\"]\n{allow}jwt: {{audiences: [billing]}}\n"
    ));
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let token = workload.ask("fetch billing").await.token().to_owned();
    assert_eq!(workload.ask(&format!("validate billing {token}")).await.code(), "Ok");
    assert_ne!(workload.ask(&format!("validate other {token}")).await.code(), "Ok");
    let signature = token.rsplit('.').next().expect("a signature");

    let mut searched = vec![];
    search(agent.folder(), signature.as_bytes(), &mut searched);
    for file in ["audit.log", "log", "countersign.redb"] {
        assert!(searched.iter().any(|name| name == file), "{file} was not searched: {searched:?}");
    }
    let environment = std::fs::read(format!("/proc/{}/environ", agent.pid())).expect("our child");
    assert!(!contains(&environment, signature.as_bytes()));
}

#[tokio::test]
async fn t6_the_agent_leaves_no_core_dump() {
    let agent = Agent::start(AgentSettings::default()).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", agent.pid())).expect("our child");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("proc(5)");
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "soft and hard limit: {core}");
}

/// Reads every file below `folder`; fails if one holds `secret`.
fn search(folder: &Path, secret: &[u8], searched: &mut Vec<String>) {
    for file in std::fs::read_dir(folder).expect("our folder") {
        let path = file.expect("readable").path();
        if path.is_dir() {
            search(&path, secret, searched);
        } else if path.is_file() {
            let bytes = std::fs::read(&path).expect("our file");
            assert!(!contains(&bytes, secret), "a token is in {}", path.display());
            searched.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
}

fn contains(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}
