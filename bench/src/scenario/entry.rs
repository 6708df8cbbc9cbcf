//! An entry is applied: how soon its workload has the SVID, on a stream that is open and as an
//! answer that it waits for.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use countersign_tests::AgentSettings;
use tokio::time::{sleep, timeout};
use tonic::Streaming;

use super::{About, Scenario};
use crate::BenchError;
use crate::admin::Admin;
use crate::caller::{Caller, Told, next};
use crate::process;
use crate::reading::{Aim, Reading, Subject};
use crate::setting::{AUDIENCE, Setting, entry};
use crate::spread::Spread;
use crate::stage::Stage;

pub(super) const ABOUT: About = About {
    question: "an operator applies an entry: time until its SVID is at a stream that is open, and at a caller that \
               waits for it",
    floor: "as many bytes written and synchronized (fdatasync) in the same file system as the commit takes, and a \
            message on an open stream of a bare server",
    aim: "at most 5 ms above",
};

/// Entries of a round, each applied once.
const TIMES: u32 = 40;
const QUICK: u32 = 4;
/// Nothing takes longer, on any machine that this is meant for.
const LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether a caller is held.
const LOOK: Duration = Duration::from_millis(1);

type Messages = Streaming<countersign_common::proto::workload::X509svidResponse>;

/// The scenario.
pub(super) struct Entry {
    stage: Stage,
    admin: Admin,
    /// Selectors of this process.
    lasting: String,
    more: String,
}

impl Entry {
    pub(super) async fn start(setting: &Setting) -> Result<Self, BenchError> {
        let lasting = setting.entry(&[AUDIENCE])?;
        let settings = AgentSettings { hold: "30s", ..AgentSettings::default() };
        let stage = Stage::set(setting, settings, &lasting).await?;
        let admin = Admin::connect(&stage.agent.admin_socket()).await?;
        let user = format!("unix:uid:{}", nix::unistd::geteuid());
        Ok(Self { stage, admin, lasting, more: entry("more", &[user], &[AUDIENCE])? })
    }

    /// What an entry is applied and deleted for comes as a message. How long the first takes.
    async fn reach_stream(&mut self, stream: &mut Messages) -> Result<Duration, BenchError> {
        let begin = Instant::now();
        let (applied, told) = tokio::join!(self.admin.apply(&self.more), timeout(LIMIT, next(stream)));
        let took = begin.elapsed();
        applied?;
        served(told)?;
        let (deleted, told) = tokio::join!(self.admin.delete("more"), timeout(LIMIT, next(stream)));
        deleted?;
        served(told)?;
        Ok(took)
    }

    /// A caller without an entry asks, is held, and is answered when the entry is applied: how long that takes.
    async fn reach_caller(&mut self) -> Result<Duration, BenchError> {
        self.admin.delete("load").await?;
        let mut caller = served(timeout(LIMIT, Caller::connect(&self.stage.agent.workload_socket())).await)?;
        let asking = tokio::spawn(async move {
            let told = timeout(LIMIT, caller.jwt(AUDIENCE)).await;
            (Instant::now(), served(told).map(drop))
        });
        let is_held = async {
            while self.admin.usage().await?.requests.is_none_or(|requests| requests.used == 0) {
                sleep(LOOK).await;
            }
            Ok::<(), BenchError>(())
        };
        timeout(LIMIT, is_held).await.map_err(|_| BenchError::Late(LIMIT))??;
        let begin = Instant::now();
        self.admin.apply(&self.lasting).await?;
        let (answered, told) = asking.await.map_err(|_| BenchError::Nothing("a caller that waits"))?;
        told?;
        Ok(answered.saturating_duration_since(begin))
    }

    /// The same bytes on the disk, and a message.
    async fn at_best(&mut self, bytes: usize, stream: &mut Messages) -> Result<Duration, BenchError> {
        let begin = Instant::now();
        written(self.stage.agent.folder(), bytes)?;
        self.stage.floor.push()?;
        served(timeout(LIMIT, next(stream)).await)?;
        Ok(begin.elapsed())
    }

    async fn stream(&self, subject: Subject) -> Result<Messages, BenchError> {
        let mut caller = served(timeout(LIMIT, Caller::connect(&self.stage.target(subject)?.socket)).await)?;
        let mut stream = served(timeout(LIMIT, caller.x509()).await)?;
        served(timeout(LIMIT, next(&mut stream)).await)?;
        Ok(stream)
    }
}

#[async_trait(?Send)]
impl Scenario for Entry {
    async fn round(&mut self, setting: &Setting, _: u32) -> Result<Vec<Reading>, BenchError> {
        let times = setting.plan.pick(TIMES, QUICK);
        let pid = self.stage.agent.pid();
        let mut ours = self.stream(Subject::Ours).await?;
        let mut floor = self.stream(Subject::Floor).await?;
        // One commit to learn how much it writes.
        let before = process::written_bytes(pid)?;
        self.admin.apply(&self.more).await?;
        let bytes = usize::try_from(process::written_bytes(pid)?.saturating_sub(before)).unwrap_or_default();
        served(timeout(LIMIT, next(&mut ours)).await)?;
        self.admin.delete("more").await?;
        served(timeout(LIMIT, next(&mut ours)).await)?;

        let (mut at_stream, mut at_best, mut at_caller) = (vec![], vec![], vec![]);
        for _ in 0..times {
            at_stream.push(self.reach_stream(&mut ours).await?);
            at_best.push(self.at_best(bytes, &mut floor).await?);
        }
        drop(ours);
        for _ in 0..times {
            at_caller.push(self.reach_caller().await?);
        }
        let best = middle(&at_best)?;
        Ok(vec![
            Reading::beside("entry applied, SVID at an open stream", "ms", middle(&at_stream)?, best)
                .aiming(Aim::AboveAtMost(5.0)),
            Reading::beside("entry applied, token at a waiting caller", "ms", middle(&at_caller)?, best)
                .aiming(Aim::AboveAtMost(5.0)),
            Reading::alone("written by the agent for one entry", "KiB", bytes as f64 / 1024.0),
        ])
    }
}

/// Writes so many bytes to a new file, and waits until the disk has them.
fn written(folder: &Path, bytes: usize) -> Result<(), BenchError> {
    let failed = || BenchError::system("write as much as a commit does");
    let path = folder.join("floor");
    let mut file = File::create(&path).map_err(failed())?;
    file.write_all(&vec![7; bytes]).and_then(|()| file.sync_data()).map_err(failed())?;
    std::fs::remove_file(path).map_err(failed())
}

fn middle(durations: &[Duration]) -> Result<f64, BenchError> {
    let spread = Spread::of(durations.iter().map(|duration| duration.as_secs_f64() * 1e3));
    spread.map(|spread| spread.median).ok_or(BenchError::Nothing("an entry"))
}

/// What was served; anything else is a failure here.
fn served<T>(told: Result<Told<T>, tokio::time::error::Elapsed>) -> Result<T, BenchError> {
    match told {
        Ok(Told::Served(value)) => Ok(value),
        Ok(Told::Refused(said) | Told::Unreachable(said)) => Err(BenchError::Process { name: "agent's", said }),
        Err(_) => Err(BenchError::Late(LIMIT)),
    }
}
