//! What one load process found: rate, latency, processor time of the server.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::BenchError;

/// The figures of one call in one round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Calls that count.
    pub(crate) calls: u64,
    /// Calls a second, of all clients together.
    pub(crate) rate: f64,
    /// The middle of all latencies, in microseconds.
    pub(crate) p50_us: f64,
    /// 99 of 100 calls took at most this long, in microseconds.
    pub(crate) p99_us: f64,
    /// 999 of 1000 calls took at most this long, in microseconds.
    pub(crate) p999_us: f64,
    /// The longest, in microseconds.
    pub(crate) max_us: f64,
    /// Processor time of the server's process for one call, in microseconds, if it is known which
    /// one that is.
    pub(crate) server_cpu_us: Option<f64>,
}

impl Measurement {
    /// Of the calls of `window`, during which the server took `cpu`.
    ///
    /// # Errors
    /// There were no calls.
    pub(crate) fn of(
        mut latencies: Vec<Duration>,
        window: Duration,
        cpu: Option<Duration>,
    ) -> Result<Self, BenchError> {
        latencies.sort_unstable();
        let at = |per_mille| {
            percentile(&latencies, per_mille).map(microseconds).ok_or(BenchError::Nothing("calls: none was due"))
        };
        let calls = latencies.len() as f64;
        Ok(Self {
            calls: latencies.len() as u64,
            rate: calls / window.as_secs_f64(),
            p50_us: at(500)?,
            p99_us: at(990)?,
            p999_us: at(999)?,
            max_us: at(1000)?,
            server_cpu_us: cpu.map(|cpu| microseconds(cpu) / calls),
        })
    }

    /// Time for one call of a client that always has one under way, in microseconds: of `clients`
    /// together.
    pub(crate) fn time_us(&self, clients: u32) -> f64 {
        f64::from(clients) * 1e6 / self.rate
    }
}

/// The smallest value that so many of a thousand do not exceed (nearest rank).
pub(crate) fn percentile(sorted: &[Duration], per_mille: usize) -> Option<Duration> {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// In microseconds.
pub(crate) fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let of = |count: u64| (1..=count).map(Duration::from_micros).collect::<Vec<_>>();
        assert_eq!(percentile(&of(1), 500), Some(Duration::from_micros(1)));
        assert_eq!(percentile(&of(100), 990), Some(Duration::from_micros(99)));
        assert_eq!(percentile(&of(101), 990), Some(Duration::from_micros(100)));
        assert_eq!(percentile(&of(1000), 999), Some(Duration::from_micros(999)));
        assert_eq!(percentile(&of(3), 1000), Some(Duration::from_micros(3)));
        assert_eq!(percentile(&of(0), 500), None);
    }

    #[test]
    fn figures_are_of_a_second_and_of_a_call() {
        let latencies = vec![Duration::from_micros(300), Duration::from_micros(100), Duration::from_micros(200)];
        let found = Measurement::of(latencies, Duration::from_millis(500), Some(Duration::from_micros(60))).unwrap();
        assert_eq!((found.calls, found.rate, found.p50_us, found.p99_us), (3, 6.0, 200.0, 300.0));
        assert_eq!(found.server_cpu_us, Some(20.0));
        assert_eq!(found.time_us(3), 500_000.0);
        assert!(Measurement::of(vec![], Duration::from_secs(1), None).is_err());
    }
}
