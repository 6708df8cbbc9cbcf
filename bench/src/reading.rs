//! What a round of a scenario finds: figures of ours beside the floor's, and what is aimed at.

use serde::{Deserialize, Serialize};

use crate::BenchError;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// This agent.
    Ours,
    /// What the machine can do at best.
    Floor,
    /// The agent of `--against`.
    Theirs,
}

/// What is to be reached, of the middle of all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    /// Ours in parts of the floor: at least so much.
    RatioAtLeast(f64),
    /// Ours in parts of the floor: at most so much.
    RatioAtMost(f64),
    /// Ours less the floor: at most so much, in the unit of the reading.
    AboveAtMost(f64),
    /// Ours: at most so much, in the unit of the reading.
    AtMost(f64),
}

/// One figure of one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reading {
    /// What was measured; the same in every round.
    pub(crate) name: String,
    /// Of the figures.
    pub(crate) unit: &'static str,
    /// What is aimed at, if anything: the rest is for information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aim: Option<Aim>,
    /// Of this agent.
    pub(crate) ours: f64,
    /// Of the floor, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<f64>,
    /// Of the agent of `--against`, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) theirs: Option<f64>,
    /// Why there is no figure of that agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}

impl Reading {
    /// A figure of ours alone.
    pub(crate) fn alone(name: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self { name: name.into(), unit, aim: None, ours, floor: None, theirs: None, refused: None }
    }

    /// A figure beside the floor's.
    pub(crate) fn beside(name: impl Into<String>, unit: &'static str, ours: f64, floor: f64) -> Self {
        Self { floor: Some(floor), ..Self::alone(name, unit, ours) }
    }

    /// The same with something to be reached.
    pub(crate) fn aiming(self, aim: Aim) -> Self {
        Self { aim: Some(aim), ..self }
    }
}

/// What was found of each subject in one round.
#[derive(Clone, Debug)]
pub(crate) struct Found<T> {
    /// Of this agent.
    pub(crate) ours: T,
    /// Of the floor.
    pub(crate) floor: T,
    /// Of the other agent, or why there is nothing, if it was asked at all.
    pub(crate) theirs: Option<Result<T, String>>,
}

impl<T> Found<T> {
    /// Measures each of `turns`, one right after the other. What the other agent refuses is
    /// found too.
    ///
    /// # Errors
    /// Ours or the floor could not be measured.
    pub(crate) fn in_turn(
        turns: &[Subject],
        mut measure: impl FnMut(Subject) -> Result<T, BenchError>,
    ) -> Result<Self, BenchError> {
        let (mut ours, mut floor, mut theirs) = (None, None, None);
        for subject in turns {
            let found = measure(*subject);
            match subject {
                Subject::Ours => ours = Some(found?),
                Subject::Floor => floor = Some(found?),
                Subject::Theirs => theirs = Some(found.map_err(|error| error.to_string())),
            }
        }
        let (Some(ours), Some(floor)) = (ours, floor) else { return Err(BenchError::Nothing("a round")) };
        Ok(Self { ours, floor, theirs })
    }

    /// One figure of each.
    pub(crate) fn reading(&self, name: impl Into<String>, unit: &'static str, figure: impl Fn(&T) -> f64) -> Reading {
        let mut reading = Reading::beside(name, unit, figure(&self.ours), figure(&self.floor));
        match &self.theirs {
            Some(Ok(theirs)) => reading.theirs = Some(figure(theirs)),
            Some(Err(why)) => reading.refused = Some(why.clone()),
            None => {}
        }
        reading
    }

    /// The same with something added to the floor: work that it stands for and does not do.
    pub(crate) fn map_floor(mut self, floor: impl FnOnce(T) -> T) -> Self {
        self.floor = floor(self.floor);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: [Subject; 3] = [Subject::Theirs, Subject::Floor, Subject::Ours];

    #[test]
    fn a_refusal_of_the_other_agent_is_told_and_not_fatal() {
        let found = Found::in_turn(&TURNS, |subject| match subject {
            Subject::Ours => Ok(6.0),
            Subject::Floor => Ok(3.0),
            Subject::Theirs => Err(BenchError::Answer("nothing")),
        });
        let reading = found.unwrap().map_floor(|floor| floor + 1.0).reading("calls", "calls/s", |found| *found);
        assert_eq!((reading.ours, reading.floor, reading.theirs), (6.0, Some(4.0), None));
        assert_eq!(reading.refused.as_deref(), Some("a request was answered with nothing"));
    }

    #[test]
    fn ours_and_the_floor_have_to_be_measured() {
        let fails = |fails: Subject| {
            Found::in_turn(&TURNS, |subject| if subject == fails { Err(BenchError::Nothing("it")) } else { Ok(1.0) })
        };
        assert!(fails(Subject::Ours).is_err());
        assert!(fails(Subject::Floor).is_err());
        assert!(Found::in_turn(&[Subject::Ours], |_| Ok(1.0)).is_err());
    }
}
