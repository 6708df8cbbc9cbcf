//! What one load process found: rate, latency, processor time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::BenchError;

/// The figures of one call in one round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Calls a second, of all clients together.
    pub(crate) rate: f64,
    /// Half of the calls took at most this long, in microseconds.
    pub(crate) p50_us: f64,
    /// 99 of 100 calls took at most this long, in microseconds.
    pub(crate) p99_us: f64,
    /// Processor time of the agent's process for one call, in microseconds.
    pub(crate) agent_cpu_us: f64,
}

impl Measurement {
    /// Of the calls that began in `window`, during which the agent took `agent_cpu`.
    ///
    /// # Errors
    /// There were no calls.
    pub(crate) fn of(mut latencies: Vec<Duration>, window: Duration, agent_cpu: Duration) -> Result<Self, BenchError> {
        latencies.sort_unstable();
        let (p50, p99) =
            percentile(&latencies, 50).zip(percentile(&latencies, 99)).ok_or(BenchError::Nothing("calls"))?;
        let calls = latencies.len() as f64;
        Ok(Self {
            rate: calls / window.as_secs_f64(),
            p50_us: microseconds(p50),
            p99_us: microseconds(p99),
            agent_cpu_us: microseconds(agent_cpu) / calls,
        })
    }

    /// These figures in parts of those of `floor`.
    pub(crate) fn relative_to(&self, floor: &Self) -> Self {
        Self {
            rate: self.rate / floor.rate,
            p50_us: self.p50_us / floor.p50_us,
            p99_us: self.p99_us / floor.p99_us,
            agent_cpu_us: self.agent_cpu_us / floor.agent_cpu_us,
        }
    }
}

/// The smallest value that `percent` of all do not exceed (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let of = |count: u64| (1..=count).map(Duration::from_micros).collect::<Vec<_>>();
        assert_eq!(percentile(&of(1), 50), Some(Duration::from_micros(1)));
        assert_eq!(percentile(&of(100), 99), Some(Duration::from_micros(99)));
        assert_eq!(percentile(&of(101), 99), Some(Duration::from_micros(100)));
        assert_eq!(percentile(&of(0), 50), None);
    }

    #[test]
    fn figures_are_of_a_second_and_of_a_call() {
        let latencies = vec![Duration::from_micros(300), Duration::from_micros(100), Duration::from_micros(200)];
        let found = Measurement::of(latencies, Duration::from_millis(500), Duration::from_micros(60)).unwrap();
        assert_eq!(found, Measurement { rate: 6.0, p50_us: 200.0, p99_us: 300.0, agent_cpu_us: 20.0 });
        assert_eq!(found.relative_to(&found).rate, 1.0);
        assert!(Measurement::of(vec![], Duration::from_secs(1), Duration::ZERO).is_err());
    }
}
