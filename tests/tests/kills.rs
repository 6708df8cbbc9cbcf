//! The agent is killed at random instants while operators and workloads ask: nothing that was
//! answered is lost, no other key signs, and it is there again. So for SVIDs of both kinds.
//!
//! `KILL_ROUNDS` says how many kills (60 without); `KILL_SEED` repeats a run.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign_common::bundle::Bundle;
use countersign_common::clock::Timestamp;
use countersign_common::spiffe_id::TrustDomain;
use countersign_tests::{
    Agent, AgentSettings, Answer, GivenX509, Workload, WorkloadSpec, allow_own_programs, countersign,
};
use serde_json::Value;

/// Entries beside that of the workload, so that a commit has some size.
const ENTRIES: usize = 50;

/// What must be found again after a kill.
struct Known {
    /// Every entry says which change wrote it: the last one that was answered.
    change: u64,
    revision: u64,
    /// The keys of the bundle, those of JWT-SVIDs and those of X509-SVIDs, and its sequence.
    keys: BTreeSet<String>,
    sequence: u64,
    token: String,
    x509: GivenX509,
}

/// Two processes of one workload: each asks for one kind of SVID.
struct Workloads {
    jwt: Workload,
    x509: Workload,
}

/// How long after a start each kind of SVID was there.
#[derive(Default)]
struct Served {
    jwt: Vec<Duration>,
    x509: Vec<Duration>,
}

fn entries(change: u64) -> String {
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    let mine = format!(
        "---\nid: mine\nspiffe_id: spiffe://example.org/mine\nselectors: [\"unix:uid:{uid}\"]\n{allow}\
         jwt: {{audiences: [\"load/*\"]}}\nowner: \"{change}\"\n"
    );
    let other = |n| {
        format!(
            "---\nid: e{n}\nspiffe_id: spiffe://example.org/e{n}\nselectors: [\"unix:gid:{n}\"]\nowner: \"{change}\"\n"
        )
    };
    (0..ENTRIES).map(other).fold(mine, |all, one| all + &one)
}

fn answer(agent: &Agent, arguments: &[&str]) -> Value {
    let output = agent.operator(arguments, "");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Which change the entries are of; panics if they are of two.
fn change(agent: &Agent) -> u64 {
    let listed = answer(agent, &["entry", "list", "-o", "json"]);
    let owners: BTreeSet<_> = listed.as_array().expect("a list").iter().map(|e| e["owner"].to_string()).collect();
    assert_eq!((owners.len(), listed.as_array().map(Vec::len)), (1, Some(ENTRIES + 1)), "{owners:?}");
    owners.first().expect("one").trim_matches('"').parse().expect("a number")
}

/// The bundle, and its keys of both kinds as they are published.
fn bundle(agent: &Agent) -> (Bundle, BTreeSet<String>) {
    let shown = answer(agent, &["bundle", "show", "--format", "spiffe"]);
    let keys: BTreeSet<_> = shown["keys"].as_array().expect("keys").iter().map(ToString::to_string).collect();
    let domain = TrustDomain::parse("example.org").expect("a trust domain");
    let bundle = Bundle::parse(domain, &shown.to_string()).expect("a bundle");
    assert_eq!(bundle.jwt_authorities.len() + bundle.x509_authorities.len(), keys.len());
    assert!(!bundle.jwt_authorities.is_empty() && !bundle.x509_authorities.is_empty());
    (bundle, keys)
}

#[allow(clippy::disallowed_methods, reason = "who checks an SVID goes by the machine's clock")]
fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

fn revision(agent: &Agent) -> u64 {
    answer(agent, &["status", "-o", "json"])["revision"].as_u64().expect("a revision")
}

fn ask(agent: &Agent, arguments: &[&str]) -> Child {
    let mut command = Command::new(countersign());
    command.args(arguments).env("COUNTERSIGN_ADMIN_SOCKET", agent.admin_socket());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("countersign runs")
}

fn is_done(mut asked: Child) -> bool {
    asked.wait().expect("our child").success()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// What is asked of the authority in this round, if anything; the keys may change by it.
fn of_authority(round: u64) -> Option<&'static [&'static str]> {
    match round % 6 {
        2 => Some(&["authority", "prepare"]),
        5 => Some(&["authority", "activate"]),
        _ => None,
    }
}

/// One kill: everybody asks, the agent is killed, and found to be what it was or what was asked for.
async fn round(
    agent: &mut Agent,
    workloads: &mut Workloads,
    known: &mut Known,
    number: u64,
    instant: Duration,
    served: &mut Served,
) {
    let file = agent.folder().join("entries.yaml");
    std::fs::write(&file, entries(number)).expect("our folder");
    let applying = ask(agent, &["entry", "apply", &file.display().to_string()]);
    let asked = of_authority(number).map(|arguments| ask(agent, arguments));
    workloads.jwt.say(&format!("fetch load/{number}")).await;
    workloads.x509.say("fetch-x509").await;
    let _ = tokio::time::timeout(instant, std::future::pending::<()>()).await;
    agent.kill();
    let (is_applied, keys_may_change) = (is_done(applying), asked.map(is_done).is_some());
    let (fetched, fetched_x509) = (workloads.jwt.hear().await, workloads.x509.hear().await);
    if fetched.code() == "Ok" {
        known.token = fetched.token().to_owned();
    }
    if fetched_x509.code() == "Ok" {
        known.x509 = fetched_x509.x509();
    }

    let begin = Instant::now();
    agent.restart().await;
    let (jwt, x509) = tokio::join!(
        first(&mut workloads.jwt, "fetch load/after", begin),
        first(&mut workloads.x509, "fetch-x509", begin)
    );
    assert_eq!((jwt.0.code(), x509.0.code()), ("Ok", "Ok"), "round {number}");
    served.jwt.push(jwt.1);
    served.x509.push(x509.1);

    let found = change(agent);
    assert!(found == known.change || found == number, "round {number}: {found}");
    assert!(!is_applied || found == number, "round {number}: what was answered is lost");
    let revision = revision(agent);
    assert!(revision >= known.revision, "round {number}: revision {revision} after {}", known.revision);
    let (bundle, keys) = bundle(agent);
    let sequence = bundle.sequence;
    assert!(keys == known.keys || keys_may_change, "round {number}: other keys");
    assert!(sequence >= known.sequence && (keys == known.keys || sequence > known.sequence), "round {number}");
    let valid = workloads.jwt.ask(&format!("validate {} {}", audience(&known.token), known.token)).await;
    assert_eq!(valid.code(), "Ok", "round {number}: a token from before: {valid:?}");
    let new = x509.0.x509();
    assert_eq!(new.check(now()), Ok(()), "round {number}: by the bundle that came with it");
    for (svid, which) in [(&known.x509, "before"), (&new, "after")] {
        assert_eq!(svid.check_against(&bundle, now()), Ok(()), "round {number}: an X509-SVID from {which}");
    }
    assert!(new.authority() == known.x509.authority() || keys_may_change, "round {number}: another authority");
    *known = Known { change: found, revision, keys, sequence, token: known.token.clone(), x509: new };
}

/// The first answer of an agent that was started anew, and how long after that it came.
async fn first(workload: &mut Workload, command: &str, begin: Instant) -> (Answer, Duration) {
    workload.say("reconnect").await;
    (workload.ask(command).await, begin.elapsed())
}

/// The audience that a token says it is for.
fn audience(token: &str) -> String {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).expect("claims");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["aud"][0].as_str().expect("an audience").to_owned()
}

#[tokio::test]
async fn d6_a_kill_at_any_instant_loses_nothing_that_was_answered() {
    let rounds = setting("KILL_ROUNDS").unwrap_or(60);
    let mut random = setting("KILL_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("KILL_SEED={random}");
    let mut agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&entries(0));
    let start = || Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let mut workloads = Workloads { jwt: start(), x509: start() };
    let token = workloads.jwt.ask("fetch load/0").await.token().to_owned();
    let x509 = workloads.x509.ask("fetch-x509").await.x509();
    let (Bundle { sequence, .. }, keys) = bundle(&agent);
    let mut known = Known { change: 0, revision: revision(&agent), keys, sequence, token, x509 };
    let mut served = Served::default();
    for number in 1..=rounds {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Up to 65 ms: some kills come before a change is on the disk, some after its answer.
        let instant = Duration::from_micros(random >> 48);
        round(&mut agent, &mut workloads, &mut known, number, instant, &mut served).await;
    }
    // For people; how long it takes is no test's to judge.
    for (what, mut times) in [("a JWT-SVID", served.jwt), ("an X509-SVID", served.x509)] {
        times.sort_unstable();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{rounds} kills; from start to {what}: median {median:?}, longest {longest:?}");
    }
    println!("the last change that is there: {} of {rounds}, revision {}", known.change, known.revision);
}
