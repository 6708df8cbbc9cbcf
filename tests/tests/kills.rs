//! The agent is killed at random instants while operators and workloads ask: nothing that was
//! answered is lost, no other key signs, and it is there again.
//!
//! `KILL_ROUNDS` says how many kills (60 without); `KILL_SEED` repeats a run.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign_tests::{Agent, AgentSettings, Workload, WorkloadSpec, allow_own_programs, countersign};
use serde_json::Value;

/// Entries beside that of the workload, so that a commit has some size.
const ENTRIES: usize = 50;

/// What must be found again after a kill.
struct Known {
    /// Every entry says which change wrote it: the last one that was answered.
    change: u64,
    revision: u64,
    /// The keys of the bundle, and its sequence.
    keys: BTreeSet<String>,
    sequence: u64,
    token: String,
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

fn bundle(agent: &Agent) -> (u64, BTreeSet<String>) {
    let bundle = answer(agent, &["bundle", "show", "--format", "spiffe"]);
    let keys = bundle["keys"].as_array().expect("keys").iter().map(ToString::to_string).collect();
    (bundle["spiffe_sequence"].as_u64().expect("a sequence"), keys)
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
    workload: &mut Workload,
    known: &mut Known,
    number: u64,
    instant: Duration,
) -> Duration {
    let file = agent.folder().join("entries.yaml");
    std::fs::write(&file, entries(number)).expect("our folder");
    let applying = ask(agent, &["entry", "apply", &file.display().to_string()]);
    let asked = of_authority(number).map(|arguments| ask(agent, arguments));
    workload.say(&format!("fetch load/{number}")).await;
    let _ = tokio::time::timeout(instant, std::future::pending::<()>()).await;
    agent.kill();
    let (is_applied, keys_may_change) = (is_done(applying), asked.map(is_done).is_some());
    let fetched = workload.hear().await;
    if fetched.code() == "Ok" {
        known.token = fetched.token().to_owned();
    }

    let begin = Instant::now();
    agent.restart().await;
    workload.say("reconnect").await;
    assert_eq!(workload.ask("fetch load/after").await.code(), "Ok", "round {number}");
    let served = begin.elapsed();

    let found = change(agent);
    assert!(found == known.change || found == number, "round {number}: {found}");
    assert!(!is_applied || found == number, "round {number}: what was answered is lost");
    let revision = revision(agent);
    assert!(revision >= known.revision, "round {number}: revision {revision} after {}", known.revision);
    let (sequence, keys) = bundle(agent);
    assert!(keys == known.keys || keys_may_change, "round {number}: other keys");
    assert!(sequence >= known.sequence && (keys == known.keys || sequence > known.sequence), "round {number}");
    let valid = workload.ask(&format!("validate {} {}", audience(&known.token), known.token)).await;
    assert_eq!(valid.code(), "Ok", "round {number}: a token from before: {valid:?}");
    *known = Known { change: found, revision, keys, sequence, token: known.token.clone() };
    served
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
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let token = workload.ask("fetch load/0").await.token().to_owned();
    let (sequence, keys) = bundle(&agent);
    let mut known = Known { change: 0, revision: revision(&agent), keys, sequence, token };
    let mut served = Vec::new();
    for number in 1..=rounds {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Up to 65 ms: some kills come before a change is on the disk, some after its answer.
        let instant = Duration::from_micros(random >> 48);
        served.push(round(&mut agent, &mut workload, &mut known, number, instant).await);
    }
    served.sort_unstable();
    // For people; how long it takes is no test's to judge.
    println!(
        "{rounds} kills; from start to an SVID: median {:?}, longest {:?}",
        served[served.len() / 2],
        served.last()
    );
    println!("the last change that is there: {} of {rounds}, revision {}", known.change, known.revision);
}
