//! D1 to D3: one user, or one cgroup, that asks for everything. Others are served meanwhile, and
//! what the flood leaves in the audit record is bounded.

use std::path::{Path, PathBuf};
use std::process::Command;

use countersign_tests::{Agent, AgentSettings, Workload, WorkloadSpec, root_or_skip, until};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use serde_json::Value;

use super::{ATTACKER, VICTIM, entry, program, spec, status, uid};

/// The places for connections: the default of the configuration.
const CONNECTIONS: u64 = 2048;

/// An agent with an entry for the victim, and a program that everybody can run.
async fn agent(settings: AgentSettings) -> (Agent, PathBuf) {
    let agent = Agent::start(settings).await;
    agent.apply(&entry("victim", &[uid(VICTIM)]));
    let program = program(&agent, "program");
    (agent, program)
}

/// Waits until the flood has come to its end: so many of its places were refused.
async fn refused(agent: &Agent, kind: &str, count: u64) -> Value {
    let refused = || Some(status(agent)).filter(|s| s["places"][kind]["refused"].as_u64() >= Some(count));
    until(&format!("{count} {kind} to be refused"), refused).await
}

/// How many places of a kind the users whom `is_meant` names hold in sum.
fn held(status: &Value, kind: &str, is_meant: impl Fn(u64) -> bool) -> u64 {
    let callers = status["callers"].as_array().expect("a list").iter();
    callers.filter(|c| is_meant(c["uid"].as_u64().expect("a uid"))).map(|c| c[kind].as_u64().expect("a number")).sum()
}

/// What the victim is told when it comes now.
async fn victim(agent: &Agent, program: &Path) -> String {
    let mut victim = Workload::start(&agent.workload_socket(), &spec(program, VICTIM));
    victim.ask("fetch billing").await.code().to_owned()
}

/// Records of admission about the users whom `is_meant` names.
fn told(agent: &Agent, is_meant: impl Fn(u64) -> bool) -> Vec<Value> {
    let records = agent.audit().into_iter().filter(|record| record["event"] == "admission");
    records.filter(|record| is_meant(record["uid"].as_u64().expect("a uid"))).collect()
}

fn is_attacker(uid: u64) -> bool {
    uid == u64::from(ATTACKER)
}

#[tokio::test]
async fn d1_thousands_of_connections_of_one_user_leave_places_for_others() {
    if !root_or_skip("processes of other users") {
        return;
    }
    for kind in ["silent", "half"] {
        let (agent, program) = agent(AgentSettings::default()).await;
        let mut flooder = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
        assert_eq!(flooder.ask(&format!("flood-connections 3000 {kind}")).await.0["opened"], 3000);
        let status = refused(&agent, "connections", 3000 - CONNECTIONS / 4).await;
        assert!(held(&status, "connections", is_attacker) <= CONNECTIONS / 4, "{status}");
        assert_eq!(victim(&agent, &program).await, "Ok", "{kind}");
        let told = told(&agent, is_attacker);
        assert!((1..=2).contains(&told.len()), "{told:?}");
        let reason = told[0]["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("1 connection refused: user 61002"), "{reason}");
    }
}

#[tokio::test]
async fn d1_works_without_the_protection() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let (agent, program) = agent(AgentSettings { without: &["admission"], ..AgentSettings::default() }).await;
    let mut flooder = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
    flooder.ask("flood-connections 3000 half").await;
    let status = refused(&agent, "connections", 3000 - CONNECTIONS).await;
    assert_eq!(held(&status, "connections", is_attacker), CONNECTIONS);
    assert_ne!(victim(&agent, &program).await, "Ok");
}

/// Eight users in one cgroup, with four hundred connections each: in sum more than there are.
async fn flood_of_a_cgroup(without: &'static [&'static str]) -> (u64, String) {
    let (agent, program) = agent(AgentSettings { without, ..AgentSettings::default() }).await;
    let cgroup = Cgroup::make(&format!("countersign-flood-{}", agent.pid()));
    let users = 62_000..62_008;
    let mut flooders = Vec::new();
    for user in users.clone() {
        let mut flooder = Workload::start(&agent.workload_socket(), &cgroup.spec(&program, user));
        flooder.ask("flood-connections 400 half").await;
        flooders.push(flooder);
    }
    let status = refused(&agent, "connections", 3200 - CONNECTIONS).await;
    let held = held(&status, "connections", |uid| users.contains(&u32::try_from(uid).expect("a uid")));
    let answer = victim(&agent, &program).await;
    for flooder in flooders {
        flooder.end().await;
    }
    (held, answer)
}

#[tokio::test]
async fn d1_many_users_in_one_cgroup_are_one_cgroup() {
    if !root_or_skip("processes of other users, and cgroups") {
        return;
    }
    let (held, answer) = flood_of_a_cgroup(&[]).await;
    assert!(held <= CONNECTIONS / 2, "{held}");
    assert_eq!(answer, "Ok");
    let (held, answer) = flood_of_a_cgroup(&["admission"]).await;
    assert_eq!(held, CONNECTIONS, "it works without the protection");
    assert_ne!(answer, "Ok");
}

/// What an agent is started with so that it has the first of our processors to itself.
fn on_one_processor() -> Vec<String> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("our own processors");
    let processor = (0..CpuSet::count()).find(|number| allowed.is_set(*number) == Ok(true)).expect("at least one");
    ["taskset", "--cpu-list", &processor.to_string()].map(str::to_owned).to_vec()
}

/// As many connections as a user may have of 7680: at the pace of one processor, one each 3.2 ms, they
/// are taken up in more than five seconds, and without it as fast as they come.
const STORM: u64 = 1800;

/// A storm of connections, then one of a victim that asks now and then. On how many of the storm the
/// agent has spoken when the victim has its answer. On one processor, so that all machines are alike.
async fn storm(without: &'static [&'static str]) -> u64 {
    let (workload_api, admission) = ("max_connections = 7680", "max_requests = 64");
    let settings =
        AgentSettings { under: on_one_processor(), workload_api, admission, without, ..AgentSettings::default() };
    let (agent, program) = agent(settings).await;
    let mut victim = Workload::start(&agent.workload_socket(), &spec(&program, VICTIM));
    let mut flooder = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
    assert_eq!(victim.ask("fetch billing").await.code(), "Ok");
    assert_eq!(flooder.ask(&format!("flood-connections {STORM} silent")).await.0["opened"], STORM);
    victim.say("reconnect").await;
    assert_eq!(victim.ask("fetch billing").await.code(), "Ok");
    flooder.ask("flood-heard").await.0["heard"].as_u64().expect("a number")
}

#[tokio::test]
async fn d1_who_asks_now_and_then_does_not_wait_for_a_storm_of_connections() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let heard = storm(&[]).await;
    assert!((1..STORM).contains(&heard), "{heard}");
}

#[tokio::test]
async fn d1_works_without_the_protection_pace() {
    if !root_or_skip("processes of other users") {
        return;
    }
    assert_eq!(storm(&["pace"]).await, STORM, "it came after all of them");
}

/// Were each of the connections put down for the 3.2 ms that it takes on one processor, though nearly all are refused,
/// their user would have to wait for a minute and a half, which is longer than any test does.
#[tokio::test]
async fn d1_a_user_does_not_owe_for_the_connections_that_were_refused() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let (agent, program) = agent(AgentSettings { under: on_one_processor(), ..AgentSettings::default() }).await;
    agent.apply(&(entry("victim", &[uid(VICTIM)]) + &entry("attacker", &[uid(ATTACKER)])));
    assert_eq!(victim(&agent, &program).await, "Ok");
    for _ in 0..10 {
        let mut flooder = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
        assert_eq!(flooder.ask("flood-connections 3000 silent").await.0["opened"], 3000);
        flooder.end().await;
    }
    let mut honest = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
    assert_eq!(honest.ask("fetch billing").await.code(), "Ok");
}

/// The requests of somebody who matches no entry are held for long: a backlog that stays.
fn held_long() -> AgentSettings {
    AgentSettings { hold: "30s", admission: "max_requests = 64", ..AgentSettings::default() }
}

#[tokio::test]
async fn d2_a_flood_of_requests_is_bounded_and_others_are_answered_before_its_backlog() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let (agent, program) = agent(held_long()).await;
    let mut flooder = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
    flooder.ask("flood-calls 400 FetchJWTSVID").await;
    let status = refused(&agent, "requests", 400 - 64 / 4).await;
    assert_eq!(held(&status, "requests", is_attacker), 64 / 4, "{status}");
    assert_eq!(victim(&agent, &program).await, "Ok");
    // Nothing of the backlog was answered before; and all that was refused left two records.
    let answered = agent.audit().into_iter().filter(|record| record["event"] == "jwt_svid");
    assert_eq!(answered.map(|record| record["uid"].clone()).collect::<Vec<_>>(), [Value::from(VICTIM)]);
    let told = told(&agent, is_attacker);
    assert!((1..=2).contains(&told.len()), "{told:?}");
}

#[tokio::test]
async fn d2_works_without_the_protection() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let (agent, program) = agent(AgentSettings { without: &["admission"], ..held_long() }).await;
    let mut flooder = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
    flooder.ask("flood-calls 400 FetchJWTSVID").await;
    refused(&agent, "requests", 400 - 64).await;
    assert_eq!(victim(&agent, &program).await, "Unavailable");
}

#[tokio::test]
async fn d2_a_flood_of_streams_leaves_streams_for_others() {
    if !root_or_skip("processes of other users") {
        return;
    }
    for (without, held_by_flood, others) in [(&[][..], 64 / 4, "Ok"), (&["admission"], 64, "Unavailable")] {
        let settings = AgentSettings { admission: "max_streams = 64", without, ..AgentSettings::default() };
        let (agent, program) = agent(settings).await;
        agent.apply(&(entry("victim", &[uid(VICTIM)]) + &entry("attacker", &[uid(ATTACKER)])));
        let mut flooder = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
        flooder.ask("flood-calls 100 FetchJWTBundles").await;
        let status = refused(&agent, "streams", 100 - held_by_flood).await;
        assert_eq!(held(&status, "streams", is_attacker), held_by_flood, "{status}");
        let mut victim = Workload::start(&agent.workload_socket(), &spec(&program, VICTIM));
        let first = victim.ask("watch").await;
        // Where there is no stream to be had, the one message that is there may come before the end.
        let answer = if others == "Ok" || first.code() != "Ok" { first } else { victim.hear().await };
        assert_eq!(answer.code(), others);
    }
}

/// Large executables of one user, all to be hashed at once; then one of another. Gives back what
/// the large ones and the other were told, and what was hashed.
async fn flood_of_executables(without: &'static [&'static str]) -> (Vec<String>, String, Value) {
    let admission = "hash_bytes = 268435456\nhash_bytes_per_second = 1024";
    let (agent, program) = agent(AgentSettings { admission, without, ..AgentSettings::default() }).await;
    let digest = Command::new("sha256sum").arg(&program).output().expect("sha256sum runs").stdout;
    let sha256 = format!("unix:sha256:{}", String::from_utf8_lossy(&digest).split(' ').next().expect("a digest"));
    // Either entry turns on the digest of whoever asks.
    agent.apply(&(entry("victim", &[uid(VICTIM), sha256.clone()]) + &entry("attacker", &[uid(ATTACKER), sha256])));
    let mut flooders = Vec::new();
    for number in 0..8 {
        let large = super::program(&agent, &format!("large-{number}"));
        // The rest of it is a hole: nothing on the disk, and all of it to be hashed.
        let lengthened = Command::new("truncate").args(["--size", "160M"]).arg(&large).status();
        assert!(lengthened.expect("truncate runs").success());
        flooders.push(Workload::start(&agent.workload_socket(), &spec(&large, ATTACKER)));
    }
    for flooder in &mut flooders {
        flooder.say("fetch billing").await;
    }
    let answer = victim(&agent, &program).await;
    let mut told = Vec::new();
    for flooder in &mut flooders {
        told.push(flooder.hear().await.code().to_owned());
    }
    let is_said = agent.log().contains("raise admission.hash_bytes or admission.hash_bytes_per_second");
    assert_eq!(is_said, without.is_empty(), "an operator is told what to do");
    (told, answer, status(&agent))
}

#[tokio::test]
async fn d3_huge_executables_of_one_user_wait_and_others_are_hashed() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let (told, answer, status) = flood_of_executables(&[]).await;
    assert_eq!(answer, "Ok");
    assert_eq!(told.iter().filter(|code| *code == "PermissionDenied").count(), 1, "one was hashed: {told:?}");
    assert_eq!(told.iter().filter(|code| *code == "Unavailable").count(), 7, "the others would wait long: {told:?}");
    assert_eq!(status["hashed_files"], 2, "{status}");
}

#[tokio::test]
async fn d3_works_without_the_protection() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let (told, _, status) = flood_of_executables(&["hash-budget"]).await;
    assert!(told.iter().all(|code| code == "PermissionDenied"), "all were hashed: {told:?}");
    assert!(status["hashed_bytes"].as_u64() > Some(8 * (160 << 20)), "{status}");
}

/// A cgroup of our own; removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make(name: &str) -> Self {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists()).expect("a cgroup2 hierarchy");
        let folder = root.join(name);
        std::fs::create_dir(&folder).expect("root may make cgroups");
        Self(folder)
    }

    /// A workload in it that is another user: root moves, and becomes that one.
    fn spec(&self, program: &Path, user: u32) -> WorkloadSpec {
        let shell = format!(
            "echo $$ > {}/cgroup.procs && exec setpriv --reuid={user} --regid={user} --clear-groups \"$0\"",
            self.0.display()
        );
        let under = vec!["/bin/sh".to_owned(), "-c".to_owned(), shell];
        WorkloadSpec { program: Some(program.to_owned()), under, ..WorkloadSpec::default() }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that is still ending keeps it; it goes with the machine then.
        let _ = std::fs::remove_dir(&self.0);
    }
}
