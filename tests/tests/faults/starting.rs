//! Faults that an agent meets as it starts: it starts all the same or says why not, and the next start
//! finds everything.

use crate::bed::Bed;
use crate::injection::{take_away, was_met};
use crate::sweep::{Case, Play};
use crate::table::{During, KILLED, Seen};

/// One start with a fault, and one without.
pub(crate) struct Starting {
    pub(crate) bed: Bed,
}

impl Play for Starting {
    fn bed(&self) -> &Bed {
        &self.bed
    }

    async fn play(&mut self, case: &Case) -> Option<Seen> {
        let is_first = case.during == During::FirstStart;
        if is_first {
            self.bed.clear()
        } else {
            self.bed.rewind()
        }
        let log = self.bed.log_of_strace();
        let _ = std::fs::remove_file(&log);
        let before = self.bed.agent.log().len();
        let ended = self.bed.agent.restart_under(&case.fault.before_command(&log)).await;
        let said = self.bed.agent.log().split_off(before);
        let seen = match ended {
            None => {
                take_away(self.bed.agent.pid()).await;
                Seen::Done
            }
            Some(status) if status.code() == Some(1) && names_what_failed(&self.bed, &said) => Seen::Ended,
            Some(status) => {
                if case.fault.error != KILLED {
                    println!("{} {} {}: {status}: {said}", case.fault.call, case.fault.error, case.fault.when);
                }
                Seen::Killed
            }
        };
        let keys = (is_first && seen == Seen::Done).then(|| self.bed.shown_keys());
        if !is_first && seen == Seen::Done {
            assert_eq!(self.bed.held(), "before", "{case:?}");
        }
        self.bed.agent.kill();
        let is_met = was_met(&log) || (case.fault.error == KILLED && seen == Seen::Killed);
        if is_met {
            self.bed.agent.restart().await;
            if is_first {
                assert!(keys.is_none_or(|keys| keys == self.bed.shown_keys()), "{case:?}: other keys");
            } else {
                assert_eq!(self.bed.held(), "before", "{case:?}");
                self.bed.check_keys(false).await;
            }
        }
        is_met.then_some(seen)
    }
}

/// Whether what the agent said last is an error of ours that names something of this machine.
fn names_what_failed(bed: &Bed, said: &str) -> bool {
    let last = said.lines().last().unwrap_or_default();
    last.starts_with("countersign: ")
        && (last.contains(&bed.agent.folder().display().to_string()) || last.contains("cannot "))
}
