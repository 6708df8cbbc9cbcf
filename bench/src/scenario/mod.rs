//! What can be measured. Each scenario is a file: what it asks, what the floor is, and a round.

mod binary;
mod connect;
mod entry;
mod idle;
mod matching;
mod process;
mod proof;
mod rate;
mod restart;
mod rotation;
mod sign;
mod streams;
mod validate;
mod warm;
mod x509;

use async_trait::async_trait;
use clap::ValueEnum;
use serde::Serialize;

use crate::BenchError;
use crate::load::name;
use crate::measurement::Measurement;
use crate::reading::{Aim, Found, Reading};
use crate::setting::Setting;

/// A scenario whose processes run.
#[async_trait(?Send)]
trait Scenario {
    /// Measures everything once, ours and the floor one right after the other; who begins, the
    /// number of the round says ([`Setting::turns`]).
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError>;
}

/// What is asked, and beside what.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct About {
    /// What is measured.
    pub(crate) question: &'static str,
    /// What the machine can do at best.
    pub(crate) floor: &'static str,
    /// What is to be reached, in words.
    pub(crate) aim: &'static str,
}

/// The scenarios, in the order in which all of them are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// FetchJWTSVID of a token that was issued before.
    Warm,
    /// FetchJWTSVID for a new audience each time.
    Sign,
    /// The first request of a new connection.
    Connect,
    /// The first token of a new process that is known by the hash of its program.
    Process,
    /// ValidateJWTSVID.
    Validate,
    /// The first message of FetchX509SVID.
    X509,
    /// 1000 requests a second.
    Rate,
    /// An agent that nobody asks.
    Idle,
    /// The size of the program.
    Binary,
    /// Restart to the first token, 10 000 entries.
    Restart,
    /// What the proof of the caller costs.
    Proof,
    /// Many open X.509 streams.
    Streams,
    /// The replacement of all their SVIDs.
    Rotation,
    /// From an entry to its SVID.
    Entry,
    /// One entry among very many.
    Match,
}

impl Name {
    /// Every one, in order.
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// As the command line and the names of files spell it.
    pub(crate) fn word(self) -> String {
        name(self)
    }

    /// What it asks.
    pub(crate) fn about(self) -> About {
        match self {
            Self::Warm => warm::ABOUT,
            Self::Sign => sign::ABOUT,
            Self::Connect => connect::ABOUT,
            Self::Process => process::ABOUT,
            Self::Validate => validate::ABOUT,
            Self::X509 => x509::ABOUT,
            Self::Rate => rate::ABOUT,
            Self::Idle => idle::ABOUT,
            Self::Binary => binary::ABOUT,
            Self::Restart => restart::ABOUT,
            Self::Proof => proof::ABOUT,
            Self::Streams => streams::ABOUT,
            Self::Rotation => rotation::ABOUT,
            Self::Entry => entry::ABOUT,
            Self::Match => matching::ABOUT,
        }
    }

    /// Whether another agent can be measured too, since all that is needed is its socket.
    pub(crate) fn is_of_any_agent(self) -> bool {
        matches!(self, Self::Warm | Self::Sign | Self::Connect | Self::Validate | Self::X509)
    }

    /// Starts what is measured, measures it once, and ends it.
    pub(crate) async fn round(self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        self.start(setting).await?.round(setting, round).await
    }

    async fn start(self, setting: &Setting) -> Result<Box<dyn Scenario>, BenchError> {
        Ok(match self {
            Self::Warm => Box::new(warm::Warm::start(setting).await?),
            Self::Sign => Box::new(sign::Sign::start(setting).await?),
            Self::Connect => Box::new(connect::Connect::start(setting).await?),
            Self::Process => Box::new(process::Process::start(setting).await?),
            Self::Validate => Box::new(validate::Validate::start(setting).await?),
            Self::X509 => Box::new(x509::X509::start(setting).await?),
            Self::Rate => Box::new(rate::Rate::start(setting).await?),
            Self::Idle => Box::new(idle::Idle),
            Self::Binary => Box::new(binary::Binary),
            Self::Restart => Box::new(restart::Restart::start(setting).await?),
            Self::Proof => Box::new(proof::Proof::start(setting).await?),
            Self::Streams => Box::new(streams::Streams::start(setting)?),
            Self::Rotation => Box::new(rotation::Rotation::start(setting)?),
            Self::Entry => Box::new(entry::Entry::start(setting).await?),
            Self::Match => Box::new(matching::Matching::start(setting).await?),
        })
    }
}

/// Throughput of one client in a closed loop beside the floor's, whose every call takes
/// `work_us` longer than the empty one that was measured: work that it stands for.
fn with_bare_work(found: &Found<Measurement>, work_us: f64, aim: Aim, work: &str) -> Vec<Reading> {
    let times = Found {
        ours: found.ours.time_us(1),
        floor: found.floor.time_us(1) + work_us,
        theirs: found.theirs.clone().map(|theirs| theirs.map(|theirs| theirs.time_us(1))),
    };
    vec![
        times.reading("throughput", "calls/s", |us| 1e6 / us).aiming(aim),
        times.reading("time of a call", "us", |us| *us),
        found.reading("p99, of the floor without the work", "us", |found| found.p99_us),
        Reading::alone(format!("of the floor: {work}"), "us", work_us),
    ]
}
