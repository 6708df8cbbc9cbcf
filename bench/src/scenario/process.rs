//! The first token of a new process whose entry demands the hash of its program.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use countersign_tests::AgentSettings;
use tempfile::TempDir;
use tokio::time::sleep;

use super::{About, Scenario};
use crate::BenchError;
use crate::bare;
use crate::call::Call;
use crate::first;
use crate::load::Target;
use crate::reading::{Aim, Found, Reading, Subject};
use crate::setting::{AUDIENCE, Setting, entry};
use crate::spread::middle;
use crate::stage::{self, Stage};

pub(super) const ABOUT: About = About {
    question: "first token of a new process whose entry demands unix:sha256, program of 10 MB and of 100 MB, hash cold and \
               cached",
    floor: "cold: SHA-256 of the same file by the crypto library; cached: the same with a small program",
    aim: "cold at most 1.1 times; cached at most 50 us above a small program",
};

const SIZES_MB: [u64; 2] = [10, 100];
/// Programs that the agent has not seen, of each size in a round: the middle of them counts.
const COLD: usize = 3;
/// New processes of a program that it has seen.
const CACHED: usize = 30;
/// A digest is remembered of files only that were last changed two seconds ago or more.
const SETTLES: Duration = Duration::from_millis(3500);
/// Hashing is not what is bounded here: no pause for it.
const ADMISSION: &str = "hash_bytes = 1099511627776";

/// The scenario.
pub(super) struct Process {
    stage: Stage,
    /// Of the programs.
    folder: TempDir,
    /// In megabytes: those that a copy of this program can have.
    sizes: Vec<u64>,
    /// Copies so far: none has the hash of another.
    copies: u64,
}

/// A program that an entry lets have tokens.
struct Program {
    path: PathBuf,
    hash: String,
}

impl Process {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        let own = std::fs::metadata(first::this_program()?).map_err(BenchError::system("look at this program"))?.len();
        let sizes: Vec<u64> = SIZES_MB.into_iter().filter(|megabytes| own <= megabytes * 1_000_000).collect();
        if sizes.is_empty() {
            return Err(BenchError::NotHere(
                "this program is larger than any that is measured: a debug build".to_owned(),
            ));
        }
        let settings = AgentSettings { admission: ADMISSION, ..AgentSettings::default() };
        let stage = Stage::set(setting, settings, &setting.entry(&[AUDIENCE])?).await?;
        let folder = tempfile::Builder::new().prefix("programs-").tempdir();
        Ok(Self { stage, folder: folder.map_err(BenchError::system("make a folder"))?, sizes, copies: 0 })
    }

    /// A new copy of this program, as large as is said if that is more than it has anyway.
    fn program(&mut self, bytes: u64) -> Result<Program, BenchError> {
        self.copies += 1;
        let path = self.folder.path().join(format!("program-{}", self.copies));
        first::copy(&path, bytes, self.copies)?;
        // Read once, and so in the page cache for whoever hashes it first.
        let (hash, _) = bare::hash_of(&path)?;
        Ok(Program { path, hash })
    }

    fn target(&self) -> Target {
        stage::target(&self.stage.agent)
    }

    fn token_us(&self, program: &Program) -> Result<f64, BenchError> {
        first::call_us(&program.path, &self.target(), Call::Fetch)
    }

    /// Programs of this size that the agent sees for the first time, beside their hash.
    fn cold(&self, programs: &[Program], turns: &[Subject], megabytes: u64) -> Result<Reading, BenchError> {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for program in programs {
            let found = Found::in_turn(turns, |subject| match subject {
                Subject::Floor => bare::hash_of(&program.path).map(|(_, took)| took.as_secs_f64() * 1e6),
                _ => self.token_us(program),
            })?;
            ours.push(found.ours);
            floor.push(found.floor);
        }
        Ok(Reading::beside(format!("{megabytes} MB, cold"), "us", middle(ours)?, middle(floor)?)
            .aiming(Aim::RatioAtMost(1.1)))
    }

    /// New processes of a program that the agent has seen, and of a small one that it has seen too,
    /// one by one in turn.
    fn cached(&self, large: &Program, small: &Program, times: usize, megabytes: u64) -> Result<Reading, BenchError> {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for time in 0..times {
            for turn in 0..2 {
                if (time + turn) % 2 == 0 {
                    ours.push(self.token_us(large)?);
                } else {
                    floor.push(self.token_us(small)?);
                }
            }
        }
        Ok(Reading::beside(format!("{megabytes} MB, cached"), "us", middle(ours)?, middle(floor)?)
            .aiming(Aim::AboveAtMost(50.0)))
    }
}

#[async_trait(?Send)]
impl Scenario for Process {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let turns = Setting { against: None, ..setting.clone() }.turns(round);
        let small = self.program(0)?;
        let mut sizes = Vec::new();
        for megabytes in self.sizes.clone() {
            let count = setting.plan.pick(COLD, 1);
            let programs: Result<Vec<Program>, _> = (0..count).map(|_| self.program(megabytes * 1_000_000)).collect();
            sizes.push((megabytes, programs?));
        }
        let programs = sizes.iter().flat_map(|(_, programs)| programs).chain([&small]);
        let selectors = programs.map(|program| format!("unix:sha256:{}", program.hash));
        let entries = (0..)
            .zip(selectors)
            .map(|(number, selector)| entry(&format!("program-{number}"), &[selector], &[AUDIENCE]));
        self.stage.agent.apply(&entries.collect::<Result<Vec<_>, _>>()?.concat());
        sleep(SETTLES).await;
        self.token_us(&small)?;
        let mut readings = Vec::new();
        for (megabytes, programs) in &sizes {
            readings.push(self.cold(programs, &turns, *megabytes)?);
            if let Some(seen) = programs.first() {
                readings.push(self.cached(seen, &small, setting.plan.pick(CACHED, 3), *megabytes)?);
            }
        }
        for program in sizes.iter().flat_map(|(_, programs)| programs).chain([&small]) {
            std::fs::remove_file(&program.path).map_err(BenchError::system("remove a program"))?;
        }
        Ok(readings)
    }
}
