//! One agent and the clients of one language, with what the cases ask of them.

use std::path::Path;

use countersign_tests::{Agent, AgentSettings, allow_own_programs};
use serde_json::{Value, json};

use crate::client::{Client, Language};

/// An agent under test and the language of its clients.
pub(crate) struct Bed {
    pub(crate) agent: Agent,
    language: Language,
}

impl Bed {
    /// An agent without entries.
    pub(crate) async fn new(language: Language) -> Self {
        Self::with(language, AgentSettings::default()).await
    }

    pub(crate) async fn with(language: Language, settings: AgentSettings) -> Self {
        Self { agent: Agent::start(settings).await, language }
    }

    /// An agent whose only entry is for every process of this user, for audience `billing`.
    pub(crate) async fn entitled(language: Language) -> Self {
        let bed = Self::new(language).await;
        bed.agent.apply(&entry("orders", &by_uid()));
        bed
    }

    fn address(&self) -> String {
        format!("unix://{}", self.agent.workload_socket().display())
    }

    /// Starts a client.
    pub(crate) fn start(&self, scenario: &[&str]) -> Client {
        Client::start(self.language, &self.address(), scenario)
    }

    /// Starts a client from another place.
    pub(crate) fn start_program(&self, program: &Path, scenario: &[&str]) -> Client {
        Client::start_program(program, &self.address(), scenario)
    }

    /// Runs a client to its end; what it said.
    pub(crate) async fn run(&self, scenario: &[&str]) -> Vec<Value> {
        self.start(scenario).end().await
    }

    /// Runs `countersign authority COMMAND`; the ids of all keys and of the one that signs.
    pub(crate) fn authority(&self, command: &str) -> Keys {
        let output = self.agent.operator(&["authority", command, "-o", "json"], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let keys = shown["jwt_keys"].as_array().expect("keys");
        let active: Vec<_> = keys.iter().filter(|key| key["state"] == "active").map(kid).collect();
        let [active] = active.as_slice() else { panic!("one key signs: {shown}") };
        let mut all: Vec<_> = keys.iter().map(kid).collect();
        all.sort();
        Keys { active: active.clone(), all }
    }
}

/// The signing keys, by their ids.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) active: String,
    /// Sorted.
    pub(crate) all: Vec<String>,
}

fn kid(key: &Value) -> String {
    key["kid"].as_str().expect("a key id").to_owned()
}

/// An entry with these selectors, for audience `billing`.
pub(crate) fn entry(id: &str, selectors: &[String]) -> String {
    format!(
        "---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: {}\n{}jwt: {{audiences: [billing]}}\n",
        json!(selectors),
        allow_own_programs()
    )
}

/// The selectors of every process of this user.
pub(crate) fn by_uid() -> Vec<String> {
    vec![format!("unix:uid:{}", nix::unistd::geteuid())]
}
