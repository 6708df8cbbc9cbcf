//! What the proof of the caller costs: the same fetch from a build without it.

use async_trait::async_trait;
use countersign_tests::{Agent, AgentSettings};

use super::{About, Scenario};
use crate::BenchError;
use crate::call::Call;
use crate::load::{self, Work};
use crate::reading::{Found, Reading, Subject};
use crate::setting::{AUDIENCE, Setting};
use crate::stage::target;

pub(super) const ABOUT: About = About {
    question: "FetchJWTSVID with the proof that the process which was attested is the one that asks, warm and on new \
               connections",
    floor: "the same from a build that lacks that proof (sender of each byte, countersign), which reads its environment \
            at every switch",
    aim: "none",
};

/// The scenario.
pub(super) struct Proof {
    whole: Agent,
    unproven: Agent,
}

impl Proof {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        let without: &[&str] = &["sender", "countersign"];
        let whole = Agent::start(AgentSettings::default()).await;
        let unproven = Agent::start(AgentSettings { without, ..AgentSettings::default() }).await;
        for agent in [&whole, &unproven] {
            agent.apply(&setting.entry(&[AUDIENCE])?);
        }
        Ok(Self { whole, unproven })
    }
}

#[async_trait(?Send)]
impl Scenario for Proof {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let turns = Setting { against: None, ..setting.clone() }.turns(round);
        let works = [
            ("1 client, warm", Work::closed(Call::Fetch, 1)),
            ("8 clients, warm", Work::closed(Call::Fetch, 8)),
            ("1 client, new connections", Work::connecting(Call::Fetch)),
        ];
        let mut readings = Vec::new();
        for (name, work) in works {
            let found = Found::in_turn(&turns, |subject| {
                let agent = if subject == Subject::Floor { &self.unproven } else { &self.whole };
                load::measure(&target(agent), work, &setting.plan)
            })?;
            readings.push(found.reading(format!("throughput, {name}"), "calls/s", |found| found.rate));
            readings.push(found.reading(format!("p50, {name}"), "us", |found| found.p50_us));
        }
        Ok(readings)
    }
}
