//! Attacks by local processes without privilege, with real processes against a real agent. Each
//! test is named by its row in the threat model: P poses as another process, D wears the agent
//! down. A row is here as far as the agent withstands it. `pN_works_...` and `dN_hurts_...` are the
//! same attacks with the protection taken out: so is seen that they are attacks.

mod asking;
mod cgroups;
mod clock;
mod damage;
mod enduring;
mod flooding;
mod image;
mod naming;
mod posing;
mod reuse;
mod running;
mod speaking;
mod tracing;
mod wearing;

use std::path::{Path, PathBuf};

use countersign_tests::{Agent, AgentSettings, Answer, Workload, WorkloadSpec, allow_own_programs, until};
use serde_json::{Value, json};

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

/// An entry of whoever runs the tests.
fn orders() -> String {
    entry("orders", &[uid(own_uid())])
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

/// What the agent says of itself and of who uses what.
fn status(agent: &Agent) -> Value {
    let shown = agent.operator(&["status", "-o", "json"], "");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    serde_json::from_slice(&shown.stdout).expect("JSON")
}

/// What was recorded about process `pid` with this outcome says why.
async fn reason(agent: &Agent, pid: u32, outcome: &str) -> String {
    agent.audited(pid, outcome).await["reason"].as_str().unwrap_or_default().to_owned()
}

/// Every record of an SVID of `id`.
fn issued(agent: &Agent, id: &str) -> Vec<Value> {
    let id = format!("spiffe://example.org/{id}");
    agent.audit().into_iter().filter(|record| record["outcome"] == "issued" && record["spiffe_id"] == id).collect()
}

/// What an attacker read holds no answer to a request.
fn got_nothing(got: &Answer) {
    assert!(got.code() == "Closed" || got.0["messages"] == 0, "{got:?}");
}

/// No SVID of `id` was ever issued.
fn nothing_issued_to(agent: &Agent, id: &str) {
    let issued = issued(agent, id);
    assert!(issued.is_empty(), "{issued:?}");
}

/// How many SVIDs of `id` were issued to process `pid`.
fn issued_to(agent: &Agent, id: &str, pid: u32) -> usize {
    issued(agent, id).iter().filter(|record| record["pid"] == pid).count()
}

/// How many messages a workload got on a connection that it speaks on byte by byte.
fn messages(answer: &Answer) -> u64 {
    answer.0["messages"].as_u64().unwrap_or_default()
}

/// Has the agent make another key: news for every stream.
fn prepare_a_key(agent: &Agent) {
    let prepared = agent.operator(&["authority", "prepare"], "");
    assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
}

/// Opens a connection byte by byte; when this returns, the agent has taken hold of the process.
async fn raw_open(agent: &Agent, workload: &mut Workload) {
    assert_eq!(workload.ask("raw-open").await.code(), "Ok");
    let pid = workload.pid();
    until("the agent to accept the connection", || (held(agent, pid) > 0).then_some(())).await;
}

/// How many pidfds of this process the agent holds.
fn held(agent: &Agent, pid: u32) -> usize {
    let folder = format!("/proc/{}/fdinfo", agent.pid());
    let files = std::fs::read_dir(folder).expect("our child");
    let of_process = |text: String| text.lines().any(|line| line == format!("Pid:\t{pid}"));
    files
        .filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok())
        .filter(|text| of_process(text.clone()))
        .count()
}

/// An agent that does without some of its protections.
async fn agent_without(without: &'static [&'static str]) -> Agent {
    Agent::start(AgentSettings { without, ..AgentSettings::default() }).await
}
