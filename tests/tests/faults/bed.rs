//! An agent that begins every case from the same database, and what has to be found again after it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use countersign_tests::{Agent, AgentSettings, LIMIT, Workload, WorkloadSpec, allow_own_programs, countersign};
use serde_json::Value;

use crate::table::On;

/// Entries beside that of the workload, so that a change has several parts.
const ENTRIES: usize = 5;

/// Where a backup goes.
pub(crate) const COPY: &str = "copy.redb";

/// What an operator's command came to.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) is_done: bool,
    pub(crate) said: String,
}

/// An agent, and what it was told and said before any fault.
pub(crate) struct Bed {
    pub(crate) agent: Agent,
    pub(crate) workload: Workload,
    database: Vec<u8>,
    keys: BTreeSet<String>,
    token: String,
}

/// Every entry says of which change it is.
pub(crate) fn entries(change: &str) -> String {
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    let mine = format!(
        "---\nid: mine\nspiffe_id: spiffe://example.org/mine\nselectors: [\"unix:uid:{uid}\"]\n{allow}\
         jwt: {{audiences: [billing]}}\nowner: {change}\n"
    );
    let other = |n| {
        format!("---\nid: e{n}\nspiffe_id: spiffe://example.org/e{n}\nselectors: [\"unix:gid:{n}\"]\nowner: {change}\n")
    };
    (0..ENTRIES).map(other).fold(mine, |all, one| all + &one)
}

impl Bed {
    /// With the entries of the change `before`, a token, and what `also` does to it.
    pub(crate) async fn make(also: &[&[&str]]) -> Self {
        let mut agent = Agent::start(AgentSettings::default()).await;
        agent.apply(&entries("before"));
        for arguments in also {
            assert!(agent.operator(arguments, "").status.success(), "{arguments:?}");
        }
        for change in ["before", "after"] {
            std::fs::write(agent.folder().join(change), entries(change)).expect("our folder");
        }
        let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
        let token = workload.ask("fetch billing").await.token().to_owned();
        agent.kill();
        let database = std::fs::read(database(&agent)).expect("our file");
        let mut bed = Self { agent, workload, database, keys: BTreeSet::new(), token };
        bed.agent.restart().await;
        bed.keys = bed.shown_keys();
        bed
    }

    /// Ends the agent and gives it the database back that it began with.
    pub(crate) fn rewind(&mut self) {
        self.agent.kill();
        // Over the file that is there: its mode stays.
        std::fs::write(database(&self.agent), &self.database).expect("our file");
    }

    /// Ends the agent and takes everything away that it has made.
    pub(crate) fn clear(&mut self) {
        self.agent.kill();
        for made in std::fs::read_dir(self.agent.folder().join("data")).expect("our folder").flatten() {
            std::fs::remove_file(made.path()).expect("our folder");
        }
        for made in ["workload", "admin"] {
            // A start that failed may not have come to it.
            let _ = std::fs::remove_dir_all(self.agent.folder().join(made));
        }
    }

    /// Has the agent go on from the backup that was made, and holds it against what was there.
    pub(crate) async fn check_copy(&mut self) {
        self.agent.kill();
        let copy = std::fs::read(self.agent.folder().join(COPY)).expect("a backup");
        std::fs::write(database(&self.agent), copy).expect("our file");
        self.agent.restart().await;
        assert_eq!(self.held(), "before");
        self.check_keys(false).await;
    }

    /// The files that a fault is on.
    pub(crate) fn paths(&self, on: On) -> Vec<PathBuf> {
        let names: &[&str] = match on {
            On::Database => &["data/countersign.redb"],
            On::Directory => &["data"],
            On::SealingKey => &["sealing.key"],
            On::Audit => &["audit.log"],
            On::Sockets => &[
                "admin",
                "admin/admin.sock",
                "admin/admin.sock.lock",
                "workload",
                "workload/agent.sock",
                "workload/agent.sock.lock",
            ],
            On::Anything => &[],
        };
        names.iter().map(|name| self.agent.folder().join(name)).collect()
    }

    pub(crate) fn log_of_strace(&self) -> PathBuf {
        self.agent.folder().join("strace")
    }

    /// Has an operator do something. One that gets no answer is a failure, and not a wait without end.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Answered {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", &LIMIT.as_secs().to_string()]).arg(countersign()).args(arguments);
        command.current_dir(self.agent.folder()).env("COUNTERSIGN_ADMIN_SOCKET", self.agent.admin_socket());
        let output = command.output().expect("timeout(1) is installed");
        assert!(output.status.code().is_some_and(|code| code < 4), "{arguments:?} {output:?}");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8")).concat();
        Answered { is_done: output.status.success(), said }
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let answered = self.ask(arguments);
        assert!(answered.is_done, "{arguments:?}: {}", answered.said);
        serde_json::from_str(&answered.said).expect("JSON")
    }

    /// The change that all entries are of; panics if they are of two, or not all there.
    pub(crate) fn held(&self) -> String {
        let listed = self.json(&["entry", "list", "-o", "json"]);
        let listed = listed.as_array().expect("a list");
        let owners: BTreeSet<_> = listed.iter().filter_map(|entry| entry["owner"].as_str()).collect();
        assert_eq!((owners.len(), listed.len()), (1, ENTRIES + 1), "{owners:?}");
        owners.first().expect("one").to_string()
    }

    /// Keys of the bundle, as they are published.
    pub(crate) fn shown_keys(&self) -> BTreeSet<String> {
        let shown = self.json(&["bundle", "show", "--format", "spiffe"]);
        shown["keys"].as_array().expect("keys").iter().map(ToString::to_string).collect()
    }

    /// Whether the authority has a key in this state.
    pub(crate) fn has_key_in(&self, state: &str) -> bool {
        let shown = self.ask(&["authority", "show"]);
        assert!(shown.is_done, "{}", shown.said);
        shown.said.contains(state)
    }

    /// Holds the agent against what was there before any fault: all keys are still published, and no others
    /// but by an operator's word; the token is still good; SVIDs are issued.
    pub(crate) async fn check_keys(&mut self, by_operator: bool) {
        let keys = self.shown_keys();
        assert!(keys.is_superset(&self.keys), "a key is gone");
        assert!(by_operator || keys == self.keys, "a key is there that nobody asked for");
        self.workload.say("reconnect").await;
        let valid = self.workload.ask(&format!("validate billing {}", self.token)).await;
        assert_eq!(valid.code(), "Ok", "a token from before: {valid:?}");
        for command in ["fetch billing", "fetch-x509"] {
            let answer = self.workload.ask(command).await;
            assert_eq!(answer.code(), "Ok", "{command}: {answer:?}");
        }
    }
}

fn database(agent: &Agent) -> PathBuf {
    agent.folder().join("data/countersign.redb")
}
