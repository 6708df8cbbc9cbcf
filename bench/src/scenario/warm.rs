//! A token that was issued before, on a connection that was opened before.

use async_trait::async_trait;

use super::{About, Scenario};
use crate::BenchError;
use crate::call::Call;
use crate::load::{self, Work};
use crate::reading::{Aim, Found, Reading, Subject};
use crate::setting::{AUDIENCE, Setting};
use crate::stage::Stage;

pub(super) const ABOUT: About = About {
    question: "FetchJWTSVID, token and connection warm, the caller checked on every request; 1, 8 and 64 clients",
    floor: "an empty unary call to a bare server of the same stack",
    aim: "at least 0.80 of the floor's throughput (closed loop); p99 at most 1.5 times the floor's (open loop)",
};

const CLIENTS: [u32; 3] = [1, 8, 64];
/// The rate of the open loop, in parts of what this agent reached in the closed one. The same
/// for all.
const OPEN: f64 = 0.5;

/// The scenario.
pub(super) struct Warm {
    stage: Stage,
}

impl Warm {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        Ok(Self { stage: Stage::usual(setting, &[AUDIENCE]).await? })
    }

    fn clients(&self, setting: &Setting, round: u32, clients: u32) -> Result<Vec<Reading>, BenchError> {
        let turns = setting.turns(round);
        let load = |subject: Subject, rate: Option<f64>| {
            let call = if subject == Subject::Floor { Call::Empty } else { Call::Fetch };
            let work = Work { rate, ..Work::closed(call, clients) };
            load::measure(&self.stage.target(subject)?, work, &setting.plan)
        };
        let closed = Found::in_turn(&turns, |subject| load(subject, None))?;
        let rate = closed.ours.rate * OPEN;
        let open = Found::in_turn(&turns, |subject| load(subject, Some(rate)))?;
        let of = |what: &str| format!("{what}, {clients} client{}", if clients == 1 { "" } else { "s" });
        Ok(vec![
            closed.reading(of("throughput"), "calls/s", |found| found.rate).aiming(Aim::RatioAtLeast(0.80)),
            open.reading(of("p50 at half of that rate"), "us", |found| found.p50_us),
            open.reading(of("p99 at half of that rate"), "us", |found| found.p99_us).aiming(Aim::RatioAtMost(1.5)),
            open.reading(of("p99.9 at half of that rate"), "us", |found| found.p999_us),
            Reading::beside(
                of("processor time of the server"),
                "us/call",
                closed.ours.server_cpu_us.unwrap_or_default(),
                closed.floor.server_cpu_us.unwrap_or_default(),
            ),
        ])
    }

    /// The agent's own empty call, beside the floor's: what of the difference is the way to the
    /// service, and not the service.
    fn health(&self, setting: &Setting, round: u32) -> Result<Reading, BenchError> {
        let turns: Vec<Subject> =
            setting.turns(round).into_iter().filter(|subject| *subject != Subject::Theirs).collect();
        let found = Found::in_turn(&turns, |subject| {
            let call = if subject == Subject::Floor { Call::Empty } else { Call::Health };
            load::measure(&self.stage.target(subject)?, Work::closed(call, 8), &setting.plan)
        })?;
        Ok(found.reading("Health/Check of the agent, 8 clients", "calls/s", |found| found.rate))
    }
}

#[async_trait(?Send)]
impl Scenario for Warm {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let mut readings = Vec::new();
        for clients in CLIENTS {
            readings.extend(self.clients(setting, round, clients)?);
        }
        readings.push(self.health(setting, round)?);
        Ok(readings)
    }
}
