//! D6: a clock that is set back and forth, and a machine that sleeps: nothing expired is served, and
//! recovery needs no hand. The agent's clock alone is shifted: workloads and tests know the time.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use countersign_common::clock::Timestamp;
use countersign_tests::{Agent, AgentSettings, Answer, FakeClock, GivenX509, LIMIT, Workload, WorkloadSpec};
use nix::sys::signal::Signal;

use super::{orders, prepare_a_key};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// How many seconds the clock is ahead, one after the other.
const SHIFTS: [i64; 6] = [0, HOUR, -2 * HOUR, 40 * DAY, -365 * DAY, 0];

/// Renewed after some five seconds: as often as that a stream looks at the clock.
const SHORT_LIVED: &str = "default_ttl = \"10s\"\nmax_ttl = \"10s\"";

/// An agent that goes by `clock`, with an entry that ends with the century.
async fn agent_by(clock: &FakeClock, settings: AgentSettings) -> Agent {
    let agent = Agent::start(AgentSettings { under: clock.under(), ..settings }).await;
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
    for shift in SHIFTS {
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
    let agent = agent_by(&clock, AgentSettings::default()).await;
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
    let agent = agent_by(&clock, AgentSettings { without: &["fresh"], ..AgentSettings::default() }).await;
    assert_eq!(set_the_clock(&agent, &clock).await, [HOUR, -2 * HOUR, 40 * DAY, -365 * DAY]);
}

/// Stops the agent, lets a month pass, and lets it go on: no timer of it has run meanwhile. The
/// answer to who asked when it slept.
async fn sleep_for_a_month(folder: &Path, without: &'static [&'static str]) -> (Answer, Agent, Workload) {
    let clock = FakeClock::make(folder);
    let agent = agent_by(&clock, AgentSettings { without, ..AgentSettings::default() }).await;
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

/// The machine's time by that clock.
fn at(shift: i64) -> Timestamp {
    Timestamp::from_seconds(now(shift).try_into().expect("after 1970"))
}

/// Whether an X509-SVID was made by a clock, in its last minute.
fn is_of(svid: &GivenX509, shift: i64) -> bool {
    let (from, now) = (svid.life().0, at(shift));
    from <= now && from.until(now) < LIMIT
}

/// Waits until the stream has told of an X509-SVID that is good by the clock, which showed another
/// time before: what was made by that may still be on its way.
async fn hear_a_good_one(watching: &mut Workload, shift: i64, before: i64) {
    loop {
        let message = watching.hear().await;
        assert_eq!(message.code(), "Ok", "at {shift}: {message:?}");
        let svid = message.x509();
        if is_of(&svid, shift) {
            // If this test is slow, it was good when it came.
            assert_eq!(svid.check(at(shift).min(svid.life().1)), Ok(()), "at {shift}: {:?}", svid.life());
            return;
        }
        assert!(is_of(&svid, before), "at {shift}: {:?}", svid.life());
    }
}

#[tokio::test]
async fn d6_a_stream_of_x509_svids_recovers_by_itself_when_the_clock_is_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = FakeClock::make(folder.path());
    let agent = agent_by(&clock, AgentSettings { x509: SHORT_LIVED, ..AgentSettings::default() }).await;
    let mut watching = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    watching.say("watch-x509").await;
    let mut before = 0;
    for shift in SHIFTS {
        clock.shift(shift);
        hear_a_good_one(&mut watching, shift, before).await;
        before = shift;
    }
}

#[tokio::test]
async fn d6_a_new_stream_of_x509_svids_begins_with_one_that_is_valid_whatever_the_clock_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = FakeClock::make(folder.path());
    let agent = agent_by(&clock, AgentSettings::default()).await;
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    for shift in SHIFTS {
        clock.shift(shift);
        let first = workload.ask("fetch-x509").await;
        assert_eq!(first.code(), "Ok", "at {shift}: {first:?}");
        assert_eq!(first.x509().check(at(shift)), Ok(()), "at {shift}: {:?}", first.x509().life());
    }
}

#[tokio::test]
async fn d6_streams_of_x509_svids_recover_by_themselves_when_the_machine_slept() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = FakeClock::make(folder.path());
    let agent = agent_by(&clock, AgentSettings { x509: SHORT_LIVED, ..AgentSettings::default() }).await;
    let mut watching = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(watching.ask("watch-x509").await.x509().check(at(0)), Ok(()));
    agent.pause().await;
    let mut new = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    new.say("fetch-x509").await;
    clock.shift(30 * DAY);
    agent.signal(Signal::SIGCONT);
    let first = new.hear().await.x509();
    assert_eq!(first.check(at(30 * DAY)), Ok(()), "who asked when it slept: {:?}", first.life());
    hear_a_good_one(&mut watching, 30 * DAY, 0).await;
}
