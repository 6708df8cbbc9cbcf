//! D6: what happens to a machine: a kill, a disk that is full or fails. `clock` has the rest.

use countersign_tests::{Agent, AgentSettings, Answer, Disk, Workload, WorkloadSpec, own_mounts, root_or_skip};

use super::{agent_without, entry, issued, orders, uid};

fn holds(agent: &Agent, id: &str) -> bool {
    let listed = agent.operator(&["entry", "list"], "");
    String::from_utf8_lossy(&listed.stdout).contains(id)
}

/// Kills the agent when it has confirmed a change; whether the change is there afterwards.
async fn kill_after_the_answer(agent: &mut Agent) -> bool {
    agent.apply(&orders());
    agent.restart().await;
    holds(agent, "orders")
}

/// At other instants: `d6_a_kill_during_apply_leaves_the_state_before_or_after` of the control path.
#[tokio::test]
async fn d6_what_was_confirmed_survives_a_kill() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    assert!(kill_after_the_answer(&mut agent).await);
}

#[tokio::test]
async fn d6_hurts_without_the_protection_kill() {
    let mut agent = agent_without(&["durable"]).await;
    assert!(!kill_after_the_answer(&mut agent).await, "it was confirmed, and is lost");
}

/// What a disk can come to.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Full,
    ReadOnly,
}

/// What came of requests while a disk was of no use.
struct Served {
    /// Whether a change of entries was confirmed, and what was said of it.
    confirmed: bool,
    said: String,
    /// The last answer to a workload.
    last: Answer,
    /// SVIDs that were given out and of which there is no record.
    unrecorded: usize,
}

/// An agent with everything that it has on a disk of its own, an entry, and a token.
async fn agent_on(disk: &Disk, without: &'static [&'static str]) -> (Agent, Workload, String) {
    let folder_in = Some(disk.place().to_owned());
    let agent = Agent::start(AgentSettings { folder_in, without, ..AgentSettings::default() }).await;
    // The configuration, which was written by us; what comes now is the agent's to bring there.
    disk.sync();
    agent.apply(&orders());
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let token = workload.ask("fetch billing").await.token().to_owned();
    (agent, workload, token)
}

/// So many entries that they do not fit in the room that the database has already.
const MANY: usize = 2000;

/// Asks for a change, and for tokens until one is refused, while the disk takes nothing.
async fn ask_meanwhile(agent: &Agent, workload: &mut Workload) -> Served {
    let before = issued(agent, "orders").len();
    let path = format!("unix:path:/{}", "n".repeat(1000));
    let many: String = (0..MANY).map(|number| entry(&format!("more-{number}"), std::slice::from_ref(&path))).collect();
    let applied = agent.operator(&["entry", "apply", "-"], &(orders() + &many));
    let said = String::from_utf8_lossy(&applied.stderr).into_owned();
    let mut given = 0;
    let last = loop {
        // More than records find room behind the last one.
        let answer = workload.ask("fetch billing").await;
        if answer.code() != "Ok" || given == 40 {
            break answer;
        }
        given += 1;
    };
    Served {
        confirmed: applied.status.success(),
        said,
        last,
        unrecorded: (before + given).saturating_sub(issued(agent, "orders").len()),
    }
}

#[tokio::test]
async fn d6_a_full_disk_refuses_and_needs_no_hand_when_there_is_room() {
    if !root_or_skip("a disk of its own") {
        return;
    }
    own_mounts();
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::make(folder.path());
    let (mut agent, mut workload, token) = agent_on(&disk, &[]).await;
    let filler = disk.fill();
    let served = ask_meanwhile(&agent, &mut workload).await;
    assert_eq!((served.confirmed, served.last.code(), served.unrecorded), (false, "Unavailable", 0));
    assert!(served.said.contains("No space left on device"), "{}", served.said);
    // The same process, as soon as there is room.
    std::fs::remove_file(filler).expect("our file");
    assert_eq!(workload.ask("fetch billing").await.code(), "Ok");
    agent.apply(&(orders() + &entry("stock", &[uid(0)])));
    agent.restart().await;
    is_as_before(&agent, &token).await;
    assert!(holds(&agent, "stock"));
}

/// An agent that could do without a record would still not confirm what the disk did not take.
#[tokio::test]
async fn d6_a_full_disk_confirms_nothing_that_it_did_not_take() {
    if !root_or_skip("a disk of its own") {
        return;
    }
    own_mounts();
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::make(folder.path());
    let (agent, mut workload, _) = agent_on(&disk, &["recorded"]).await;
    disk.fill();
    let served = ask_meanwhile(&agent, &mut workload).await;
    assert!(!served.confirmed && served.said.contains("see that the disk has room"), "{}", served.said);
}

#[tokio::test]
async fn d6_a_disk_that_fails_refuses_and_loses_nothing() {
    if !root_or_skip("a disk of its own") {
        return;
    }
    own_mounts();
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::make(folder.path());
    let (mut agent, mut workload, token) = agent_on(&disk, &[]).await;
    disk.fail();
    let served = ask_meanwhile(&agent, &mut workload).await;
    assert_eq!((served.confirmed, served.last.code(), served.unrecorded), (false, "Unavailable", 0));
    assert!(served.said.contains("nothing was changed: cannot write the audit record"), "{}", served.said);
    agent.kill();
    disk.mend();
    agent.restart().await;
    is_as_before(&agent, &token).await;
}

/// What was there before the fault is there after it, and serves.
async fn is_as_before(agent: &Agent, token: &str) {
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(workload.ask("fetch billing").await.code(), "Ok");
    assert_eq!(workload.ask(&format!("validate billing {token}")).await.code(), "Ok", "the keys are the same");
}

#[tokio::test]
async fn d6_hurts_without_the_protections_disk() {
    if !root_or_skip("a disk of its own") {
        return;
    }
    own_mounts();
    for fault in [Fault::Full, Fault::ReadOnly] {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::make(folder.path());
        let (agent, mut workload, _) = agent_on(&disk, &["durable", "recorded"]).await;
        match fault {
            Fault::Full => drop(disk.fill()),
            Fault::ReadOnly => disk.fail(),
        }
        let served = ask_meanwhile(&agent, &mut workload).await;
        assert!(served.confirmed, "of what the disk did not take: {}", served.said);
        assert_eq!(served.last.code(), "Ok");
        assert!(served.unrecorded > 0, "nobody will know of these SVIDs");
    }
}
