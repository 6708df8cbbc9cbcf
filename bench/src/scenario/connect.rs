//! The first request of a new connection, with the full proof of the caller.

use async_trait::async_trait;

use super::{About, Scenario};
use crate::BenchError;
use crate::call::Call;
use crate::load::{self, Work};
use crate::reading::{Aim, Found, Reading, Subject};
use crate::setting::{AUDIENCE, Setting};
use crate::stage::Stage;

pub(super) const ABOUT: About = About {
    question: "a new connection and its first FetchJWTSVID, with the full proof of the caller; 1 client",
    floor: "a new connection to a bare server and two empty calls",
    aim: "at most 1.5 times the floor's time",
};

/// The scenario.
pub(super) struct Connect {
    stage: Stage,
}

impl Connect {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        Ok(Self { stage: Stage::usual(setting, &[AUDIENCE]).await? })
    }
}

#[async_trait(?Send)]
impl Scenario for Connect {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let found = Found::in_turn(&setting.turns(round), |subject| {
            let call = if subject == Subject::Floor { Call::EmptyTwice } else { Call::Fetch };
            load::measure(&self.stage.target(subject)?, Work::connecting(call), &setting.plan)
        })?;
        Ok(vec![
            found.reading("time, p50", "us", |found| found.p50_us).aiming(Aim::RatioAtMost(1.5)),
            found.reading("time, p99", "us", |found| found.p99_us),
            Reading::beside(
                "processor time of the server",
                "us/connection",
                found.ours.server_cpu_us.unwrap_or_default(),
                found.floor.server_cpu_us.unwrap_or_default(),
            ),
        ])
    }
}
