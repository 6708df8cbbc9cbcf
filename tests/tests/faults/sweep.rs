//! Each call of a kind fails once, the first, then the second, until there is none left; then all at once.
//!
//! The errors of a row take turns: the first call meets the first of them, the second the second. With
//! `FAULTS=all` each call meets each of them, which takes several times as long.

use std::collections::BTreeSet;

use crate::bed::Bed;
use crate::injection::Fault;
use crate::table::{During, KILLED, Row, Seen, rows};

/// More calls of one kind than there are.
const MOST: usize = 200;

/// A fault, and what the agent is doing meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) during: During,
    pub(crate) fault: Fault,
}

/// What can be played with any fault.
pub(crate) trait Play {
    /// Where it is played.
    fn bed(&self) -> &Bed;
    /// Plays it once; what came of it, if the fault was met. Panics if anything was lost.
    async fn play(&mut self, case: &Case) -> Option<Seen>;
}

/// Plays every row of `during` and holds what was seen against the table.
pub(crate) async fn sweep(during: During, play: &mut impl Play) {
    let each_with_each = std::env::var_os("FAULTS").is_some_and(|value| value == "all");
    let mut other = Vec::new();
    for row in rows(during) {
        let mut seen = Vec::new();
        if each_with_each {
            for error in row.errors {
                seen.extend(one_by_one(row, &[error], play).await);
            }
        } else {
            seen.extend(one_by_one(row, row.errors, play).await);
        }
        for error in row.errors.iter().filter(|error| may_stay(row.call, error)) {
            seen.extend(meet(row, error, "1+".to_owned(), play).await);
        }
        println!("{during}, {}: {} {:?}: {} times: {seen:?}", row.on, row.call, row.errors, seen.len());
        let seen: BTreeSet<Seen> = seen.into_iter().collect();
        let expected: BTreeSet<Seen> = row.seen.iter().copied().collect();
        // Whether another thread is needed at all depends on which one has nothing to do at that moment.
        let is_needed = row.call != "clone3";
        let is_as_told = match by_chance(row.call) {
            true => seen.is_subset(&expected) && !(is_needed && seen.is_empty()),
            false => seen == expected,
        };
        if !is_as_told {
            other.push(format!("{row:?}: {seen:?}"));
        }
    }
    assert!(other.is_empty(), "not as in the table:\n{}", other.join("\n"));
}

/// Which thread needs memory or another thread first is not the same twice: what is told is what may be seen.
fn by_chance(call: &str) -> bool {
    matches!(call, "mmap" | "brk" | "clone3")
}

async fn one_by_one(row: &Row, errors: &[&'static str], play: &mut impl Play) -> Vec<Seen> {
    let mut all = Vec::new();
    for (number, error) in (1..=MOST).zip(errors.iter().cycle()) {
        match meet(row, error, number.to_string(), play).await {
            Some(seen) => all.push(seen),
            None => return all,
        }
    }
    panic!("more than {MOST} calls: {row:?}");
}

async fn meet(row: &Row, error: &'static str, when: String, play: &mut impl Play) -> Option<Seen> {
    let fault = Fault { call: row.call, error, when, paths: play.bed().paths(row.on) };
    play.play(&Case { during: row.during, fault }).await
}

/// A call that a signal interrupts is made again, and the next one goes through; who is dead makes none;
/// an agent that accepts nobody does not answer, which takes as long as the client waits.
fn may_stay(call: &str, error: &str) -> bool {
    error != "EINTR" && error != KILLED && call != "accept4"
}
