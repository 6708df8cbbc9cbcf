//! P: posing as another process. Each attack is a function of the agent: the same one is run
//! against the agent as it is, and without what stands in its way.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use countersign_tests::{Agent, AgentSettings, Answer, Cgroup, LIMIT, Workload, WorkloadSpec, root_or_skip, until};

use super::{
    ATTACKER, VICTIM, agent_without, entry, issued_to, messages, nothing_issued_to, own_uid, path, prepare_a_key,
    program, raw_open, reason, spec, uid,
};

/// A process connects and exits; another one keeps its connection, and asks on it when the victim
/// runs under the pid. The pid, the answer, and the victim.
async fn ask_under_a_pid_given_again(agent: &Agent) -> (u32, Answer, Workload) {
    let program = program(agent, "program");
    agent.apply(&(entry("victim", &[uid(VICTIM)]) + &entry("attacker", &[uid(ATTACKER)])));
    let mut attacker = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
    let pid = attacker.pid();
    raw_open(agent, &mut attacker).await;
    assert_eq!(attacker.ask(&format!("hand-over {}", program.display())).await.code(), "Adopted");
    attacker.ended().await;

    let deadline = std::time::Instant::now() + LIMIT;
    let victim = loop {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("root may choose pids");
        let next = Workload::start(&agent.workload_socket(), &spec(&program, VICTIM));
        if next.pid() == pid {
            break next;
        }
        assert!(std::time::Instant::now() < deadline, "the pid was never given again");
        next.end().await;
    };
    // The victim is there, under the attacker's old pid, when the request is read.
    (pid, attacker.ask("raw-fetch billing").await, victim)
}

#[tokio::test]
async fn p1_a_connection_of_a_process_that_is_gone_is_not_its_pids_next_owners() {
    if !root_or_skip("processes of other users, and choosing pids") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let (_, answer, mut victim) = ask_under_a_pid_given_again(&agent).await;
    assert_eq!(messages(&answer), 0, "{answer:?}");
    nothing_issued_to(&agent, "victim");
    assert_eq!(victim.ask("fetch billing").await.claim("sub"), "spiffe://example.org/victim");
}

/// The pidfd says that it is gone; the credentials at connect are not those of the new owner.
#[tokio::test]
async fn p1_either_of_its_protections_is_enough() {
    if !root_or_skip("processes of other users, and choosing pids") {
        return;
    }
    let changed = "the process changed after it connected: credentials";
    for (without, said) in [
        (&["sender", "countersign", "connected-as"], "the process has exited"),
        (&["sender", "countersign", "exit"], changed),
    ] {
        let agent = agent_without(without).await;
        let (pid, answer, _) = ask_under_a_pid_given_again(&agent).await;
        assert_eq!((answer.code(), messages(&answer)), ("PermissionDenied", 0));
        assert_eq!(reason(&agent, pid, "refused").await, said);
        nothing_issued_to(&agent, "victim");
    }
}

#[tokio::test]
async fn p1_works_without_the_protections() {
    if !root_or_skip("processes of other users, and choosing pids") {
        return;
    }
    let agent = agent_without(&["sender", "countersign", "connected-as", "exit"]).await;
    let (pid, answer, _victim) = ask_under_a_pid_given_again(&agent).await;
    assert_eq!(messages(&answer), 1, "{answer:?}");
    assert_eq!(issued_to(&agent, "victim", pid), 1);
}

/// A process connects, runs a set-uid program over the connection, and that one asks.
async fn ask_as_a_set_uid_program(agent: &Agent) -> (u32, Answer) {
    let (own, theirs) = (program(agent, "own"), program(agent, "theirs"));
    std::os::unix::fs::chown(&theirs, Some(VICTIM), Some(VICTIM)).expect("our file");
    std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o4755)).expect("our file");
    agent.apply(&(entry("victim", &[uid(VICTIM)]) + &entry("attacker", &[uid(ATTACKER)])));
    let mut attacker = Workload::start(&agent.workload_socket(), &spec(&own, ATTACKER));
    raw_open(agent, &mut attacker).await;
    assert_eq!(attacker.ask(&format!("exec-over {}", theirs.display())).await.code(), "Adopted");
    let answer = attacker.ask("raw-fetch billing").await;
    (attacker.pid(), answer)
}

#[tokio::test]
async fn p3_a_set_uid_program_on_an_open_connection_is_not_its_owner() {
    if !root_or_skip("a set-uid program of another user") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let (pid, answer) = ask_as_a_set_uid_program(&agent).await;
    assert_eq!((answer.code(), messages(&answer)), ("PermissionDenied", 0));
    assert_eq!(reason(&agent, pid, "refused").await, "the process changed after it connected: credentials");
    nothing_issued_to(&agent, "victim");
}

#[tokio::test]
async fn p3_works_without_the_protection() {
    if !root_or_skip("a set-uid program of another user") {
        return;
    }
    // The program is the victim's own, which is a rule of the image's.
    let agent = agent_without(&["connected-as", "writable"]).await;
    let (pid, answer) = ask_as_a_set_uid_program(&agent).await;
    assert_eq!(messages(&answer), 1, "{answer:?}");
    assert_eq!(issued_to(&agent, "victim", pid), 1);
}

/// How a process becomes another between two messages.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Program,
    User,
    Cgroup,
}

/// Opens a stream, changes, and has the agent want to send a message. What came of the stream.
async fn watch_and_become_another(agent: &Agent, change: Change) -> (u32, Answer) {
    let (first, second) = (program(agent, "first"), program(agent, "second"));
    // Entitled before and after. The stream is of the process that it was all the same.
    let holds = match change {
        Change::User => path(&first),
        Change::Program | Change::Cgroup => uid(own_uid()),
    };
    agent.apply(&entry("orders", &[holds]));
    let only = WorkloadSpec { program: Some(first), ..WorkloadSpec::default() };
    let mut changing = Workload::start(&agent.workload_socket(), &only);
    let pid = changing.pid();
    assert_eq!(changing.ask("raw-watch").await.code(), "Ok");
    let mut other = None;
    match change {
        Change::Program => {
            assert_eq!(changing.ask(&format!("exec-over {}", second.display())).await.code(), "Adopted");
        }
        Change::User => assert_eq!(changing.ask(&format!("setuid {VICTIM}")).await.code(), "Ok"),
        Change::Cgroup => other.insert(Cgroup::make(&format!("countersign-p6-{pid}"))).take(pid),
    }
    prepare_a_key(agent);
    (pid, end_of_stream(agent, &mut changing, pid).await)
}

/// Waits until the agent has decided about the next message, ends the stream if it goes on, and
/// tells what came of it.
async fn end_of_stream(agent: &Agent, watching: &mut Workload, pid: u32) -> Answer {
    let decided = || agent.audit().iter().filter(|record| record["pid"] == pid).count() > 1;
    until("a decision about the next message", || decided().then_some(())).await;
    agent.apply(&entry("nobody", &[uid(u32::MAX - 1)]));
    watching.ask("raw-end").await
}

#[tokio::test]
async fn p6_a_stream_is_not_another_programs_at_its_next_message() {
    let agent = Agent::start(AgentSettings::default()).await;
    let (pid, ended) = watch_and_become_another(&agent, Change::Program).await;
    assert_eq!((ended.code(), messages(&ended)), ("PermissionDenied", 0));
    assert_eq!(reason(&agent, pid, "refused").await, "the process changed after it connected: executable");
}

#[tokio::test]
async fn p6_a_stream_is_not_another_users_nor_another_cgroups() {
    if !root_or_skip("other users, and cgroups") {
        return;
    }
    for (change, what) in [(Change::User, "credentials"), (Change::Cgroup, "cgroup")] {
        let agent = Agent::start(AgentSettings::default()).await;
        let (pid, ended) = watch_and_become_another(&agent, change).await;
        assert_eq!((ended.code(), messages(&ended)), ("PermissionDenied", 0), "{what}");
        let said = reason(&agent, pid, "refused").await;
        assert_eq!(said, format!("the process changed after it connected: {what}"));
    }
}

#[tokio::test]
async fn p6_works_without_the_protection_on_a_stream() {
    if !root_or_skip("other users, and cgroups") {
        return;
    }
    for change in [Change::Program, Change::User, Change::Cgroup] {
        let agent = agent_without(&["change"]).await;
        let (_, ended) = watch_and_become_another(&agent, change).await;
        assert_eq!(messages(&ended), 1, "{ended:?}");
    }
}

/// Asks as the first program, then as the second one on the same connection.
async fn ask_as_two_programs(agent: &Agent) -> (u32, Answer) {
    let (first, second) = (program(agent, "first"), program(agent, "second"));
    agent.apply(&entry("first", &[path(&first)]));
    let only = WorkloadSpec { program: Some(first), ..WorkloadSpec::default() };
    let mut changing = Workload::start(&agent.workload_socket(), &only);
    let honest = changing.ask("raw-fetch billing").await;
    assert_eq!(messages(&honest), 1, "{honest:?}");
    assert_eq!(changing.ask(&format!("exec-over {}", second.display())).await.code(), "Adopted");
    let answer = changing.ask("raw-fetch billing").await;
    (changing.pid(), answer)
}

#[tokio::test]
async fn p6_a_request_on_an_open_connection_is_the_running_programs() {
    let agent = Agent::start(AgentSettings::default()).await;
    let (pid, answer) = ask_as_two_programs(&agent).await;
    assert_eq!((answer.code(), messages(&answer)), ("PermissionDenied", 0));
    assert_eq!(reason(&agent, pid, "refused").await, "the process changed after it connected: executable");
    assert_eq!(issued_to(&agent, "first", pid), 1);
}

#[tokio::test]
async fn p6_works_without_the_protection_on_a_connection() {
    let agent = agent_without(&["change"]).await;
    let (pid, answer) = ask_as_two_programs(&agent).await;
    assert_eq!(messages(&answer), 1, "{answer:?}");
    assert_eq!(issued_to(&agent, "first", pid), 2);
}

/// Opens a stream, leaves it to another process, and exits: that other one, and the pid that was.
async fn leave_a_stream(agent: &Agent) -> (u32, Workload) {
    let program = program(agent, "program");
    agent.apply(&entry("orders", &[uid(own_uid())]));
    let only = WorkloadSpec { program: Some(program.clone()), ..WorkloadSpec::default() };
    let mut leaving = Workload::start(&agent.workload_socket(), &only);
    let pid = leaving.pid();
    assert_eq!(leaving.ask("raw-watch").await.code(), "Ok");
    assert_eq!(leaving.ask(&format!("hand-over {}", program.display())).await.code(), "Adopted");
    leaving.ended().await;
    (pid, leaving)
}

/// What whoever was left a stream gets of it, and of its connection.
async fn use_what_was_left(agent: &Agent, pid: u32, heir: &mut Workload) -> (Answer, Answer) {
    prepare_a_key(agent);
    let ended = end_of_stream(agent, heir, pid).await;
    agent.apply(&entry("orders", &[uid(own_uid())]));
    (ended, heir.ask("raw-fetch billing").await)
}

#[tokio::test]
async fn p7_a_stream_ends_with_the_process_that_opened_it() {
    let agent = Agent::start(AgentSettings::default()).await;
    let (pid, mut heir) = leave_a_stream(&agent).await;
    // Nothing changes and nobody asks: the exit alone ends the stream that another still holds.
    assert_eq!(reason(&agent, pid, "ended").await, "the process exited before it was answered");
    let (ended, answer) = use_what_was_left(&agent, pid, &mut heir).await;
    assert_eq!((ended.code(), messages(&ended)), ("PermissionDenied", 0));
    assert_eq!(messages(&answer), 0, "{answer:?}");
    nothing_issued_to(&agent, "orders");
}

#[tokio::test]
async fn p7_without_word_of_the_exit_the_next_look_still_ends_it() {
    let agent = agent_without(&["sender", "countersign", "exit"]).await;
    let (pid, mut heir) = leave_a_stream(&agent).await;
    let (ended, answer) = use_what_was_left(&agent, pid, &mut heir).await;
    assert_eq!((messages(&ended), messages(&answer)), (0, 0), "{ended:?} {answer:?}");
    nothing_issued_to(&agent, "orders");
}

#[tokio::test]
async fn p7_works_without_the_protections() {
    // Whom nobody looks at again needs not be there; nor can its image be judged.
    let looks = &["sender", "countersign", "exit", "change", "traced", "nameless", "writable", "forged-sender"];
    let agent = agent_without(looks).await;
    let (pid, mut heir) = leave_a_stream(&agent).await;
    let (ended, answer) = use_what_was_left(&agent, pid, &mut heir).await;
    assert_eq!((messages(&ended), messages(&answer)), (1, 1), "{ended:?} {answer:?}");
    assert_eq!(issued_to(&agent, "orders", pid), 1);
}

/// Runs an own program in a mount namespace where it stands in the place of the victim's.
async fn ask_from_a_place_of_ones_own(agent: &Agent) -> (u32, Answer) {
    let (own, theirs) = (program(agent, "own"), program(agent, "theirs"));
    agent.apply(&entry("victim", &[path(&theirs)]));
    // As root, so that it works where users may not make user namespaces; as the attacker inside.
    let shell = "mount --bind \"$0\" \"$1\" && exec setpriv --reuid=61002 --regid=61002 --clear-groups \"$1\"";
    let under = ["unshare", "--mount", "/bin/sh", "-c", shell].map(str::to_owned);
    let under = under.into_iter().chain([own.display().to_string()]).collect();
    let posing = WorkloadSpec { program: Some(theirs), under, ..WorkloadSpec::default() };
    let mut attacker = Workload::start(&agent.workload_socket(), &posing);
    let answer = attacker.ask("fetch billing").await;
    (attacker.pid(), answer)
}

#[tokio::test]
async fn p8_a_path_in_a_mount_namespace_of_ones_own_is_not_that_path() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let (pid, answer) = ask_from_a_place_of_ones_own(&agent).await;
    assert_eq!(answer.code(), "PermissionDenied");
    let theirs = agent.folder().join("theirs");
    let record = agent.audited(pid, "refused").await;
    assert_eq!(record["exe"], serde_json::json!(theirs), "its path reads like the victim's");
    assert_eq!(record["uid"], ATTACKER);
    nothing_issued_to(&agent, "victim");
    let mut victim = Workload::start(&agent.workload_socket(), &spec(&theirs, VICTIM));
    assert_eq!(victim.ask("fetch billing").await.claim("sub"), "spiffe://example.org/victim");
}

#[tokio::test]
async fn p8_works_without_the_protection() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let agent = agent_without(&["path"]).await;
    let (pid, answer) = ask_from_a_place_of_ones_own(&agent).await;
    assert_eq!(answer.claim("sub"), "spiffe://example.org/victim");
    assert_eq!(issued_to(&agent, "victim", pid), 1);
}

#[tokio::test]
async fn p9_a_copy_of_the_binary_has_neither_its_path_nor_its_user() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let theirs = program(&agent, "theirs");
    let copy = agent.folder().join("copy");
    std::fs::copy(&theirs, &copy).expect("our folder");
    std::os::unix::fs::chown(&copy, Some(ATTACKER), Some(ATTACKER)).expect("our file");
    let digest = Command::new("sha256sum").arg(&theirs).output().expect("sha256sum runs").stdout;
    let sha256 = format!("unix:sha256:{}", String::from_utf8_lossy(&digest).split(' ').next().expect("a digest"));
    let entries =
        [entry("by-path", &[sha256.clone(), path(&theirs)]), entry("by-user", &[sha256.clone(), uid(VICTIM)])];
    for entries in entries {
        agent.apply(&entries);
        let mut attacker = Workload::start(&agent.workload_socket(), &spec(&copy, ATTACKER));
        assert_eq!(attacker.ask("fetch billing").await.code(), "PermissionDenied", "{entries}");
        let mut victim = Workload::start(&agent.workload_socket(), &spec(&theirs, VICTIM));
        assert_eq!(victim.ask("fetch billing").await.code(), "Ok", "{entries}");
    }
    // By design the digest is that of the same bytes, whoever runs them: here, somebody whom
    // another rule keeps out (`image.rs`).
    agent.apply(&(entry("by-digest", &[sha256]) + "allow: [writable_executable]\n"));
    let mut anybody = Workload::start(&agent.workload_socket(), &spec(&copy, ATTACKER));
    assert_eq!(anybody.ask("fetch billing").await.code(), "Ok");
}
