//! The figures of a whole run, in the form that is printed and written.

use serde::Serialize;

use crate::BenchError;
use crate::load::Connection;
use crate::machine::Machine;
use crate::measurement::Measurement;
use crate::rounds::Plan;
use crate::spread::Spread;

/// Everything that a run found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// When it began, RFC 3339.
    pub(crate) began: String,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// Over the last minute, before it began.
    pub(crate) load_average_before: f64,
    /// Over the last minute, at its end.
    pub(crate) load_average_after: f64,
    /// How it was taken.
    pub(crate) plan: Plan,
    /// Kinds of selectors of the entry.
    pub(crate) selectors: Vec<String>,
    /// One a scenario.
    pub(crate) scenarios: Vec<Findings>,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Scenario {
    /// How many there are.
    pub(crate) clients: u32,
    /// How they use their connections.
    pub(crate) connection: Connection,
    /// Microseconds between two calls of one client; none in a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) every_us: Option<u64>,
}

/// One scenario in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// The empty call.
    pub(crate) floor: Measurement,
    /// The warm fetch.
    pub(crate) fetch: Measurement,
    /// The same from an agent that does not have the caller prove itself.
    pub(crate) unproven: Measurement,
}

/// One scenario, over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Findings {
    #[serde(flatten)]
    pub(crate) scenario: Scenario,
    /// The empty call.
    pub(crate) floor: Figures,
    /// The warm fetch.
    pub(crate) fetch: Figures,
    /// The fetch in parts of the floor, taken round by round.
    pub(crate) ratio: Figures,
    /// The fetch without the proof of the caller.
    pub(crate) unproven: Figures,
    /// The fetch in parts of the one without the proof, taken round by round.
    pub(crate) proof: Figures,
}

/// A [`Measurement`] over all rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) rate: Spread,
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
    pub(crate) agent_cpu_us: Spread,
}

impl Findings {
    /// Of the rounds.
    ///
    /// # Errors
    /// There was no round.
    pub(crate) fn of(scenario: Scenario, rounds: &[Round]) -> Result<Self, BenchError> {
        let figures = |of: fn(&Round) -> Measurement| {
            Figures::of(&rounds.iter().map(of).collect::<Vec<_>>()).ok_or(BenchError::Nothing("a scenario"))
        };
        Ok(Self {
            scenario,
            floor: figures(|round| round.floor)?,
            fetch: figures(|round| round.fetch)?,
            ratio: figures(|round| round.fetch.relative_to(&round.floor))?,
            unproven: figures(|round| round.unproven)?,
            proof: figures(|round| round.fetch.relative_to(&round.unproven))?,
        })
    }
}

impl Figures {
    fn of(rounds: &[Measurement]) -> Option<Self> {
        let spread = |figure: fn(&Measurement) -> f64| Spread::of(rounds.iter().map(figure));
        Some(Self {
            rate: spread(|round| round.rate)?,
            p50_us: spread(|round| round.p50_us)?,
            p99_us: spread(|round| round.p99_us)?,
            agent_cpu_us: spread(|round| round.agent_cpu_us)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_taken_round_by_round() {
        let at = |rate: f64| Measurement { rate, p50_us: 10.0, p99_us: 20.0, agent_cpu_us: 5.0 };
        // A machine that is twice as slow in the second round says the same about the ratio.
        let round = |floor, fetch| Round { floor: at(floor), fetch: at(fetch), unproven: at(2.0 * fetch) };
        let rounds = [round(100.0, 50.0), round(50.0, 25.0)];
        let scenario = Scenario { clients: 1, connection: Connection::Warm, every_us: None };
        let found = Findings::of(scenario, &rounds).unwrap();
        assert_eq!(found.ratio.rate, Spread { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(found.proof.rate, Spread { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(found.floor.rate, Spread { median: 75.0, min: 50.0, max: 100.0 });
        assert!(Findings::of(scenario, &[]).is_err());
    }
}
