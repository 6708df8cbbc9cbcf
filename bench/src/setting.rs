//! How a run is to be made: how often, how long, against whom.

use std::path::PathBuf;

use countersign_common::selector::SelectorKind;
use serde::Serialize;

use crate::BenchError;
use crate::reading::Subject;

/// The audience of every token, unless another agent's operator chose one.
pub(crate) const AUDIENCE: &str = "billing";

/// How often and how long.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    /// Whether it is only to be shown that everything works.
    pub(crate) quick: bool,
    /// In each, a scenario measures ours and the floor once.
    pub(crate) rounds: u32,
    /// Of each measurement of load, in milliseconds: calls that do not count.
    pub(crate) warm_up_ms: u64,
    /// Of each measurement of load, in milliseconds: calls that count.
    pub(crate) measured_ms: u64,
}

impl Plan {
    /// Figures worth keeping.
    pub(crate) fn whole(rounds: u32) -> Self {
        Self { quick: false, rounds, warm_up_ms: 500, measured_ms: 2000 }
    }

    /// Shows that every request is answered.
    pub(crate) fn quick(rounds: u32) -> Self {
        Self { quick: true, rounds, warm_up_ms: 50, measured_ms: 250 }
    }

    /// One of two, for what has no time of its own: a count, a duration.
    pub(crate) fn pick<T>(&self, whole: T, quick: T) -> T {
        if self.quick { quick } else { whole }
    }
}

/// Somebody else's agent, which is measured beside ours.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Against {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// An audience that it gives this process tokens for.
    pub(crate) audience: String,
}

/// What the command line asked for, as scenarios need it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting {
    /// How often and how long.
    pub(crate) plan: Plan,
    /// Kinds of selectors that the entry of the load process demands.
    #[serde(serialize_with = "as_words")]
    pub(crate) selectors: Vec<SelectorKind>,
    /// Somebody else's agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) against: Option<Against>,
}

impl Setting {
    /// Who takes turns in round `round`, the one after whose turn it was to begin. The order
    /// changes so that a machine that gets slower favours none.
    pub(crate) fn turns(&self, round: u32) -> Vec<Subject> {
        let mut subjects = vec![Subject::Ours, Subject::Floor];
        if self.against.is_some() {
            subjects.push(Subject::Theirs);
        }
        let first = round as usize % subjects.len();
        subjects.rotate_left(first);
        subjects
    }

    /// The registration entry of the load process, with `selectors` and leave to have tokens for
    /// `audiences`. The program often belongs to the user who runs it, which is allowed here and
    /// asked all the same.
    ///
    /// # Errors
    /// No value is known for one of the selectors.
    pub(crate) fn entry(&self, audiences: &[&str]) -> Result<String, BenchError> {
        let program = std::env::current_exe().map_err(BenchError::system("find this program"))?;
        let selectors = self.selectors.iter().map(|kind| match kind {
            SelectorKind::UnixUid => Ok(format!("{kind}:{}", nix::unistd::geteuid())),
            SelectorKind::UnixGid => Ok(format!("{kind}:{}", nix::unistd::getegid())),
            SelectorKind::UnixPath => Ok(format!("{kind}:{}", program.display())),
            other => Err(BenchError::Selector(*other)),
        });
        entry("load", &selectors.collect::<Result<Vec<_>, _>>()?, audiences)
    }
}

/// A registration entry whose workload may have been written by its own user.
///
/// # Errors
/// The selectors have no JSON form.
pub(crate) fn entry(id: &str, selectors: &[String], audiences: &[&str]) -> Result<String, BenchError> {
    Ok(format!(
        "---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: {}\n\
         allow: [writable_executable]\njwt: {{audiences: {}}}\n",
        serde_json::to_string(selectors)?,
        serde_json::to_string(audiences)?
    ))
}

fn as_words<S: serde::Serializer>(kinds: &[SelectorKind], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(kinds.iter().map(ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(selectors: &[SelectorKind], against: bool) -> Setting {
        let against = against.then(|| Against { socket: "other".into(), audience: "x".to_owned() });
        Setting { plan: Plan::quick(1), selectors: selectors.to_vec(), against }
    }

    #[test]
    fn the_entry_demands_what_was_asked_for() {
        let text = setting(&[SelectorKind::UnixUid, SelectorKind::UnixPath], false).entry(&["a", "stock/*"]).unwrap();
        let domain = "example.org".parse().ok();
        let entries = countersign_common::entry::parse_entries("entry", &text, domain.as_ref()).unwrap();
        assert_eq!(entries[0].selectors.len(), 2);
        assert!(setting(&[SelectorKind::UnixUser], false).entry(&["a"]).is_err());
    }

    #[test]
    fn everybody_begins_in_turn() {
        let firsts = |against| -> Vec<Subject> {
            (0..3).filter_map(|round| setting(&[], against).turns(round).first().copied()).collect()
        };
        assert_eq!(firsts(false), [Subject::Ours, Subject::Floor, Subject::Ours]);
        assert_eq!(firsts(true), [Subject::Ours, Subject::Floor, Subject::Theirs]);
        assert_eq!(setting(&[], true).turns(2).len(), 3);
    }
}
