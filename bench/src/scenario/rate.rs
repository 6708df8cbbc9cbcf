//! A steady rate that is far from what the machine can do: what it costs while it goes on.

use async_trait::async_trait;

use super::{About, Scenario};
use crate::BenchError;
use crate::call::Call;
use crate::load::{self, Work};
use crate::process;
use crate::reading::{Aim, Found, Reading, Subject};
use crate::setting::{AUDIENCE, Plan, Setting};
use crate::stage::Stage;

pub(super) const ABOUT: About = About {
    question: "1000 warm FetchJWTSVID a second, open loop, 10 clients: processor time of the agent",
    floor: "as many empty calls at a bare server: its processor time",
    aim: "at most 1.3 times the floor's",
};

const RATE: f64 = 1000.0;
const CLIENTS: u32 = 10;
/// Longer than other load: a tick of the processor's clock is 10 ms.
const MEASURED_MS: u64 = 5000;

/// The scenario.
pub(super) struct Rate {
    stage: Stage,
}

/// One server at that rate.
struct Cost {
    /// Of one processor.
    percent: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Rate {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        Ok(Self { stage: Stage::usual(setting, &[AUDIENCE]).await? })
    }

    fn cost(&self, subject: Subject, plan: &Plan) -> Result<Cost, BenchError> {
        let call = if subject == Subject::Floor { Call::Empty } else { Call::Fetch };
        let target = self.stage.target(subject)?;
        let measured = load::measure(&target, Work::open(call, CLIENTS, RATE), plan)?;
        let cpu_us = measured.server_cpu_us.ok_or(BenchError::Nothing("processor time"))?;
        Ok(Cost { percent: cpu_us * measured.rate / 1e4, p50_us: measured.p50_us, p99_us: measured.p99_us })
    }
}

#[async_trait(?Send)]
impl Scenario for Rate {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let measured_ms = setting.plan.pick(MEASURED_MS, 1000);
        let plan = Plan { measured_ms, ..setting.plan.clone() };
        let turns = Setting { against: None, ..setting.clone() }.turns(round);
        let found = Found::in_turn(&turns, |subject| self.cost(subject, &plan))?;
        Ok(vec![
            found
                .reading("processor time of the server", "% of one", |cost| cost.percent)
                .aiming(Aim::RatioAtMost(1.3)),
            found.reading("p50", "us", |cost| cost.p50_us),
            found.reading("p99", "us", |cost| cost.p99_us),
            Reading::beside(
                "resident memory of the server at its end",
                "MB",
                process::resident_kib(self.stage.agent.pid())? as f64 * 1024.0 / 1e6,
                process::resident_kib(self.stage.floor.pid())? as f64 * 1024.0 / 1e6,
            ),
        ])
    }
}
