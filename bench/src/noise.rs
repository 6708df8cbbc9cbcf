//! How noisy the machine was: the same work over and over, and what the host took away.

use std::fs;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use crate::BenchError;
use crate::measurement::{microseconds, percentile};

/// What is hashed: a third of a millisecond of work.
const BYTES: usize = 512 * 1024;
/// How often, before the run and before each round.
const BEFORE: usize = 400;
const BETWEEN: usize = 40;

/// A machine that nobody else uses has 1.0 everywhere and no steal.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Noise {
    /// Before the run, nothing of which is under way.
    pub(crate) before: Work,
    /// Between the rounds.
    pub(crate) during: Option<Work>,
    /// Processor time that the host gave to others while this machine wanted it, in parts of all
    /// time of all processors, over the whole run.
    pub(crate) steal: f64,
}

/// How long the same work took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Work {
    /// How often it was done.
    pub(crate) times: usize,
    /// The middle.
    pub(crate) median_us: f64,
    /// 99 of 100, in parts of the middle.
    pub(crate) p99_of_median: f64,
    /// The longest, in parts of the middle.
    pub(crate) max_of_median: f64,
}

/// Listens to the machine over a run.
pub(crate) struct Listening {
    before: Vec<Duration>,
    during: Vec<Duration>,
    steal: Ticks,
}

/// Time of all processors (proc(5), `stat`), in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    all: u64,
    stolen: u64,
}

impl Listening {
    /// Measures the machine before anything runs.
    ///
    /// # Errors
    /// The kernel does not tell what was stolen.
    pub(crate) fn begin() -> Result<Self, BenchError> {
        let steal = Ticks::now()?;
        Ok(Self { before: work(BEFORE), during: Vec::new(), steal })
    }

    /// Measures it again.
    pub(crate) fn again(&mut self) {
        self.during.extend(work(BETWEEN));
    }

    /// What was heard.
    ///
    /// # Errors
    /// The kernel does not tell what was stolen.
    pub(crate) fn end(self) -> Result<Noise, BenchError> {
        let steal = Ticks::now()?.stolen_since(self.steal);
        let before = Work::of(self.before).ok_or(BenchError::Nothing("the machine"))?;
        Ok(Noise { before, during: Work::of(self.during), steal })
    }
}

fn work(times: usize) -> Vec<Duration> {
    let buffer = vec![7; BYTES];
    let once = || {
        let begin = Instant::now();
        std::hint::black_box(digest(&SHA256, std::hint::black_box(&buffer)));
        begin.elapsed()
    };
    (0..times).map(|_| once()).collect()
}

impl Work {
    fn of(mut took: Vec<Duration>) -> Option<Self> {
        took.sort_unstable();
        let median = microseconds(percentile(&took, 500)?);
        let of_median = |per_mille| Some(microseconds(percentile(&took, per_mille)?) / median);
        Some(Self {
            times: took.len(),
            median_us: median,
            p99_of_median: of_median(990)?,
            max_of_median: of_median(1000)?,
        })
    }
}

impl Ticks {
    fn now() -> Result<Self, BenchError> {
        let stat = fs::read_to_string("/proc/stat").map_err(BenchError::system("read what the processors did"))?;
        Self::of(&stat).ok_or(BenchError::Nothing("the time of the processors"))
    }

    /// Of the first line: user, nice, system, idle, iowait, irq, softirq, steal; what follows is in
    /// the first two already.
    fn of(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
        let fields: Vec<u64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
        Some(Self { all: fields.iter().sum(), stolen: *fields.get(7)? })
    }

    fn stolen_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        if all == 0 { 0.0 } else { self.stolen.saturating_sub(before.stolen) as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_field() {
        let stat = "cpu  10 0 20 60 0 0 5 5 99 99\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let ticks = Ticks::of(stat).unwrap();
        assert_eq!(ticks, Ticks { all: 100, stolen: 5 });
        let later = Ticks { all: 200, stolen: 30 };
        assert_eq!(later.stolen_since(ticks), 0.25);
        assert_eq!(ticks.stolen_since(ticks), 0.0);
        assert_eq!(Ticks::of("cpu  1 2 3\n"), None);
    }

    #[test]
    fn spread_is_told_in_parts_of_the_middle() {
        let took = (1..=99).map(|_| Duration::from_micros(100)).chain([Duration::from_micros(250)]).collect();
        let found = Work::of(took).unwrap();
        assert_eq!(found, Work { times: 100, median_us: 100.0, p99_of_median: 1.0, max_of_median: 2.5 });
        assert_eq!(Work::of(vec![]), None);
    }

    #[test]
    fn this_machine_can_be_listened_to() {
        let mut listening = Listening::begin().unwrap();
        listening.again();
        let heard = listening.end().unwrap();
        assert!(heard.during.is_some_and(|work| work.max_of_median >= 1.0) && heard.steal <= 1.0);
    }
}
