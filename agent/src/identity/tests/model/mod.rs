//! The agent's state against a model: random operators, clocks, restarts, faults and processes over the real
//! store, authority, registry, cache and streams, with everything that has to hold looked at after each step.
//!
//! A fault comes with its seed and its story. `MODEL_SEED=SEED:ROUND` plays that round again, `MODEL_SEED=SEED`
//! all of them; `MODEL_ROUNDS` says how many there are. The steps are the same then; keys, serial numbers and
//! so the moments of renewal are chance's own.

mod document;
mod entry;
mod expectation;
mod play;
mod rings;
mod step;
mod stream;
mod world;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use play::Play;
use step::Dice;

/// How many rounds there are, if nobody says otherwise.
const ROUNDS: u64 = 16;

/// How many steps a round has.
const STEPS: usize = 80;

/// The seed of the environment or a new one, and the one round if one is asked for.
fn seed() -> (u64, Option<u64>) {
    let given = std::env::var("MODEL_SEED").ok();
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("MODEL_SEED is SEED or SEED:ROUND"));
    match given.as_deref().map(|given| given.split_once(':').unwrap_or((given, ""))) {
        Some((seed, "")) => (number(seed), None),
        Some((seed, round)) => (number(seed), Some(number(round))),
        None => (RandomState::new().hash_one("seed"), None),
    }
}

/// Plays one round. A fault comes with the steps that led to it.
async fn play(seed: u64, round: u64) -> BTreeMap<&'static str, usize> {
    let mut dice = Dice::of_round(seed, round);
    let mut play = Play::begin().await.unwrap_or_else(|fault| panic!("at the start: {fault}"));
    let mut steps = vec![dice.first()];
    while steps.len() < STEPS {
        steps.extend(dice.steps());
    }
    for (number, step) in steps.iter().enumerate() {
        if let Err(fault) = play.take(step).await {
            let story = steps[..=number].iter().map(|step| format!("{step:?}\n")).collect::<String>();
            panic!("MODEL_SEED={seed}:{round}\n{story}{fault}");
        }
    }
    play.tally()
}

#[test]
fn whatever_happens_the_agent_is_as_the_model_says() {
    let (seed, only) = seed();
    let rounds = std::env::var("MODEL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    println!("MODEL_SEED={seed}");
    let mut tally = BTreeMap::new();
    for round in only.map_or(0..rounds, |round| round..round + 1) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        for (what, count) in runtime.unwrap().block_on(play(seed, round)) {
            *tally.entry(what).or_insert(0) += count;
        }
    }
    println!("{tally:?}");
    let came_about = ["hands", "messages", "streams ended", "tokens", "tokens again", "tokens that stood in"];
    let is_whole = only.is_none() && ROUNDS <= rounds;
    assert!(!is_whole || came_about.iter().all(|what| tally.contains_key(what)), "chance was not at work: {tally:?}");
}
