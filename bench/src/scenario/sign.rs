//! A token for an audience that nobody asked for before: a signature each time.

use async_trait::async_trait;

use super::{About, Scenario};
use crate::BenchError;
use crate::bare;
use crate::call::Call;
use crate::load::{self, Target, Work};
use crate::reading::{Aim, Found, Reading, Subject};
use crate::setting::Setting;
use crate::stage::Stage;

pub(super) const ABOUT: About = About {
    question: "FetchJWTSVID for a new audience each time: a signature each; 1 client, connection warm",
    floor: "an empty call to a bare server plus one bare ES256 signature",
    aim: "at least 0.70 of the floor's throughput",
};

/// What new audiences begin with at our agent.
const AUDIENCES: &str = "stock";
const SIGNATURES: usize = 2000;

/// The scenario.
pub(super) struct Sign {
    stage: Stage,
}

impl Sign {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        Ok(Self { stage: Stage::usual(setting, &[&format!("{AUDIENCES}/*")]).await? })
    }

    fn target(&self, subject: Subject) -> Result<Target, BenchError> {
        let target = self.stage.target(subject)?;
        Ok(if subject == Subject::Ours { Target { audience: AUDIENCES.to_owned(), ..target } } else { target })
    }
}

#[async_trait(?Send)]
impl Scenario for Sign {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let signature_us = bare::signature_us(setting.plan.pick(SIGNATURES, SIGNATURES / 10))?;
        let found = Found::in_turn(&setting.turns(round), |subject| {
            let call = if subject == Subject::Floor { Call::Empty } else { Call::Sign };
            load::measure(&self.target(subject)?, Work::closed(call, 1), &setting.plan)
        })?;
        Ok(super::with_bare_work(&found, signature_us, Aim::RatioAtLeast(0.70), "one ES256 signature"))
    }
}
