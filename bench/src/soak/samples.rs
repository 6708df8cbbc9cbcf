//! What the agent takes, looked at again and again (proc(5)).

use std::time::Duration;

use countersign_tests::Agent;
use nix::sys::signal::Signal;
use serde::Serialize;

use super::bed::Bed;
use crate::admin::Admin;
use crate::{BenchError, process};

/// About so many samples make a run, however long it is: as many as a chart can show.
const COUNT: u32 = 720;
/// Not more often: looking costs something too.
const SHORTEST: Duration = Duration::from_secs(1);

/// One look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Seconds since the beginning.
    pub(super) at: f64,
    pub(super) resident_kib: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    /// Of one processor, since the sample before; 0 in the first of a life.
    pub(super) cpu_percent: f64,
    /// What the agent itself says: connections, requests and streams that it serves.
    pub(super) connections: u64,
    pub(super) requests: u64,
    pub(super) streams: u64,
    pub(super) store_bytes: u64,
    pub(super) audit_bytes: u64,
}

/// An end of the agent.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Mark {
    /// Seconds since the beginning.
    pub(super) at: f64,
    /// Which signal ended it.
    pub(super) signal: &'static str,
}

/// All of them, in the order of time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Samples {
    pub(super) every_seconds: f64,
    pub(super) samples: Vec<Sample>,
    pub(super) restarts: Vec<Mark>,
    /// Processor time so far and when that was, in which process.
    #[serde(skip)]
    before: Option<(u32, f64, Duration)>,
}

impl Mark {
    pub(super) fn new(at: Duration, signal: Signal) -> Self {
        Self { at: at.as_secs_f64(), signal: signal.as_str() }
    }
}

impl Samples {
    /// None so far, of a run of this length.
    pub(super) fn begin(length: Duration) -> Self {
        let every_seconds = (length / COUNT).max(SHORTEST).as_secs_f64();
        Self { every_seconds, samples: vec![], restarts: vec![], before: None }
    }

    /// How often to look.
    pub(super) fn every(&self) -> Duration {
        Duration::from_secs_f64(self.every_seconds)
    }

    /// The agent was restarted.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.restarts.push(mark);
    }

    /// Looks; the agent is there.
    pub(super) async fn take(&mut self, agent: &Agent, bed: &Bed, at: Duration) -> Result<(), BenchError> {
        let (pid, at) = (agent.pid(), at.as_secs_f64());
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        let status = status.map_err(BenchError::system("look at the agent"))?;
        let descriptors =
            std::fs::read_dir(format!("/proc/{pid}/fd")).map_err(BenchError::system("look at the agent"))?;
        let taken = process::cpu_time(pid)?;
        let cpu_percent = match self.before {
            Some((same, since, before)) if same == pid && at > since => {
                100.0 * taken.saturating_sub(before).as_secs_f64() / (at - since)
            }
            _ => 0.0,
        };
        self.before = Some((pid, at, taken));
        let usage = Admin::connect(&bed.admin_socket).await?.usage().await?;
        let used = |places: Option<countersign_common::proto::admin::Places>| places.map_or(0, |places| places.used);
        let (store_bytes, audit_bytes) = bed.sizes();
        self.samples.push(Sample {
            at,
            resident_kib: field(&status, "VmRSS:")?,
            descriptors: descriptors.count() as u64,
            threads: field(&status, "Threads:")?,
            cpu_percent,
            connections: used(usage.connections),
            requests: used(usage.requests),
            streams: used(usage.streams),
            store_bytes,
            audit_bytes,
        });
        Ok(())
    }

    /// The samples of each life of the agent.
    pub(super) fn lives(&self) -> Vec<&[Sample]> {
        let ends = self.restarts.iter().map(|mark| self.samples.partition_point(|sample| sample.at <= mark.at));
        let bounds: Vec<usize> = std::iter::once(0).chain(ends).chain([self.samples.len()]).collect();
        bounds.iter().zip(bounds.iter().skip(1)).filter_map(|(from, to)| self.samples.get(*from..*to)).collect()
    }
}

/// The number in a line of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Result<u64, BenchError> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or(BenchError::Nothing("the agent's memory and threads"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_belong_to_the_life_that_they_were_taken_in() {
        let mut samples = Samples::begin(Duration::from_secs(3600));
        assert_eq!(samples.every(), Duration::from_secs(5));
        assert_eq!(Samples::begin(Duration::from_secs(60)).every(), SHORTEST);
        samples.samples = (0..10).map(|at| Sample { at: f64::from(at), ..Sample::default() }).collect();
        samples.mark(Mark::new(Duration::from_millis(3500), Signal::SIGKILL));
        samples.mark(Mark::new(Duration::from_millis(3600), Signal::SIGTERM));
        let counts: Vec<usize> = samples.lives().iter().map(|life| life.len()).collect();
        assert_eq!(counts, [4, 0, 6]);
    }

    #[test]
    fn a_field_of_the_status_is_a_number() {
        let status = "Name:\tagent\nVmRSS:\t   14472 kB\nThreads:\t7\n";
        assert_eq!(field(status, "VmRSS:").unwrap(), 14_472);
        assert_eq!(field(status, "Threads:").unwrap(), 7);
        assert!(field(status, "VmHWM:").is_err());
    }
}
