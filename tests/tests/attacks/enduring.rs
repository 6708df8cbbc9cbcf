//! D6: what happens to a machine: a kill, a disk that is full or fails, a clock that is set, sleep.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use countersign_tests::{
    Agent, AgentSettings, Answer, Disk, FakeClock, Workload, WorkloadSpec, own_mounts, root_or_skip,
};
use nix::sys::signal::Signal;

use super::{agent_without, entry, issued, own_uid, prepare_a_key, uid};

/// An entry of whoever runs the tests.
fn orders() -> String {
    entry("orders", &[uid(own_uid())])
}

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

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// An agent that goes by `clock`, with an entry that ends with the century.
async fn agent_by(clock: &FakeClock, without: &'static [&'static str]) -> Agent {
    let agent = Agent::start(AgentSettings { under: clock.under(), without, ..AgentSettings::default() }).await;
    agent.apply(&(orders() + "expires: 2100-01-01\n"));
    agent
}

/// What time it is by a clock that is so many seconds ahead.
#[allow(clippy::disallowed_methods, reason = "the machine's clock is what is shifted")]
fn now(shift: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("seconds") + shift
}

/// Whether the token of an answer is good at the time of the clock, for verifiers that go by it.
fn is_good(answer: &Answer, shift: i64) -> bool {
    let claim = |name| answer.claim(name).as_i64().expect("a time");
    claim("nbf") <= now(shift) && now(shift) < claim("exp")
}

/// Sets the clock back and forth; where the agent served a token that was not good.
async fn set_the_clock(agent: &Agent, clock: &FakeClock) -> Vec<i64> {
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let mut bad = vec![];
    for shift in [0, HOUR, -2 * HOUR, 40 * DAY, -365 * DAY, 0] {
        clock.shift(shift);
        let answer = workload.ask("fetch billing").await;
        assert_eq!(answer.code(), "Ok", "at {shift}: {answer:?}");
        bad.extend((!is_good(&answer, shift)).then_some(shift));
    }
    bad
}

#[tokio::test]
async fn d6_a_clock_that_is_set_back_and_forth_serves_nothing_expired() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = FakeClock::make(folder.path());
    let agent = agent_by(&clock, &[]).await;
    assert_eq!(set_the_clock(&agent, &clock).await, Vec::<i64>::new());
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    clock.shift(90 * 365 * DAY);
    assert_eq!(workload.ask("fetch billing").await.code(), "PermissionDenied", "the entry has expired");
    clock.shift(0);
    let answer = workload.ask("fetch billing").await;
    assert!(is_good(&answer, 0), "{answer:?}");
    assert_eq!(workload.ask(&format!("validate billing {}", answer.token())).await.code(), "Ok");
}

#[tokio::test]
async fn d6_hurts_without_the_protection_clock() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = FakeClock::make(folder.path());
    let agent = agent_by(&clock, &["fresh"]).await;
    assert_eq!(set_the_clock(&agent, &clock).await, [HOUR, -2 * HOUR, 40 * DAY, -365 * DAY]);
}

/// Stops the agent, lets a month pass, and lets it go on: no timer of it has run meanwhile. The
/// answer to who asked when it slept.
async fn sleep_for_a_month(folder: &Path, without: &'static [&'static str]) -> (Answer, Agent, Workload) {
    let clock = FakeClock::make(folder);
    let agent = agent_by(&clock, without).await;
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(workload.ask("fetch billing").await.code(), "Ok");
    let mut watching = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(watching.ask("watch").await.code(), "Ok");
    agent.pause().await;
    workload.say("fetch billing").await;
    clock.shift(30 * DAY);
    agent.signal(Signal::SIGCONT);
    (workload.hear().await, agent, watching)
}

#[tokio::test]
async fn d6_a_machine_that_slept_serves_nothing_expired() {
    let folder = tempfile::tempdir().expect("a folder");
    let (answer, agent, mut watching) = sleep_for_a_month(folder.path(), &[]).await;
    assert!(is_good(&answer, 30 * DAY), "{answer:?}");
    // Its keys went out of their time meanwhile; who watches is told of the new one.
    assert_eq!(watching.hear().await.code(), "Ok");
    prepare_a_key(&agent);
    assert_eq!(watching.hear().await.code(), "Ok", "the stream goes on");
}

#[tokio::test]
async fn d6_hurts_without_the_protection_sleep() {
    let folder = tempfile::tempdir().expect("a folder");
    let (answer, ..) = sleep_for_a_month(folder.path(), &["fresh"]).await;
    assert!(!is_good(&answer, 30 * DAY), "{answer:?}");
}
