//! P2, P4, P5: speaking on the connection of another process, or as what one became since.
//!
//! Each attack is one function, run against the agent as it is and against one without the
//! protection that stops it.

use std::path::{Path, PathBuf};

use countersign_tests::{Agent, AgentSettings, Answer, Workload, WorkloadSpec, root_or_skip, until};
use nix::sys::signal::Signal;

use super::{ATTACKER, VICTIM, entry, got_nothing, nothing_issued_to, path, program, reason, spec, uid};

const NEEDED: &str = "processes of other users";

async fn agent(without: &'static [&'static str]) -> Agent {
    Agent::start(AgentSettings { without, ..AgentSettings::default() }).await
}

/// A program of the victim's that does nothing by itself.
fn sleeper(agent: &Agent) -> PathBuf {
    let copy = agent.folder().join("victims");
    std::fs::copy("/bin/sleep", &copy).expect("our folder");
    copy
}

/// The attacker sends its request, becomes the victim's program, and leaves a copy of the
/// connection to a process that reads the answer. All of it before the agent, which is busy,
/// looks at the connection. The pid of the connection's process, and what the reader got.
async fn p2_attack(agent: &Agent, under: &[&str], manners: &str) -> (u32, Answer) {
    let (own, theirs) = (program(agent, "own"), sleeper(agent));
    agent.apply(&entry("victim", &[path(&theirs)]));
    let spec = WorkloadSpec { under: under.iter().map(|&word| word.to_owned()).collect(), ..spec(&own, ATTACKER) };
    let mut attacker = Workload::start(&agent.workload_socket(), &spec);
    assert_eq!(attacker.ask("raw-open").await.code(), "Ok");
    let pid = until("the process that runs the attacker's program", || running(attacker.pid(), &own)).await;
    agent.pause().await;
    assert_eq!(attacker.ask("raw-send billing").await.code(), "Ok");
    let exec = format!("exec-leaving {manners} {} {} 600", own.display(), theirs.display());
    assert_eq!(attacker.ask(&exec).await.code(), "Adopted");
    // Its name is there before the exec is through: what is seen then is neither program.
    until("the victim's program to run", || running(pid, &theirs).filter(|pid| is_asleep(*pid))).await;
    agent.signal(Signal::SIGCONT);
    let got = attacker.ask("raw-end").await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGKILL)
        .expect("it sleeps");
    (pid, got)
}

/// Whether the process waits in the kernel, as its program does (proc(5), `stat`).
fn is_asleep(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.starts_with(" S"))
}

/// `pid` or the child of it that runs `program`.
fn running(pid: u32, program: &Path) -> Option<u32> {
    let runs = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    [pid].into_iter().chain(children).find(|pid| runs(*pid))
}

#[tokio::test]
async fn p2_exec_over_the_connection_is_refused() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = agent(&[]).await;
    let (pid, got) = p2_attack(&agent, &[], "honest").await;
    got_nothing(&got);
    let said = reason(&agent, pid, "refused").await;
    assert!(said.ends_with("speaks on the connection of another process, which is refused from then on"), "{said}");
    nothing_issued_to(&agent, "victim");
}

#[tokio::test]
async fn p2_who_does_not_answer_for_the_program_is_refused() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = agent(&[]).await;
    let (pid, got) = p2_attack(&agent, &[], "mute").await;
    assert_eq!((got.code(), &got.0["messages"]), ("PermissionDenied", &0.into()));
    let said = reason(&agent, pid, "refused").await;
    assert!(said.starts_with("the process did not prove within"), "{said}");
    nothing_issued_to(&agent, "victim");
}

#[tokio::test]
async fn p2_works_without_the_countersign() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = agent(&["countersign"]).await;
    let (_, got) = p2_attack(&agent, &[], "mute").await;
    assert_eq!(got.0["messages"], 1, "{got:?}");
}

/// Only together do they stop it: the answer is given, by somebody else.
#[tokio::test]
async fn p2_works_without_the_sender_of_the_answer() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = agent(&["sender"]).await;
    let (_, got) = p2_attack(&agent, &[], "honest").await;
    assert_eq!(got.0["messages"], 1, "{got:?}");
}

/// A user may be root in namespaces of its own, and there put any pid under its messages.
const OWN_NAMESPACES: [&str; 5] = ["unshare", "--user", "--map-root-user", "--pid", "--fork"];

#[tokio::test]
async fn p2_who_can_forge_the_sender_of_the_answer_is_refused() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = agent(&[]).await;
    let (pid, got) = p2_attack(&agent, &OWN_NAMESPACES, "posing").await;
    got_nothing(&got);
    let said = reason(&agent, pid, "refused").await;
    assert!(said.contains("user_namespace"), "{said}");
    nothing_issued_to(&agent, "victim");
}

#[tokio::test]
async fn p2_works_for_who_can_forge_the_sender() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = agent(&["forged-sender"]).await;
    let (_, got) = p2_attack(&agent, &OWN_NAMESPACES, "posing").await;
    assert_eq!(got.0["messages"], 1, "{got:?}");
}

/// The victim connects and lets the attacker, who runs as another user, speak.
async fn p4_attack(agent: &Agent) -> (u32, Answer) {
    let program = program(agent, "program");
    agent.apply(&entry("victim", &[uid(VICTIM)]));
    let meeting = agent.folder().join("meeting");
    std::fs::create_dir(&meeting).expect("our folder");
    std::fs::set_permissions(&meeting, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("our folder");
    let meeting = meeting.join("point");
    let mut victim = Workload::start(&agent.workload_socket(), &spec(&program, VICTIM));
    let mut attacker = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
    assert_eq!(attacker.ask(&format!("raw-take {}", meeting.display())).await.code(), "Listening");
    assert_eq!(victim.ask("raw-open").await.code(), "Ok");
    assert_eq!(victim.ask(&format!("raw-give {}", meeting.display())).await.code(), "Ok");
    assert_eq!(attacker.hear().await.code(), "Taken");
    (victim.pid(), attacker.ask("raw-fetch billing").await)
}

#[tokio::test]
async fn p4_a_passed_descriptor_is_nobody_elses_to_speak_on() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = agent(&[]).await;
    let (pid, got) = p4_attack(&agent).await;
    got_nothing(&got);
    let said = reason(&agent, pid, "refused").await;
    assert!(said.contains("speaks on the connection of another process"), "{said}");
    nothing_issued_to(&agent, "victim");
}

#[tokio::test]
async fn p4_works_without_the_sender() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = agent(&["sender"]).await;
    let (_, got) = p4_attack(&agent).await;
    assert_eq!(got.0["messages"], 1, "{got:?}");
}

/// The victim connects, and a child of it speaks on the inherited descriptor.
async fn p5_attack(agent: &Agent) -> (u32, Answer) {
    let (own, childs) = (program(agent, "own"), program(agent, "childs"));
    agent.apply(&entry("victim", &[path(&own)]));
    let mut victim = Workload::start(&agent.workload_socket(), &spec(&own, VICTIM));
    let pid = victim.pid();
    assert_eq!(victim.ask("raw-open").await.code(), "Ok");
    assert_eq!(victim.ask(&format!("fork {}", childs.display())).await.code(), "Adopted");
    (pid, victim.ask("raw-fetch billing").await)
}

#[tokio::test]
async fn p5_a_child_does_not_speak_for_its_parent() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = agent(&[]).await;
    let (pid, got) = p5_attack(&agent).await;
    got_nothing(&got);
    let said = reason(&agent, pid, "refused").await;
    assert!(said.contains("speaks on the connection of another process"), "{said}");
    nothing_issued_to(&agent, "victim");
}

#[tokio::test]
async fn p5_works_without_the_sender() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = agent(&["sender"]).await;
    let (_, got) = p5_attack(&agent).await;
    assert_eq!(got.0["messages"], 1, "{got:?}");
}
