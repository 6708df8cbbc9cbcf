//! Attacks by local processes without privilege, with real processes against a real agent. Each
//! test is named by its row in the threat model: P poses as another process, D wears the agent
//! down. A row is here as far as the agent withstands it.

mod cgroups;
mod damage;
mod flooding;
mod image;
mod naming;
mod posing;
mod speaking;
mod wearing;

use std::path::{Path, PathBuf};

use countersign_tests::{Agent, Workload, WorkloadSpec, allow_own_programs};
use serde_json::json;

/// The user whose identity is wanted.
const VICTIM: u32 = 61001;
/// The user who wants it.
const ATTACKER: u32 = 61002;

/// An entry with these selectors, for audience `billing`.
fn entry(id: &str, selectors: &[String]) -> String {
    format!(
        "---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: {}\n{}jwt: {{audiences: [billing]}}\n",
        json!(selectors),
        allow_own_programs()
    )
}

fn uid(uid: u32) -> String {
    format!("unix:uid:{uid}")
}

fn path(program: &Path) -> String {
    format!("unix:path:{}", program.display())
}

/// The user who runs the tests.
fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// A copy of the workload program in the agent's folder, which every user can run.
fn program(agent: &Agent, name: &str) -> PathBuf {
    Workload::install(&agent.folder().join(name), name)
}

fn spec(program: &Path, uid: u32) -> WorkloadSpec {
    WorkloadSpec { uid: Some(uid), gid: Some(uid), program: Some(program.to_owned()), ..WorkloadSpec::default() }
}

/// What was recorded about process `pid` with this outcome says why.
async fn reason(agent: &Agent, pid: u32, outcome: &str) -> String {
    agent.audited(pid, outcome).await["reason"].as_str().unwrap_or_default().to_owned()
}

/// No SVID of `id` was ever issued.
fn nothing_issued_to(agent: &Agent, id: &str) {
    let id = format!("spiffe://example.org/{id}");
    let issued: Vec<_> =
        agent.audit().into_iter().filter(|record| record["outcome"] == "issued" && record["spiffe_id"] == id).collect();
    assert!(issued.is_empty(), "{issued:?}");
}
