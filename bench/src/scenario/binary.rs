//! The size of the program as it is installed.

use async_trait::async_trait;

use super::{About, Scenario};
use crate::BenchError;
use crate::reading::{Aim, Reading};
use crate::setting::Setting;

pub(super) const ABOUT: About = About {
    question: "size of the program that this run measured",
    floor: "none",
    aim: "under 12 MB (release build, stripped)",
};

/// The scenario.
pub(super) struct Binary;

#[async_trait(?Send)]
impl Scenario for Binary {
    async fn round(&mut self, _: &Setting, _: u32) -> Result<Vec<Reading>, BenchError> {
        let program = std::fs::metadata(countersign_tests::countersign());
        let bytes = program.map_err(BenchError::system("look at the program"))?.len();
        Ok(vec![Reading::alone("countersign", "MB", bytes as f64 / 1e6).aiming(Aim::AtMost(12.0))])
    }
}
