//! A token that somebody else showed.

use async_trait::async_trait;

use super::{About, Scenario};
use crate::BenchError;
use crate::bare;
use crate::call::Call;
use crate::load::{self, Work};
use crate::reading::{Aim, Found, Reading, Subject};
use crate::setting::{AUDIENCE, Setting};
use crate::stage::Stage;

pub(super) const ABOUT: About = About {
    question: "ValidateJWTSVID of a token of the same trust domain; 1 client, connection warm",
    floor: "an empty call to a bare server plus one bare ES256 verification",
    aim: "at least 0.80 of the floor's throughput",
};

const VERIFICATIONS: usize = 1000;

/// The scenario.
pub(super) struct Validate {
    stage: Stage,
}

impl Validate {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        Ok(Self { stage: Stage::usual(setting, &[AUDIENCE]).await? })
    }
}

#[async_trait(?Send)]
impl Scenario for Validate {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let verification_us = bare::verification_us(setting.plan.pick(VERIFICATIONS, VERIFICATIONS / 10))?;
        let found = Found::in_turn(&setting.turns(round), |subject| {
            let call = if subject == Subject::Floor { Call::Empty } else { Call::Validate };
            load::measure(&self.stage.target(subject)?, Work::closed(call, 1), &setting.plan)
        })?;
        Ok(super::with_bare_work(&found, verification_us, Aim::RatioAtLeast(0.80), "one ES256 verification"))
    }
}
