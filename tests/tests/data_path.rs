//! The data path with real processes: who is entitled, who is not, and who is no longer.

use std::path::{Path, PathBuf};

use countersign_tests::{
    Agent, AgentSettings, Cgroup, Workload, WorkloadSpec, allow_own_programs, root_or_skip, until,
};
use serde_json::json;

const VICTIM: u32 = 61001;
const STRANGER: u32 = 61002;

/// An entry with these selectors, for audience `billing`.
fn entry(id: &str, selectors: &[String]) -> String {
    format!(
        "---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: {}\n{}jwt: {{audiences: [billing]}}\n",
        json!(selectors),
        allow_own_programs()
    )
}

fn by_uid(uid: u32) -> Vec<String> {
    vec![format!("unix:uid:{uid}")]
}

fn sha256(path: &Path) -> String {
    let summed = std::process::Command::new("sha256sum").arg(path).output().expect("sha256sum runs");
    String::from_utf8_lossy(&summed.stdout).split(' ').next().expect("a digest").to_owned()
}

/// A copy of the workload program in the agent's folder, which every user can run.
fn program(agent: &Agent, name: &str, salt: &str) -> PathBuf {
    Workload::install(&agent.folder().join(name), salt)
}

fn spec(program: &Path, uid: u32) -> WorkloadSpec {
    WorkloadSpec { uid: Some(uid), gid: Some(uid), program: Some(program.to_owned()), ..WorkloadSpec::default() }
}

#[tokio::test]
async fn an_entitled_process_gets_a_token_and_a_stranger_gets_none() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let program = program(&agent, "program", "");
    agent.apply(&entry("orders", &by_uid(VICTIM)));

    let mut entitled = Workload::start(&agent.workload_socket(), &spec(&program, VICTIM));
    let answer = entitled.ask("fetch billing").await;
    assert_eq!(answer.code(), "Ok", "{answer:?}");
    assert_eq!(answer.claim("sub"), "spiffe://example.org/orders");
    assert_eq!(answer.claim("aud"), json!(["billing"]));
    let record = agent.audited(entitled.pid(), "issued").await;
    assert_eq!(record["jti"], answer.claim("jti"));
    assert_eq!(record["uid"], VICTIM);
    assert_eq!(record["entry"], "orders");
    assert_eq!(record["exe"], json!(program));
    assert!(record.get("sha256").is_none(), "no entry needs the hash, so it is not taken");

    let mut stranger = Workload::start(&agent.workload_socket(), &spec(&program, STRANGER));
    let refused = stranger.ask("fetch billing").await;
    assert_eq!((refused.code(), &refused.0["message"]), ("PermissionDenied", &json!("no identity issued")));
    let record = agent.audited(stranger.pid(), "refused").await;
    assert_eq!(record["reason"], "no entry matches the selectors of this process");
}

#[tokio::test]
async fn every_process_has_tokens_of_its_own_and_reuses_them() {
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&entry("orders", &by_uid(nix::unistd::geteuid().as_raw())));
    let mut first = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let mut second = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let a = first.ask("fetch billing").await.claim("jti");
    let b = second.ask("fetch billing").await.claim("jti");
    assert_ne!(a, b, "two processes share a token");
    first.say("reconnect").await;
    let again = first.ask("fetch billing").await;
    assert_eq!(again.claim("jti"), a, "a token in the first half of its life is reused, on a new connection too");
    let issued: Vec<_> = agent.audit().into_iter().filter(|record| record["jti"] == a).collect();
    assert_eq!(issued.iter().map(|record| record["reused"] == true).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn the_right_user_with_the_wrong_binary_is_refused() {
    let agent = Agent::start(AgentSettings::default()).await;
    let uid = nix::unistd::geteuid().as_raw();
    let (right, wrong) = (program(&agent, "right", ""), program(&agent, "wrong", "salt"));
    let digest = sha256(&right);
    agent.apply(&entry("orders", &[format!("unix:uid:{uid}"), format!("unix:sha256:{digest}")]));

    let run = |program: &Path| {
        Workload::start(
            &agent.workload_socket(),
            &WorkloadSpec { program: Some(program.to_owned()), ..WorkloadSpec::default() },
        )
    };
    let mut entitled = run(&right);
    assert_eq!(entitled.ask("fetch billing").await.code(), "Ok");
    assert_eq!(agent.audited(entitled.pid(), "issued").await["sha256"], digest);
    let mut other = run(&wrong);
    assert_eq!(other.ask("fetch billing").await.code(), "PermissionDenied");
    assert_eq!(agent.audited(other.pid(), "refused").await["sha256"], sha256(&wrong));
}

#[tokio::test]
async fn a_binary_replaced_on_disk_does_not_change_who_runs() {
    let agent = Agent::start(AgentSettings::default()).await;
    let path = program(&agent, "program", "old");
    let old = sha256(&path);
    let mut running = Workload::start(
        &agent.workload_socket(),
        &WorkloadSpec { program: Some(path.clone()), ..WorkloadSpec::default() },
    );
    // An answer proves that the image runs before it is replaced.
    assert_eq!(running.ask("fetch billing").await.code(), "PermissionDenied");
    program(&agent, "program", "new");
    let new = sha256(&path);

    agent.apply(&entry("new-image", &[format!("unix:sha256:{new}")]));
    assert_eq!(running.ask("fetch billing").await.code(), "PermissionDenied", "the hash of the file on disk was taken");
    agent.apply(&entry("path", &[format!("unix:path:{}", path.display())]));
    assert_eq!(running.ask("fetch billing").await.code(), "PermissionDenied", "the path now means another file");
    let old_image = entry("old-image", &[format!("unix:sha256:{old}")]);
    agent.apply(&old_image);
    assert_eq!(running.ask("fetch billing").await.code(), "PermissionDenied", "what runs is no file any more");
    let allow = "allow: [deleted, writable_executable, foreign_code]\n";
    agent.apply(&(old_image.replace(allow_own_programs(), "") + allow));
    let answer = running.ask("fetch billing").await;
    assert_eq!(answer.claim("sub"), "spiffe://example.org/old-image", "the running image is what counts");
}

#[tokio::test]
async fn a_process_that_exits_during_the_call_gets_nothing() {
    let agent = Agent::start(AgentSettings { hold: "30s", log: "debug", ..AgentSettings::default() }).await;
    let mut leaving = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let pid = leaving.pid();
    leaving.say("fetch billing").await;
    // No entry matches it yet: nothing is decided.
    until("the held caller", || agent.log().contains("the caller is held").then_some(())).await;
    leaving.end().await;
    // Either its exit is noticed first, or that its connection is gone.
    let recorded = || agent.audit().into_iter().find(|record| record["pid"] == pid);
    let record = until("the record of the process that left", recorded).await;
    assert!(record["outcome"] == "refused" || record["outcome"] == "abandoned", "{record}");
    assert!(record["reason"].as_str().is_some_and(|reason| reason.contains("before it was answered")), "{record}");
    agent.apply(&entry("orders", &by_uid(nix::unistd::geteuid().as_raw())));
    assert!(agent.audit().iter().all(|record| record["outcome"] != "issued"), "{:?}", agent.audit());
}

#[tokio::test]
async fn a_held_caller_is_answered_when_its_entry_arrives() {
    let agent = Agent::start(AgentSettings { hold: "30s", log: "debug", ..AgentSettings::default() }).await;
    let mut early = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    early.say("fetch billing").await;
    until("the held caller", || agent.log().contains("the caller is held").then_some(())).await;
    agent.apply(&entry("orders", &by_uid(nix::unistd::geteuid().as_raw())));
    assert_eq!(early.hear().await.claim("sub"), "spiffe://example.org/orders");
}

#[tokio::test]
async fn an_entry_that_is_deleted_while_its_caller_is_attested_grants_nothing() {
    let agent = Agent::start(AgentSettings::default()).await;
    let program = program(&agent, "program", "");
    // A hole at its end, up to what is hashed at most: the program is the same, and long to read.
    let grown = std::process::Command::new("truncate").args(["--size=1G"]).arg(&program).status();
    assert!(grown.expect("truncate runs").success());
    let digest = sha256(&program);
    agent.apply(&entry("orders", &[format!("unix:sha256:{digest}")]));
    let spec = WorkloadSpec { program: Some(program.clone()), ..WorkloadSpec::default() };
    let mut workload = Workload::start(&agent.workload_socket(), &spec);
    workload.say("fetch billing").await;
    until("the agent to read the program", || reads(agent.pid(), &program).then_some(())).await;
    let deleted = agent.operator(&["entry", "delete", "orders"], "");
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    assert_eq!(workload.hear().await.code(), "PermissionDenied", "the operator was told that the entry is gone");
    assert!(agent.audit().iter().all(|record| record["outcome"] != "issued"), "{:?}", agent.audit());
}

/// Whether a process has a file open to read it (fdinfo: flags without `O_PATH`).
fn reads(pid: u32, file: &Path) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("our child").filter_map(Result::ok);
    let of_file = descriptors.filter(|descriptor| std::fs::read_link(descriptor.path()).is_ok_and(|path| path == file));
    let mut flags = of_file.filter_map(|descriptor| {
        let name = descriptor.file_name().into_string().ok()?;
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{name}")).ok()?;
        u32::from_str_radix(info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim(), 8).ok()
    });
    flags.any(|flags| flags & 0o10_000_000 == 0)
}

#[tokio::test]
async fn an_open_stream_ends_when_the_entitlement_does() {
    let agent = Agent::start(AgentSettings::default()).await;
    let uid = nix::unistd::geteuid().as_raw();
    agent.apply(&entry("orders", &by_uid(uid)));
    let mut watching = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let first = watching.ask("watch").await;
    assert!(first.0["bundles"]["spiffe://example.org"].is_string(), "{first:?}");
    let prepared = agent.operator(&["authority", "prepare"], "");
    assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
    let second = watching.hear().await;
    assert_ne!(second.0["bundles"], first.0["bundles"], "a prepared key is published");
    agent.apply(&entry("orders", &by_uid(uid + 1)));
    assert_eq!(watching.hear().await.code(), "PermissionDenied");
    assert_eq!(agent.audited(watching.pid(), "refused").await["event"], "jwt_bundles");
}

#[tokio::test]
async fn a_process_that_becomes_another_user_is_refused() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&(entry("root", &by_uid(0)) + &entry("victim", &by_uid(VICTIM))));
    let program = program(&agent, "program", "");
    let mut changing =
        Workload::start(&agent.workload_socket(), &WorkloadSpec { program: Some(program), ..WorkloadSpec::default() });
    assert_eq!(changing.ask("fetch billing").await.claim("sub"), "spiffe://example.org/root");
    assert_eq!(changing.ask(&format!("setuid {VICTIM}")).await.code(), "Ok");
    assert_eq!(
        changing.ask("fetch billing").await.code(),
        "PermissionDenied",
        "connected as one user, asks as another"
    );
    changing.say("reconnect").await;
    assert_eq!(changing.ask("fetch billing").await.claim("sub"), "spiffe://example.org/victim");
}

#[tokio::test]
async fn a_failing_attestor_makes_dependent_entries_unavailable_and_no_others() {
    // The workload program is larger than this, so that its hash cannot be told.
    let agent =
        Agent::start(AgentSettings { attest: "max_executable_bytes = 1048576", ..AgentSettings::default() }).await;
    let uid = nix::unistd::geteuid().as_raw();
    let hashed = [format!("unix:uid:{uid}"), format!("unix:sha256:{}", "0".repeat(64))];
    agent.apply(&(entry("by-uid", &by_uid(uid)) + &entry("hashed", &hashed)));
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(workload.ask("fetch billing").await.code(), "Unavailable");
    let reason = agent.audited(workload.pid(), "refused").await["reason"].to_string();
    assert!(reason.contains("hashed") && reason.contains("unix:sha256"), "{reason}");
    agent.apply(&entry("by-uid", &by_uid(uid)));
    assert_eq!(workload.ask("fetch billing").await.code(), "Ok");
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_issued() {
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&entry("orders", &by_uid(nix::unistd::geteuid().as_raw())));
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(workload.ask("fetch billing").await.code(), "Ok");
    // A folder in the place of the file: no user can write a line into that.
    let file = agent.folder().join("audit.log");
    std::fs::rename(&file, agent.folder().join("moved")).expect("our file");
    std::fs::create_dir(&file).expect("our folder");
    assert_eq!(workload.ask("fetch billing").await.code(), "Unavailable");
    std::fs::remove_dir(&file).expect("our folder");
    assert_eq!(workload.ask("fetch billing").await.code(), "Ok", "it recovers without a hand");
}

#[tokio::test]
async fn the_cgroup_of_a_process_counts() {
    if !root_or_skip("cgroups") {
        return;
    }
    let cgroup = Cgroup::make("countersign-data-path");
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&entry("orders", &[format!("cgroup:path:{}", cgroup.path())]));
    let inside = WorkloadSpec { cgroup_procs: Some(cgroup.procs()), ..WorkloadSpec::default() };
    let mut inside = Workload::start(&agent.workload_socket(), &inside);
    let answer = inside.ask("fetch billing").await;
    assert_eq!(answer.code(), "Ok", "{:?}", agent.audit());
    let mut outside = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(outside.ask("fetch billing").await.code(), "PermissionDenied");
    inside.end().await;
}
