//! An agent that nobody asks: its memory, and how often it wakes up.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::time::sleep;

use super::{About, Scenario};
use crate::BenchError;
use crate::process;
use crate::reading::{Aim, Reading};
use crate::setting::{AUDIENCE, Setting};
use crate::stage::Stage;

pub(super) const ABOUT: About = About {
    question: "an agent with one entry after its start, which nobody asks: resident memory, and wake-ups of its threads",
    floor: "none; the bare server's for comparison",
    aim: "under 12 MB resident, no wake-ups but timers that are due",
};

/// Until what an agent does at its start is done.
const SETTLES: Duration = Duration::from_secs(2);
/// How long wake-ups are counted.
const COUNTED: Duration = Duration::from_secs(10);

/// The scenario.
pub(super) struct Idle;

#[async_trait(?Send)]
impl Scenario for Idle {
    /// Another agent each time: memory is that after a start.
    async fn round(&mut self, setting: &Setting, _: u32) -> Result<Vec<Reading>, BenchError> {
        let stage = Stage::usual(setting, &[AUDIENCE]).await?;
        let (agent, floor) = (stage.agent.pid(), stage.floor.pid());
        sleep(setting.plan.pick(SETTLES, SETTLES / 10)).await;
        let begin = Instant::now();
        let before = [process::sleeps(agent)?, process::sleeps(floor)?];
        let run_before = process::run_time(agent)?;
        sleep(setting.plan.pick(COUNTED, COUNTED / 10)).await;
        let seconds = begin.elapsed().as_secs_f64();
        let a_second = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        let ran = process::run_time(agent)?.saturating_sub(run_before).as_secs_f64() / seconds;
        let [ours, bare] = [process::resident_kib(agent)?, process::resident_kib(floor)?].map(megabytes);
        let [ours_woken, bare_woken] =
            [a_second(before[0], process::sleeps(agent)?), a_second(before[1], process::sleeps(floor)?)];
        Ok(vec![
            Reading::beside("resident memory", "MB", ours, bare).aiming(Aim::AtMost(12.0)),
            Reading::beside("wake-ups", "1/s", ours_woken, bare_woken),
            Reading::alone("processor time", "% of one", ran * 100.0),
        ])
    }
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}
