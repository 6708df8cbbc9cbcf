//! P1 before the agent accepts: a pid that is given to another process meanwhile.

use std::os::unix::net::UnixStream;
use std::time::Instant;

use countersign_tests::{Agent, AgentSettings, Answer, LIMIT, Workload, WorkloadSpec, root_or_skip};
use nix::sys::signal::Signal;
use nix::sys::socket::{getsockopt, sockopt};

use super::{VICTIM, entry, got_nothing, nothing_issued_to, path, program, reason, spec};

const NEEDED: &str = "processes of other users, and choosing pids";

/// Starts workloads until one has this pid, which must be free.
async fn given_again(agent: &Agent, pid: u32, spec: &WorkloadSpec) -> Workload {
    let deadline = Instant::now() + LIMIT;
    loop {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("root may choose pids");
        let next = Workload::start(&agent.workload_socket(), spec);
        if next.pid() == pid {
            return next;
        }
        assert!(Instant::now() < deadline, "the pid was never given again");
        next.end().await;
    }
}

/// The attacker, a process of the victim's own user, connects, sends its request and leaves the
/// connection to a reader before the agent accepts it; the victim has the attacker's pid by then.
/// The victim, and what the reader got.
async fn p1_attack_before_accept(agent: &Agent) -> (Workload, Answer) {
    let (own, theirs) = (program(agent, "own"), program(agent, "theirs"));
    agent.apply(&entry("victim", &[path(&theirs)]));
    let mut attacker = Workload::start(&agent.workload_socket(), &spec(&own, VICTIM));
    let pid = attacker.pid();
    agent.pause().await;
    assert_eq!(attacker.ask("raw-send billing").await.code(), "Ok");
    assert_eq!(attacker.ask(&format!("hand-over {}", own.display())).await.code(), "Adopted");
    attacker.ended().await;
    let victim = given_again(agent, pid, &spec(&theirs, VICTIM)).await;
    agent.signal(Signal::SIGCONT);
    (victim, attacker.ask("raw-end").await)
}

/// Whether the kernel holds on to the process that connected (unix(7), SO_PEERPIDFD; Linux 6.5).
fn the_kernel_holds_the_peer() -> bool {
    let (ours, _theirs) = UnixStream::pair().expect("descriptors");
    getsockopt(&ours, sockopt::PeerPidfd).is_ok()
}

#[tokio::test]
async fn p1_a_pid_that_is_given_again_before_accept_is_not_its_next_owners() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let (mut victim, got) = p1_attack_before_accept(&agent).await;
    got_nothing(&got);
    nothing_issued_to(&agent, "victim");
    if !the_kernel_holds_the_peer() {
        // The agent took the victim for the one who connected, and its request for the victim's.
        let said = reason(&agent, victim.pid(), "refused").await;
        assert!(said.contains("speaks on the connection of another process"), "{said}");
    }
    assert_eq!(victim.ask("fetch billing").await.claim("sub"), "spiffe://example.org/victim");
}

/// Two protections: the kernel's own, where it has one, and the proof, wherever it has none.
#[tokio::test]
async fn p1_works_before_accept_without_the_sender_where_the_kernel_holds_no_peer() {
    if !root_or_skip(NEEDED) {
        return;
    }
    let agent = Agent::start(AgentSettings { without: &["sender"], ..AgentSettings::default() }).await;
    let (_victim, got) = p1_attack_before_accept(&agent).await;
    if the_kernel_holds_the_peer() {
        got_nothing(&got);
    } else {
        assert_eq!(got.0["messages"], 1, "{got:?}");
    }
}
