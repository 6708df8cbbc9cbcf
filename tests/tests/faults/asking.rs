//! Faults that an agent meets while an operator or a workload asks: it is done, or refused and the next
//! one is served, and what was answered is found again.

use countersign_tests::{Answer, until};

use crate::bed::{Bed, COPY};
use crate::injection::Injection;
use crate::sweep::{Case, Play};
use crate::table::{During, KILLED, Seen};

/// An agent that is asked under a fault, then without one.
pub(crate) struct Asking {
    pub(crate) bed: Bed,
}

/// What becomes of the agent after the fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// It is asked again, and killed later.
    GoesOn,
    /// It is killed at that moment.
    IsKilled,
}

impl Play for Asking {
    fn bed(&self) -> &Bed {
        &self.bed
    }

    async fn play(&mut self, case: &Case) -> Option<Seen> {
        let seen = self.play_until(case, Then::GoesOn).await?;
        if seen == Seen::Refused {
            let again = self.play_until(case, Then::IsKilled).await;
            assert_eq!(again, Some(seen), "{case:?}: the second time");
        }
        Some(seen)
    }
}

impl Asking {
    async fn play_until(&mut self, case: &Case, then: Then) -> Option<Seen> {
        self.bed.rewind();
        self.bed.agent.restart().await;
        self.bed.workload.say("reconnect").await;
        let injection = Injection::into(self.bed.agent.pid(), &case.fault, &self.bed.log_of_strace()).await;
        let seen = self.act(case.during, case.fault.error == KILLED).await;
        let is_met = injection.end().await;
        if !is_met && seen != Seen::Killed {
            return None;
        }
        if then == Then::GoesOn && seen != Seen::Killed {
            self.check(case, seen).await;
            if seen != Seen::Done {
                // The same process, and no hand but the one that took the fault away.
                assert_eq!(self.act(case.during, false).await, Seen::Done, "{case:?}: without the fault");
            }
            self.check(case, Seen::Done).await;
            self.bed.agent.restart().await;
            self.check(case, Seen::Done).await;
        } else {
            self.bed.agent.restart().await;
            self.check(case, seen).await;
        }
        Some(seen)
    }

    /// Asks for what the agent is to do; what came of it.
    async fn act(&mut self, during: During, is_killed: bool) -> Seen {
        let arguments: &[&str] = match during {
            During::Apply => &["entry", "apply", "after"],
            During::Prepare => &["authority", "prepare"],
            During::Activate => &["authority", "activate"],
            During::Backup => &["backup", COPY],
            During::Issue => return seen_by_workload(&self.bed.workload.ask("fetch billing").await),
            During::FirstStart | During::Restart => panic!("{during} is no request"),
        };
        // A copy of an earlier case would be refused.
        let _ = std::fs::remove_file(self.bed.agent.folder().join(COPY));
        let answered = self.bed.ask(arguments);
        if answered.is_done {
            return Seen::Done;
        }
        if is_killed {
            until("the agent to be gone", || self.bed.agent.ended()).await;
            return Seen::Killed;
        }
        assert!(
            answered.said.contains("cannot ") || answered.said.contains("failed"),
            "{arguments:?}: {}",
            answered.said
        );
        Seen::Refused
    }

    /// Holds what is there against what was answered.
    async fn check(&mut self, case: &Case, seen: Seen) {
        let held = self.bed.held();
        match (case.during, seen) {
            (During::Apply, Seen::Done) => assert_eq!(held, "after", "{case:?}: what was answered is lost"),
            (During::Apply, _) => assert!(held == "before" || held == "after", "{case:?}: {held}"),
            _ => assert_eq!(held, "before", "{case:?}"),
        }
        self.bed.check_keys(matches!(case.during, During::Prepare | During::Activate)).await;
        if seen == Seen::Done {
            match case.during {
                During::Prepare => assert!(self.bed.has_key_in("prepared"), "{case:?}: the new key is lost"),
                During::Activate => assert!(self.bed.has_key_in("retiring"), "{case:?}: the old key signs again"),
                During::Backup => self.bed.check_copy().await,
                _ => {}
            }
        }
    }
}

fn seen_by_workload(answer: &Answer) -> Seen {
    match answer.code() {
        "Ok" => Seen::Done,
        "Unavailable" => Seen::Refused,
        other => panic!("{other}: {answer:?}"),
    }
}
