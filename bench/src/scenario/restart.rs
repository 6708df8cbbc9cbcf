//! From the start of the agent on a store that it has to the first token.

use std::process::{Command, Stdio};
use std::time::Instant;

use async_trait::async_trait;
use countersign_tests::{Agent, AgentSettings, countersign};

use super::{About, Scenario};
use crate::BenchError;
use crate::call::{Call, Client};
use crate::reading::{Aim, Reading};
use crate::setting::{AUDIENCE, Setting, entry};
use crate::spread::middle;

pub(super) const ABOUT: About = About {
    question: "an agent that was killed, with 10 000 entries in its store: from the start of its process to the first token",
    floor: "the same program told to say its version: from the start of its process to its end",
    aim: "under 250 ms",
};

const ENTRIES: u32 = 10_000;
/// In each round; the middle of them counts.
const STARTS: usize = 3;

/// The scenario.
pub(super) struct Restart {
    agent: Agent,
}

impl Restart {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        let agent = Agent::start(AgentSettings::default()).await;
        // Nobody else is one of these users.
        let others = (1..ENTRIES).map(|number| {
            entry(&format!("other-{number}"), &[format!("unix:uid:{}", 1_000_000 + number)], &[AUDIENCE])
        });
        agent.apply(&(setting.entry(&[AUDIENCE])? + &others.collect::<Result<Vec<_>, _>>()?.concat()));
        Ok(Self { agent })
    }

    async fn first_token_ms(&mut self) -> Result<f64, BenchError> {
        self.agent.kill();
        let begin = Instant::now();
        self.agent.restart().await;
        let mut client = Client::connect(&self.agent.workload_socket(), Call::Fetch, AUDIENCE).await?;
        client.call().await?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    }
}

/// How long the program takes to start and end.
fn version_ms() -> Result<f64, BenchError> {
    let program = countersign();
    let begin = Instant::now();
    let ended = Command::new(program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status();
    let ended = ended.map_err(BenchError::system("start the program"))?;
    if !ended.success() {
        return Err(BenchError::Process { name: "countersign --version", said: ended.to_string() });
    }
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

#[async_trait(?Send)]
impl Scenario for Restart {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..setting.plan.pick(STARTS, 1) {
            // Another agent was not asked: who begins is one of two.
            for turn in 0..2 {
                if (round + turn).is_multiple_of(2) {
                    ours.push(self.first_token_ms().await?);
                } else {
                    floor.push(version_ms()?);
                }
            }
        }
        let (ours, floor) = (middle(ours)?, middle(floor)?);
        Ok(vec![
            Reading::beside("restart to first token, 10 000 entries", "ms", ours, floor).aiming(Aim::AtMost(250.0)),
        ])
    }
}
