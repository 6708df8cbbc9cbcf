//! One entry among very many: what finding it costs a request, and what each costs in memory.

use std::fmt::Write;
use std::time::Duration;

use async_trait::async_trait;
use countersign_tests::{Agent, AgentSettings};
use tokio::time::sleep;

use super::{About, Scenario};
use crate::BenchError;
use crate::admin::Admin;
use crate::call::Call;
use crate::load::{self, Work};
use crate::process;
use crate::reading::{Aim, Found, Reading, Subject};
use crate::run::say;
use crate::setting::{AUDIENCE, Setting};
use crate::stage::target;

pub(super) const ABOUT: About = About {
    question: "FetchJWTSVID, warm, of a caller whose entry is one of 100 000; and memory of an entry",
    floor: "the same among 10 entries",
    aim: "at most 1.2 times; less than 600 bytes of memory for an entry",
};

const ENTRIES: usize = 100_000;
const QUICK: usize = 2_000;
const FEW: usize = 10;
/// Entries that are applied with one request.
const AT_ONCE: usize = 10_000;
/// Until the memory is given back with which entries were loaded or applied.
const SETTLES: Duration = Duration::from_secs(2);

/// The scenario.
pub(super) struct Matching {
    many: Agent,
    few: Agent,
    entries: usize,
    /// Memory of both after the entries were applied, and of a new process on the same store, in KiB.
    applied: [u64; 2],
    restarted: [u64; 2],
}

impl Matching {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        let entries = setting.plan.pick(ENTRIES, QUICK);
        let mut many = with_entries(setting, entries).await?;
        let mut few = with_entries(setting, FEW).await?;
        let resident = |many: &Agent, few: &Agent| -> Result<[u64; 2], BenchError> {
            Ok([process::resident_kib(many.pid())?, process::resident_kib(few.pid())?])
        };
        sleep(SETTLES).await;
        let applied = resident(&many, &few)?;
        many.restart().await;
        few.restart().await;
        sleep(SETTLES).await;
        let restarted = resident(&many, &few)?;
        Ok(Self { many, few, entries, applied, restarted })
    }

    /// Memory of one entry, in bytes.
    fn each(&self, [many, few]: [u64; 2]) -> f64 {
        1024.0 * many.saturating_sub(few) as f64 / (self.entries - FEW) as f64
    }
}

/// An agent with so many entries; one of them is the load process's.
async fn with_entries(setting: &Setting, count: usize) -> Result<Agent, BenchError> {
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&setting.entry(&[AUDIENCE])?);
    let mut admin = Admin::connect(&agent.admin_socket()).await?;
    let numbers: Vec<usize> = (1..count).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        admin.apply(&others(numbers)).await?;
        if count > AT_ONCE {
            say(&format!("{} entries are applied", numbers.last().unwrap_or(&0) + 1));
        }
    }
    Ok(agent)
}

/// Entries like those of a machine with many services: a user, a program, an audience or two.
fn others(numbers: &[usize]) -> String {
    let mut text = String::new();
    for number in numbers {
        // A String takes everything.
        let _ = write!(
            text,
            "---\nid: service-{number}\nspiffe_id: spiffe://example.org/team-{team}/service-{number}\n\
             selectors: [\"unix:uid:{uid}\", \"unix:path:/usr/lib/service-{number}/run\"]\n\
             jwt: {{audiences: [ledger, billing-{team}]}}\n",
            team = number % 100,
            uid = 100_000 + number,
        );
    }
    text
}

#[async_trait(?Send)]
impl Scenario for Matching {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let turns: Vec<Subject> =
            setting.turns(round).into_iter().filter(|subject| *subject != Subject::Theirs).collect();
        let found = Found::in_turn(&turns, |subject| {
            let agent = if subject == Subject::Floor { &self.few } else { &self.many };
            load::measure(&target(agent), Work::closed(Call::Fetch, 1), &setting.plan)
        })?;
        let of = |what: &str| format!("{what}, {} entries beside {FEW}", self.entries);
        Ok(vec![
            found
                .reading(of("processor time of a request"), "us", |found| found.server_cpu_us.unwrap_or_default())
                .aiming(Aim::RatioAtMost(1.2)),
            found.reading(of("p50 of a request"), "us", |found| found.p50_us).aiming(Aim::RatioAtMost(1.2)),
            Reading::alone("memory of an entry, after a restart", "bytes", self.each(self.restarted))
                .aiming(Aim::AtMost(600.0)),
            Reading::alone("memory of an entry, where it was applied", "bytes", self.each(self.applied)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_entries_are_entries() {
        let domain = "example.org".parse().ok();
        let entries = countersign_common::entry::parse_entries("others", &others(&[1, 2, 3]), domain.as_ref()).unwrap();
        assert_eq!(entries.len(), 3);
        assert!(entries.iter().all(|entry| entry.selectors.len() == 2));
    }
}
