//! The first message of an X.509 stream, which has a new key and a new certificate.

use async_trait::async_trait;

use super::{About, Scenario};
use crate::BenchError;
use crate::bare;
use crate::call::Call;
use crate::first;
use crate::reading::{Aim, Found, Reading, Subject};
use crate::setting::{AUDIENCE, Setting};
use crate::stage::Stage;

pub(super) const ABOUT: About = About {
    question: "a new process, from its connection to the first message of FetchX509SVID",
    floor: "a new process and its empty call to a bare server, plus one P-256 key generation and one signature",
    aim: "at most 1.5 times the floor's time",
};

const PROCESSES: usize = 60;
const KEYS: usize = 1000;

/// The scenario.
pub(super) struct X509 {
    stage: Stage,
}

impl X509 {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        Ok(Self { stage: Stage::usual(setting, &[AUDIENCE]).await? })
    }
}

#[async_trait(?Send)]
impl Scenario for X509 {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let work_us = bare::new_key_and_signature_us(setting.plan.pick(KEYS, KEYS / 10))?;
        let processes = setting.plan.pick(PROCESSES, 5);
        let found = Found::in_turn(&setting.turns(round), |subject| {
            let call = if subject == Subject::Floor { Call::Empty } else { Call::X509 };
            first::median_us(processes, &self.stage.target(subject)?, call)
        })?;
        let found = found.map_floor(|empty_us| empty_us + work_us);
        Ok(vec![
            found.reading("time, middle of the processes", "us", |us| *us).aiming(Aim::RatioAtMost(1.5)),
            Reading::alone("of the floor: one key and one signature", "us", work_us),
        ])
    }
}
