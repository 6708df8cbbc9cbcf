//! Many open X.509 streams: what one costs in memory, and what is left of it when all are closed.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use countersign_tests::AgentSettings;
use nix::sys::resource::{Resource, getrlimit};
use tokio::time::sleep;

use super::{About, Scenario};
use crate::BenchError;
use crate::held::Holder;
use crate::process;
use crate::reading::{Aim, Found, Reading, Subject};
use crate::run::say;
use crate::setting::{AUDIENCE, Setting};
use crate::stage::Stage;

pub(super) const ABOUT: About = About {
    question: "open X.509 streams on connections of their own: memory of each, and of all when they are closed; \
               10 000, or as many as the limit of open files allows",
    floor: "the same streams at a bare server of the same stack",
    aim: "memory of a stream at most 1.2 times the floor's; less than 30 MiB resident when all are closed",
};

/// How many streams, if nothing stands in the way.
const STREAMS: u64 = 10_000;
const QUICK: u64 = 500;
/// Requests that the agent takes at once. Each keeps descriptors from connections.
const REQUESTS: u64 = 128;
/// The agent takes two descriptors for a connection and for a request, and keeps some for itself.
const OF_EACH: u64 = 2;
const OWN: u64 = 640;
/// Connections that are left for others: whoever is measured meanwhile.
const OTHERS: u64 = 16;
/// Streams that are opened before any that count.
const FIRST: u32 = 32;
/// After the last stream was closed, memory is looked at until it falls no more.
const LOOKS: u32 = 40;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// The scenario. Each round has processes of its own: what the allocator kept of the streams of
/// the round before would be there already.
pub(super) struct Streams {
    count: u32,
}

/// What one server took.
struct Taken {
    each_kib: f64,
    closed_mib: f64,
    opened_ms: f64,
}

impl Streams {
    pub(super) fn start(setting: &Setting) -> Result<Self, BenchError> {
        Ok(Self { count: count(setting)? })
    }
}

/// As many streams as may be open at an agent here.
///
/// # Errors
/// The limit of open files is not known, or too low for any.
pub(super) fn count(setting: &Setting) -> Result<u32, BenchError> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|error| BenchError::system("read the limit of open files")(error.into()))?;
    let allowed = (hard.saturating_sub(OWN) / OF_EACH).saturating_sub(REQUESTS + OTHERS);
    let count = setting.plan.pick(STREAMS, QUICK).min(allowed);
    if count < setting.plan.pick(STREAMS, QUICK) {
        say(&format!("{count} streams: the limit of open files, {hard}, allows no more"));
    }
    let is_some = u32::try_from(count).ok().filter(|count| *count > 0);
    is_some.ok_or_else(|| BenchError::NotHere(format!("the limit of open files, {hard}, is too low")))
}

/// An agent that takes all of them from one user, and a floor server. The places of one user are a
/// part of all places, so sharing them is left out: there are not as many descriptors.
///
/// # Errors
/// The floor server does not start.
pub(super) async fn stage(setting: &Setting) -> Result<Stage, BenchError> {
    let settings = AgentSettings {
        workload_api: "max_connections = 65536",
        admission: "max_streams = 100000\nmax_requests = 128",
        without: &["admission"],
        ..AgentSettings::default()
    };
    Stage::set(setting, settings, &setting.entry(&[AUDIENCE])?).await
}

#[async_trait(?Send)]
impl Scenario for Streams {
    async fn round(&mut self, setting: &Setting, round: u32) -> Result<Vec<Reading>, BenchError> {
        let stage = stage(setting).await?;
        let (mut ours, mut floor) = (None, None);
        for subject in setting.turns(round) {
            match subject {
                Subject::Ours => ours = Some(taken(stage.agent.pid(), &stage, subject, self.count).await?),
                Subject::Floor => floor = Some(taken(stage.floor.pid(), &stage, subject, self.count).await?),
                Subject::Theirs => {}
            }
        }
        let (Some(ours), Some(floor)) = (ours, floor) else { return Err(BenchError::Nothing("a round")) };
        let found = Found { ours, floor, theirs: None };
        let of = |what: &str| format!("{what}, {} streams", self.count);
        Ok(vec![
            found.reading(of("memory of each"), "KiB", |taken| taken.each_kib).aiming(Aim::RatioAtMost(1.2)),
            found
                .reading(of("resident when all are closed"), "MiB", |taken| taken.closed_mib)
                .aiming(Aim::AtMost(30.0)),
            found.reading(of("time until all are open"), "ms", |taken| taken.opened_ms),
        ])
    }
}

async fn taken(pid: u32, stage: &Stage, subject: Subject, count: u32) -> Result<Taken, BenchError> {
    // What is made once, for whoever comes first, is no stream's.
    drop(Holder::start(&stage.target(subject)?.socket, FIRST)?);
    let before = process::resident_kib(pid)?;
    let begin = Instant::now();
    let holder = Holder::start(&stage.target(subject)?.socket, count)?;
    let opened_ms = begin.elapsed().as_secs_f64() * 1e3;
    let with = process::resident_kib(pid)?;
    drop(holder);
    let each_kib = with.saturating_sub(before) as f64 / f64::from(count);
    Ok(Taken { each_kib, closed_mib: settled(pid).await? as f64 / 1024.0, opened_ms })
}

/// The least memory in the seconds that follow.
async fn settled(pid: u32) -> Result<u64, BenchError> {
    let mut least = process::resident_kib(pid)?;
    for _ in 0..LOOKS {
        sleep(BETWEEN_LOOKS).await;
        least = least.min(process::resident_kib(pid)?);
    }
    Ok(least)
}
