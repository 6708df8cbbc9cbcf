//! Who is given what, whatever processes do: thousands of short rounds of real processes that
//! connect, send, fork, exec, pass the connection on, exit and read, in an order that chance
//! chose, against a real agent; and a model that says what each answer may be.
//!
//! A run prints its seed, and a fault the round and its story. `COUNTERSIGN_SEED=SEED` plays the
//! same rounds again, `COUNTERSIGN_SEED=SEED:ROUND` that round alone. The steps are the same then;
//! what a machine does between two of them is its own, so a rare fault may take several runs.

mod actor;
mod dice;
mod model;
mod round;
mod wire;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_tests::{Agent, AgentSettings, until};

use actor::Fault;
use dice::Dice;
use round::{Round, Stage, Tally};

/// How many rounds there are.
const ROUNDS: u64 = 10_000;
/// Rounds that are played at once: each mostly waits for the next process.
const PLAYERS: usize = 4;
/// Faults after which nobody needs another.
const ENOUGH: usize = 5;

/// What came of many rounds.
#[derive(Debug, Default)]
struct Outcome {
    tally: Tally,
    faults: Vec<Fault>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.tally.add(other.tally);
        self.faults.extend(other.faults);
    }
}

/// Two programs with an identity each, a third that is the first by another name, and has an
/// identity by that, and one that is entitled to nothing.
fn stage(agent: &Agent) -> Stage {
    let first = actor::compile(&agent.folder().join("first"));
    let place = |name: &str| agent.folder().join(name);
    std::fs::hard_link(&first, place("linked")).expect("our folder");
    for copy in ["second", "nobody"] {
        std::fs::copy(&first, place(copy)).expect("our folder");
    }
    let entitled = ["first", "second", "linked"];
    let entries = entitled.map(|name| {
        format!(
            "---\nid: {name}\nspiffe_id: spiffe://example.org/{name}\nselectors: [\"unix:path:{}\"]\njwt: {{audiences: [billing]}}\n",
            place(name).display()
        )
    });
    agent.apply(&entries.concat());
    let programs = entitled.map(|name| (place(name), Some(format!("spiffe://example.org/{name}"))));
    let programs = programs.into_iter().chain([(place("nobody"), None)]).collect();
    Stage { socket: agent.workload_socket(), programs }
}

/// The seed of the environment or a new one, and the one round if one is asked for.
fn seed() -> (u64, Option<u64>) {
    let given = std::env::var("COUNTERSIGN_SEED").ok();
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("COUNTERSIGN_SEED is SEED or SEED:ROUND"));
    match given.as_deref().map(|given| given.split_once(':').unwrap_or((given, ""))) {
        Some((seed, "")) => (number(seed), None),
        Some((seed, round)) => (number(seed), Some(number(round))),
        None => (RandomState::new().hash_one("seed"), None),
    }
}

/// Plays rounds until they are all played or each player has found faults enough.
fn play(stage: &Stage, seed: u64, rounds: Range<u64>, enough: usize) -> Outcome {
    println!("COUNTERSIGN_SEED={seed}");
    let next = AtomicU64::new(rounds.start);
    let played = std::thread::scope(|scope| {
        let players: Vec<_> =
            (0..PLAYERS).map(|_| scope.spawn(|| player(stage, seed, &next, &rounds, enough))).collect();
        players.into_iter().map(|player| player.join().expect("a player")).collect::<Vec<_>>()
    });
    let mut outcome = Outcome::default();
    played.into_iter().for_each(|played| outcome.add(played));
    println!("{:?}", outcome.tally);
    outcome
}

fn player(stage: &Stage, seed: u64, next: &AtomicU64, rounds: &Range<u64>, enough: usize) -> Outcome {
    let mut outcome = Outcome::default();
    while outcome.faults.len() < enough {
        let round = next.fetch_add(1, Ordering::Relaxed);
        if !rounds.contains(&round) {
            break;
        }
        match Round::play(stage, Dice::of_round(seed, round)) {
            Ok(tally) => outcome.tally.add(tally),
            Err(fault) => outcome.faults.push(format!("COUNTERSIGN_SEED={seed}:{round}: {fault}")),
        }
    }
    outcome
}

fn descriptors(agent: &Agent) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("the agent lives").count()
}

#[tokio::test]
async fn nobody_is_given_anothers_identity_whatever_processes_do() {
    let agent = Agent::start(AgentSettings { log: "warn", ..AgentSettings::default() }).await;
    let stage = stage(&agent);
    let before = descriptors(&agent);
    let (seed, only) = seed();
    let outcome = play(&stage, seed, only.map_or(0..ROUNDS, |round| round..round + 1), ENOUGH);
    assert!(outcome.faults.is_empty(), "{}", outcome.faults.join("\n"));
    until("every descriptor to be closed", || (descriptors(&agent) <= before).then_some(())).await;
    // A tenth of the rounds, at the least, was of each kind: chance was at work.
    let tally = outcome.tally;
    assert!(only.is_some() || tally.owed > 1000 && tally.refused > 1000, "{tally:?}");
}

#[tokio::test]
async fn without_a_protection_of_the_caller_the_model_finds_who_poses() {
    for without in [&["sender"][..], &["countersign"], &["change"], &["sender", "countersign"]] {
        let agent = Agent::start(AgentSettings { log: "warn", without, ..AgentSettings::default() }).await;
        let outcome = play(&stage(&agent), seed().0, 0..ROUNDS, 1);
        let is_found = outcome.faults.iter().any(|fault| fault.contains("an SVID of"));
        assert!(is_found, "without {without:?}: {:?}", outcome.tally);
    }
}
