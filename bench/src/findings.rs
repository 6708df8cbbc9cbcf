//! Figures over all rounds: the middle, how far they lie apart, and whether that is what was
//! aimed at.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::reading::{Aim, Reading};
use crate::spread::Spread;

/// One figure of a scenario over all rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// What was measured.
    pub(crate) name: String,
    /// Of the figures.
    pub(crate) unit: Cow<'static, str>,
    /// Of this agent.
    pub(crate) ours: Spread,
    /// Of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<Spread>,
    /// Ours in parts of the floor, taken round by round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<Spread>,
    /// Ours less the floor, taken round by round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) above: Option<Spread>,
    /// Of the agent of `--against`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) theirs: Option<Spread>,
    /// That in parts of the floor, taken round by round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) theirs_ratio: Option<Spread>,
    /// Why there is no figure of that agent, in one of the rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
    /// What was to be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aim: Option<Aim>,
    /// Whether it was. None if nothing was to be, or there is nothing to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
}

/// The lines of a scenario, in the order in which the first round named them. A figure that only
/// some rounds have is taken from those.
pub(crate) fn lines(rounds: &[Vec<Reading>]) -> Vec<Line> {
    let mut names: Vec<&str> = Vec::new();
    for reading in rounds.iter().flatten() {
        if !names.contains(&reading.name.as_str()) {
            names.push(&reading.name);
        }
    }
    let of = |name: &str| -> Vec<&Reading> { rounds.iter().flatten().filter(|reading| reading.name == name).collect() };
    names.into_iter().filter_map(|name| line(&of(name))).collect()
}

fn line(readings: &[&Reading]) -> Option<Line> {
    let first = readings.first()?;
    let spread =
        |figure: fn(&Reading) -> Option<f64>| Spread::of(readings.iter().filter_map(|reading| figure(reading)));
    let mut line = Line {
        name: first.name.clone(),
        unit: first.unit.into(),
        ours: spread(|reading| Some(reading.ours))?,
        floor: spread(|reading| reading.floor),
        ratio: spread(|reading| ratio(reading.ours, reading.floor?)),
        above: spread(|reading| Some(reading.ours - reading.floor?)),
        theirs: spread(|reading| reading.theirs),
        theirs_ratio: spread(|reading| ratio(reading.theirs?, reading.floor?)),
        refused: readings.iter().find_map(|reading| reading.refused.clone()),
        aim: first.aim,
        met: None,
    };
    line.met = line.aim.and_then(|aim| is_met(&line, aim));
    Some(line)
}

fn ratio(figure: f64, floor: f64) -> Option<f64> {
    (floor != 0.0).then_some(figure / floor)
}

fn is_met(line: &Line, aim: Aim) -> Option<bool> {
    match aim {
        Aim::RatioAtLeast(least) => Some(line.ratio?.median >= least),
        Aim::RatioAtMost(most) => Some(line.ratio?.median <= most),
        Aim::AboveAtMost(most) => Some(line.above?.median <= most),
        Aim::AtMost(most) => Some(line.ours.median <= most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(rounds: &[(f64, f64)], aim: Aim) -> Line {
        let rounds: Vec<Vec<Reading>> =
            rounds.iter().map(|(ours, floor)| vec![Reading::beside("it", "us", *ours, *floor).aiming(aim)]).collect();
        lines(&rounds).remove(0)
    }

    #[test]
    fn the_ratio_is_taken_round_by_round() {
        // A machine that is twice as slow in the second round says the same about the ratio.
        let line = only(&[(50.0, 100.0), (25.0, 50.0)], Aim::RatioAtLeast(0.5));
        assert_eq!(line.ratio, Some(Spread { median: 0.5, min: 0.5, max: 0.5 }));
        assert_eq!(line.floor, Some(Spread { median: 75.0, min: 50.0, max: 100.0 }));
        assert_eq!(line.met, Some(true));
    }

    #[test]
    fn aims_are_held_against_the_middle() {
        let rounds = [(10.0, 8.0), (12.0, 8.0), (40.0, 8.0)];
        assert_eq!(only(&rounds, Aim::RatioAtMost(1.5)).met, Some(true));
        assert_eq!(only(&rounds, Aim::RatioAtMost(1.4)).met, Some(false));
        assert_eq!(only(&rounds, Aim::RatioAtLeast(1.6)).met, Some(false));
        assert_eq!(only(&rounds, Aim::AboveAtMost(4.0)).met, Some(true));
        assert_eq!(only(&rounds, Aim::AboveAtMost(3.9)).met, Some(false));
        assert_eq!(only(&rounds, Aim::AtMost(11.0)).met, Some(false));
    }

    #[test]
    fn without_a_floor_there_is_no_ratio_and_nothing_met() {
        let rounds = vec![vec![Reading::alone("it", "us", 1.0).aiming(Aim::RatioAtMost(2.0))]];
        let line = &lines(&rounds)[0];
        assert_eq!((line.ratio, line.met), (None, None));
        let rounds = vec![vec![Reading::beside("it", "us", 1.0, 0.0)]];
        assert_eq!(lines(&rounds)[0].ratio, None);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn lines_keep_the_order_of_the_rounds() {
        let rounds = vec![
            vec![Reading::alone("b", "us", 1.0), Reading::alone("a", "us", 2.0)],
            vec![Reading::alone("a", "us", 4.0), Reading::alone("b", "us", 3.0)],
        ];
        let found: Vec<(String, f64)> = lines(&rounds).into_iter().map(|line| (line.name, line.ours.median)).collect();
        assert_eq!(found, [("b".to_owned(), 2.0), ("a".to_owned(), 3.0)]);
    }
}
