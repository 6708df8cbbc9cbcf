//! Plays steps on the real parts, tells the model what was done, and holds the one against the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use countersign_common::entry::{Entry, EntryId, parse_entries};
use countersign_common::spiffe_id::TrustDomain;

use super::document::{Fault, hold};
use super::entry::Terms;
use super::expectation::Model;
use super::rings::{Between, Hand};
use super::step::{Step, Subject};
use super::stream::Stream;
use super::world::World;
use crate::authority::embedded::Kind;
use crate::identity::Fault as Whose;

/// How long what has to come about may take; what holds at once does not wait for it.
const LIMIT: Duration = Duration::from_secs(30);

/// Longer than any part of the agent sleeps before it looks at the clock again, by its timers, which
/// here run ahead as soon as everybody waits.
const LONG: Duration = Duration::from_secs(61);

/// One round.
pub(super) struct Play {
    world: World,
    model: Model,
    streams: BTreeMap<(usize, Subject), Stream>,
}

async fn let_time_pass(time: Duration) {
    let never = tokio::time::timeout(time, std::future::pending::<()>()).await;
    never.expect_err("time passes");
}

impl Play {
    pub(super) async fn begin() -> Result<Self, Fault> {
        let mut play = Self { world: World::start().await, model: Model::new(), streams: BTreeMap::new() };
        play.settle(&Between { is_moved: true, ..Between::default() }).await?;
        Ok(play)
    }

    /// What came about, and how often.
    pub(super) fn tally(self) -> BTreeMap<&'static str, usize> {
        self.model.tally
    }

    /// One step, and then everything that has to hold.
    pub(super) async fn take(&mut self, step: &Step) -> Result<(), Fault> {
        self.streams.values_mut().for_each(Stream::begin_step);
        let mut between = Between::default();
        match step {
            Step::Forward(_)
            | Step::Back(_)
            | Step::Late
            | Step::Eve(_)
            | Step::Signing(_)
            | Step::Disk(_)
            | Step::Restart(_) => {
                between.is_moved = self.change_machine(step).await;
            }
            Step::Prepare(kinds) => between.hand = self.lay_hand_on(Hand::Prepare(kinds)).await?,
            Step::Activate(kinds) => between.hand = self.lay_hand_on(Hand::Activate(kinds)).await?,
            Step::Taint(kind, which) => {
                let name = self.model.rings.name(*kind, *which);
                between.hand = self.lay_hand_on(Hand::Taint(*kind, name)).await?;
            }
            Step::Revoke(kind, which) => {
                let name = self.model.rings.name(*kind, *which);
                between.hand = self.lay_hand_on(Hand::Revoke(*kind, name)).await?;
            }
            Step::Apply { .. } | Step::Delete(_) | Step::SetBundle { .. } | Step::DeleteBundle(_) => {
                self.change_records(step).await?;
            }
            Step::Fetch { process, audiences, spiffe_id, times } => {
                for _ in 0..*times {
                    let answer = self.world.fetch(*process, audiences, *spiffe_id).await;
                    self.model.fetched(self.world.process(*process), (audiences, *spiffe_id), answer)?;
                }
            }
            Step::Open(place, subject) => self.open(*place, *subject).await?,
            Step::Close(place, subject) => drop(self.streams.remove(&(*place, *subject))),
            Step::Replace(place) => self.world.replace(*place),
        }
        self.settle(&between).await
    }

    /// The clock, the faults, the agent itself. Whether the keys have reason to move.
    async fn change_machine(&mut self, step: &Step) -> bool {
        match step {
            Step::Forward(seconds) => self.set_clock(self.model.now + seconds),
            Step::Back(seconds) => self.set_clock(self.model.now - seconds),
            Step::Late => self.set_clock(self.model.late()),
            Step::Eve(seconds) => {
                let ends = self.model.entries.values().filter_map(|terms| terms.expires);
                let eve = ends.map(|end| end - seconds).filter(|eve| self.model.now < *eve).min();
                self.set_clock(eve.unwrap_or(self.model.now));
            }
            Step::Signing(works) => {
                self.world.set_signing(*works);
                self.model.signing_fails = !works;
                return false;
            }
            Step::Disk(has_room) => {
                self.world.set_disk(*has_room);
                self.model.is_full = !has_room;
            }
            Step::Restart(end) => {
                let was_full = self.model.is_full;
                self.streams.clear();
                self.world.restart(*end).await;
                self.model.restarted();
                return was_full;
            }
            _ => unreachable!("another kind of step"),
        }
        true
    }

    /// A leaf ends a second before its entry does: in the second between there is none to be had.
    fn set_clock(&mut self, now: u64) {
        let now = if (now + 1).is_multiple_of(24 * 3600) { now + 1 } else { now };
        self.world.set_clock(now);
        self.model.set_clock(now);
    }

    /// Entries, and bundles of other trust domains.
    async fn change_records(&mut self, step: &Step) -> Result<(), Fault> {
        let store = self.world.store();
        let parse = |name: &str| TrustDomain::parse(name).unwrap();
        let (done, allowed) = match step {
            Step::Apply { entries, prune } => {
                let text: String = entries.iter().map(Terms::yaml).collect();
                self.model.apply(entries, *prune);
                (self.world.apply(&text, *prune).await.map(drop), true)
            }
            Step::Delete(id) => {
                (store.delete(vec![EntryId::parse(id).unwrap()]).await.map(drop), self.model.delete(id))
            }
            Step::SetBundle { of, sequence, key, force } => {
                let document = bundle_document(*sequence, *key);
                let set = store.set_bundle(parse(of), document, *force, false).await;
                (set.map(drop), self.model.set_bundle(of, *sequence, *key, *force))
            }
            Step::DeleteBundle(of) => {
                (store.delete_bundle(parse(of), false).await.map(drop), self.model.delete_bundle(of))
            }
            _ => unreachable!("another kind of step"),
        };
        hold(done.is_ok() == allowed, || format!("allowed: {allowed}, and it came to {done:?}"))?;
        self.world.is_published(self.model.revision).await;
        Ok(())
    }

    /// What an operator does to the keys; none if that is refused, rightly.
    async fn lay_hand_on(&mut self, hand: Hand) -> Result<Option<Hand>, Fault> {
        let authority = self.world.authority();
        let done = match &hand {
            Hand::Prepare(kinds) => authority.prepare(kinds).await,
            Hand::Activate(kinds) => authority.activate(kinds).await,
            Hand::Taint(_, id) => authority.taint(id.clone()).await,
            Hand::Revoke(_, id) => authority.revoke(id.clone()).await,
        };
        let allowed = self.model.rings.allow(&hand) && !self.model.is_full;
        hold(done.is_ok() == allowed, || format!("allowed: {allowed}, and it came to {:?}", done.as_ref().err()))?;
        self.model.count(if allowed { "hands" } else { "hands stayed" });
        Ok(allowed.then_some(hand))
    }

    async fn open(&mut self, place: usize, subject: Subject) -> Result<(), Fault> {
        let entitled = !self.model.entitling(self.world.process(place)).is_empty();
        let can = subject != Subject::X509Svids || self.model.can_sign(Kind::X509);
        match self.world.open(place, subject).await {
            Ok(stream) => {
                hold(entitled && can, || "a stream for nothing".to_owned())?;
                self.streams.insert((place, subject), stream);
                Ok(())
            }
            Err(refusal) => {
                let right = if entitled { !can } else { refusal.fault() == Whose::Caller };
                hold(right, || format!("no stream: {refusal}"))
            }
        }
    }

    /// Waits until everybody has been told, and looks at everything.
    async fn settle(&mut self, between: &Between) -> Result<(), Fault> {
        // After a failure the authority rests for a moment, whoever asks.
        tokio::time::advance(Duration::from_secs(6)).await;
        let moved = self.world.authority().move_on().await;
        hold(moved.is_ok() || self.model.is_full, || "the keys do not move on".to_owned())?;
        let_time_pass(Duration::from_secs(1)).await;
        let (view, bundles) = self.world.shown().await;
        self.model.see(&view, &bundles, between)?;
        self.check_entries()?;
        let until = Instant::now() + LIMIT;
        loop {
            let_time_pass(LONG).await;
            let mut over = Vec::new();
            let mut fault = None;
            for (place, stream) in &mut self.streams {
                let in_words = |fault| format!("stream {place:?}: {fault}");
                stream.listen(&mut self.model).map_err(in_words)?;
                let is_alive = self.world.is_alive(stream.process());
                match stream.check(&self.model, &bundles, is_alive) {
                    Ok(is_over) => over.extend(is_over.then_some(*place)),
                    Err(found) => fault = Some(in_words(found)),
                }
            }
            for place in over {
                self.streams.remove(&place);
                self.model.count("streams ended");
            }
            match fault {
                None => return Ok(()),
                Some(fault) if until < Instant::now() => return Err(fault),
                Some(_) => {}
            }
        }
    }

    /// The entries are those that were committed, with every word.
    fn check_entries(&self) -> Result<(), Fault> {
        let (shown, wanted) = (self.world.entries(), &self.model.entries);
        let text: String = wanted.values().map(Terms::yaml).collect();
        let wanted = parse_entries("model", &text, None).map_err(|problems| format!("{problems:?}"))?;
        let same = shown.entries.iter().map(|entry| Entry::clone(entry)).eq(wanted);
        hold(same, || format!("the entries are {:?}", shown.entries))?;
        let (is, wanted) = (shown.revision, self.model.revision);
        hold(is == wanted, || format!("revision {is}, and it is to be {wanted}"))
    }
}

/// A bundle of another trust domain, with one key of this name.
fn bundle_document(sequence: u64, key: u64) -> String {
    format!(
        r#"{{"spiffe_sequence": {sequence}, "keys": [{{"use": "jwt-svid", "kty": "EC", "crv": "P-256", "kid": "{key}",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}]}}"#
    )
}
