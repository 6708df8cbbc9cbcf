//! Signing keys of a real agent in operators' hands: tainted, revoked, under an upstream root, and
//! never forgotten, whatever happens to the agent in between.

use std::process::Output;

use countersign_tests::{Agent, AgentSettings, allow_own_programs};
use serde_json::Value;

fn printed(output: &Output, code: i32) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    if code == 0 { out } else { err }
}

fn shown(agent: &Agent) -> Value {
    serde_json::from_str(&printed(&agent.operator(&["authority", "show", "-o", "json"], ""), 0)).expect("JSON")
}

/// Keys of one kind with what each is doing: names under `name`.
fn keys(agent: &Agent, kind: &str, name: &str) -> Vec<(String, String)> {
    let shown = shown(agent);
    let text = |key: &Value, field: &str| key[field].as_str().expect("a text").to_owned();
    let keys = shown[kind].as_array().expect("a list").iter();
    keys.map(|key| (text(key, name), text(key, "state"))).collect()
}

fn jwt_keys(agent: &Agent) -> Vec<(String, String)> {
    keys(agent, "jwt_keys", "kid")
}

fn authorities(agent: &Agent) -> Vec<(String, String)> {
    keys(agent, "x509_authorities", "subject_key_id")
}

fn states(keys: &[(String, String)]) -> Vec<&str> {
    keys.iter().map(|(_, state)| state.as_str()).collect()
}

#[tokio::test]
async fn t4_what_a_tainted_key_signed_is_replaced_and_what_a_revoked_one_signed_is_refused() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    agent.apply(&format!(
        "id: a\nspiffe_id: spiffe://example.org/a\nselectors: [\"unix:uid:{uid}\"]\n{allow}jwt: {{audiences: [billing]}}\n"
    ));
    let fetch = |agent: &Agent| {
        let fetched = agent.operator(&["jwt", "fetch", "--audience", "billing", "-o", "token"], "");
        printed(&fetched, 0).trim().to_owned()
    };
    let is_valid = |agent: &Agent, token: &str| {
        agent.operator(&["jwt", "validate", "--audience", "billing", "-"], token).status.success()
    };
    let old = fetch(&agent);
    let kid = jwt_keys(&agent)[0].0.clone();
    let refused = printed(&agent.operator(&["authority", "revoke", &kid], ""), 1);
    assert!(refused.contains("taint it first"), "{refused}");

    printed(&agent.operator(&["authority", "taint", &kid[..8]], ""), 0);
    assert_eq!(states(&jwt_keys(&agent)), ["tainted", "active"]);
    let new = fetch(&agent);
    assert!(is_valid(&agent, &old) && is_valid(&agent, &new), "nothing breaks meanwhile");
    assert_ne!(old.split('.').next(), new.split('.').next(), "another key signed it");

    printed(&agent.operator(&["authority", "revoke", &kid], ""), 0);
    assert!(!is_valid(&agent, &old) && is_valid(&agent, &new));
    let before = jwt_keys(&agent);
    agent.restart().await;
    assert_eq!(jwt_keys(&agent), before);
    assert!(!is_valid(&agent, &old) && is_valid(&agent, &new), "also after a kill");
    let records = agent.audit();
    let recorded = |outcome: &str| records.iter().any(|record| record["outcome"] == outcome && record["key"] == *kid);
    assert!(recorded("tainted") && recorded("revoked"), "{records:?}");
}

#[tokio::test]
async fn authorities_of_both_kinds_survive_a_kill_and_are_moved_on_together_or_alone() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    let table = printed(&agent.operator(&["authority", "prepare"], ""), 0);
    assert!(table.contains("x509") && table.contains("jwt") && table.contains("next rotation"), "{table}");
    printed(&agent.operator(&["authority", "activate", "--kind", "x509"], ""), 0);
    assert_eq!(states(&jwt_keys(&agent)), ["active", "prepared"]);
    assert_eq!(states(&authorities(&agent)), ["retiring", "active"]);
    let refused = printed(&agent.operator(&["authority", "activate"], ""), 1);
    assert!(refused.contains("no X.509 authority is prepared"), "{refused}");
    let retired = authorities(&agent)[0].0.to_uppercase();
    printed(&agent.operator(&["authority", "taint", &retired], ""), 0);
    let before = shown(&agent);
    agent.restart().await;
    assert_eq!(shown(&agent), before);
    assert_eq!(states(&authorities(&agent)), ["tainted", "active"]);
    for (name, code, word) in [("nobody-is-called-so", 1, "authority show lists them"), ("-short", 1, "8 characters")] {
        let refused = printed(&agent.operator(&["authority", "taint", name], ""), code);
        assert!(refused.contains(word), "{refused}");
    }
}

#[tokio::test]
async fn an_upstream_root_that_cannot_be_used_is_refused_with_its_file() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    let file = agent.folder().join("upstream.pem");
    std::fs::write(&file, "no certificate\n").expect("our folder");
    let config = agent.folder().join("agent.toml");
    let text = std::fs::read_to_string(&config).expect("our file");
    let path = file.display().to_string();
    let upstream = format!("[authority]\nupstream = {{ certificate = \"{path}\", key = \"{path}\" }}");
    std::fs::write(&config, text.replace("[authority]", &upstream)).expect("our file");
    let said = agent.refuses_to_start();
    assert!(said.contains(&format!("cannot use {path} for authority.upstream: ")), "{said}");
    std::fs::remove_file(&file).expect("our file");
    let said = agent.refuses_to_start();
    assert!(said.contains(&path) && said.contains("No such file"), "{said}");
    std::fs::write(&config, text).expect("our file");
    agent.restart().await;
}
