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

    /// The same, where X509-SVIDs are renewed every few seconds.
    pub(crate) async fn short_lived(language: Language) -> Self {
        let settings = AgentSettings { x509: "default_ttl = \"10s\"", ..AgentSettings::default() };
        let bed = Self::with(language, settings).await;
        bed.agent.apply(&entry("orders", &by_uid()));
        bed
    }

    fn address(&self) -> String {
        format!("unix://{}", self.agent.workload_socket().display())
    }

    /// Starts a client.
    pub(crate) fn start(&self, scenario: &[&str]) -> Client {
        self.start_in(self.language, scenario)
    }

    /// Starts a client of another language.
    pub(crate) fn start_in(&self, language: Language, scenario: &[&str]) -> Client {
        Client::start(language, &self.address(), scenario)
    }

    /// Starts a client from another place.
    pub(crate) fn start_program(&self, program: &Path, scenario: &[&str]) -> Client {
        Client::start_program(program, &self.address(), scenario)
    }

    /// Runs a client to its end; what it said.
    pub(crate) async fn run(&self, scenario: &[&str]) -> Vec<Value> {
        self.start(scenario).end().await
    }

    /// Runs `countersign authority COMMAND`; the ids of the JWT keys.
    pub(crate) fn authority(&self, command: &str) -> Keys {
        Keys::of(&self.authority_says(&[command])["jwt_keys"], "kid")
    }

    /// Runs `countersign authority COMMAND`; the ids of the X.509 authorities.
    pub(crate) fn x509_authority(&self, command: &[&str]) -> Keys {
        Keys::of(&self.authority_says(command)["x509_authorities"], "subject_key_id")
    }

    fn authority_says(&self, command: &[&str]) -> Value {
        let words = [&["authority"], command, &["-o", "json"]].concat();
        let output = self.agent.operator(&words, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

/// Signing keys, by their ids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) active: String,
    /// Sorted.
    pub(crate) all: Vec<String>,
}

impl Keys {
    fn of(shown: &Value, id: &str) -> Self {
        let id_of = |key: &Value| key[id].as_str().expect("a key id").to_owned();
        let keys = shown.as_array().unwrap_or_else(|| panic!("no list of keys: {shown}"));
        let active: Vec<_> = keys.iter().filter(|key| key["state"] == "active").map(id_of).collect();
        let [active] = active.as_slice() else { panic!("one key signs: {shown}") };
        let mut all: Vec<_> = keys.iter().map(id_of).collect();
        all.sort();
        Self { active: active.clone(), all }
    }
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
