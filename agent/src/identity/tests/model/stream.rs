//! Open streams as processes hold them, and what has to hold of each.

use std::sync::{Arc, Mutex};

use tokio::task::AbortHandle;
use tokio_stream::StreamExt as _;

use super::document::{Fault, Leaf, Said, hold};
use super::entry::Terms;
use super::expectation::{Model, Process, facts};
use super::step::Subject;
use crate::authority::embedded::Kind;
use crate::identity::{MessageStream, Refusal};
use countersign_common::bundle::BundleSet;

/// How many messages a stream may say about one step.
const FLOOD: usize = 8;

/// What a process read of a stream.
#[derive(Default)]
struct Heard {
    /// Not looked at yet.
    news: Vec<Said>,
    end: Option<Option<Refusal>>,
}

/// An open stream and the process that reads it.
pub(super) struct Stream {
    process: Process,
    subject: Subject,
    heard: Arc<Mutex<Heard>>,
    reader: AbortHandle,
    last: Option<Said>,
    /// Messages since the last step.
    said: usize,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Stream {
    /// Reads `messages` as they come, as a client does.
    pub(super) fn read<M: Into<Said> + Send + 'static>(
        process: Process,
        subject: Subject,
        mut messages: MessageStream<M>,
    ) -> Self {
        let heard = Arc::<Mutex<Heard>>::default();
        let to = Arc::clone(&heard);
        let reading = tokio::spawn(async move {
            while let Some(next) = messages.next().await {
                match next {
                    Ok(message) => to.lock().unwrap().news.push(message.into()),
                    Err(refusal) => to.lock().unwrap().end = Some(Some(refusal)),
                }
            }
            to.lock().unwrap().end.get_or_insert(None);
        });
        Self { process, subject, heard, reader: reading.abort_handle(), last: None, said: 0 }
    }

    pub(super) fn process(&self) -> Process {
        self.process
    }

    pub(super) fn begin_step(&mut self) {
        self.said = 0;
    }

    /// Takes what was said since, each message on its own.
    ///
    /// # Errors
    /// A message that must never have been said, whatever came after it.
    pub(super) fn listen(&mut self, model: &mut Model) -> Result<(), Fault> {
        let news = std::mem::take(&mut self.heard.lock().unwrap().news);
        self.said += news.len();
        hold(self.said <= FLOOD, || format!("{} messages about one step", self.said))?;
        for said in news {
            let leaves = said.leaves.as_ref().ok_or("a leaf cannot be read")?;
            hold((self.subject == Subject::X509Svids) != leaves.is_empty(), || "leaves of none".to_owned())?;
            for leaf in leaves {
                hold(model.is_new_leaf(&leaf.serial, &leaf.key), || format!("leaf {} is not new", leaf.serial))?;
                hold(leaf.issued() == model.now, || format!("{leaf:?} was not made at {}", model.now))?;
                hold(leaf.is_in_its_time(model.now), || format!("{leaf:?} is not valid at {}", model.now))?;
                model.rings.signed(Kind::X509, &leaf.authority, leaf.issued(), leaf.not_after)?;
            }
            self.last = Some(said);
            model.count("messages");
        }
        Ok(())
    }

    /// Whether it is over, and rightly.
    ///
    /// # Errors
    /// It should go on, or should have ended, or not so; or what it said last is not what holds now.
    pub(super) fn check(&self, model: &Model, shown: &BundleSet, is_alive: bool) -> Result<bool, Fault> {
        let heard = self.heard.lock().unwrap();
        let entitling = model.entitling(self.process);
        let can_sign = self.subject != Subject::X509Svids || model.can_sign(Kind::X509);
        let last = self.last.as_ref().ok_or("no message")?;
        let leaves = last.leaves.as_deref().unwrap_or_default();
        let is_valid = leaves.iter().all(|leaf| leaf.is_in_its_time(model.now));
        if let Some(end) = &heard.end {
            let right = match end {
                Some(Refusal::Exited) => !is_alive,
                Some(Refusal::NoEntry | Refusal::Policy(_)) => entitling.is_empty(),
                Some(Refusal::Authority(_)) => !can_sign && !is_valid,
                _ => false,
            };
            return hold(right, || format!("the stream ended: {:?}", end.as_ref().map(ToString::to_string)))
                .map(|()| true);
        }
        hold(is_alive && !entitling.is_empty(), || "the stream goes on".to_owned())?;
        hold(is_valid, || "the stream holds what is not valid".to_owned())?;
        if self.subject != Subject::X509Svids || model.is_settled() {
            self.check_last(last, &entitling, model, shown)?;
        }
        Ok(false)
    }

    /// What was said last is what is to be said now.
    fn check_last(&self, last: &Said, entitling: &[&Terms], model: &Model, shown: &BundleSet) -> Result<(), Fault> {
        let same = match self.subject {
            Subject::JwtBundles => last.own.jwt_authorities == shown.own.jwt_authorities,
            Subject::X509Svids | Subject::X509Bundles => last.own.x509_authorities == shown.own.x509_authorities,
        };
        hold(same, || "the own bundle is another one by now".to_owned())?;
        // Bundles of others have no X.509 authorities here: there it counts whose are given.
        let jwt = self.subject == Subject::JwtBundles;
        let told = last.foreign.iter().map(facts).map(|(of, (_, key))| (of, key));
        let set = model.federating(entitling);
        let same = told
            .map(|(of, key)| (of, key * u64::from(jwt)))
            .eq(set.iter().map(|(of, key)| (*of, key * u64::from(jwt))));
        hold(same, || format!("of others it has {:?}, and {set:?} is set", last.foreign))?;
        if self.subject != Subject::X509Svids {
            return Ok(());
        }
        let leaves = last.leaves.as_deref().unwrap_or_default();
        let ids = leaves.iter().map(|leaf| leaf.entry.as_str());
        hold(ids.eq(entitling.iter().map(|terms| terms.id)), || "leaves by other entries".to_owned())?;
        leaves.iter().zip(entitling).try_for_each(|(leaf, terms)| check_leaf(leaf, terms, model, shown))
    }
}

/// A leaf by an entry: its words, its end, whom it was signed by, and that it is not overdue.
fn check_leaf(leaf: &Leaf, terms: &Terms, model: &Model, shown: &BundleSet) -> Result<(), Fault> {
    let now = model.now;
    let same = |what: &str, holds: bool| hold(holds, || format!("{what} of {leaf:?} for {terms:?} at {now}"));
    same("subject", leaf.spiffe_id == terms.spiffe_id)?;
    same("DNS names", leaf.dns_names == terms.dns_names)?;
    same("end", leaf.not_after <= leaf.issued() + terms.x509_life())?;
    same("end", terms.expires.is_none_or(|expires| leaf.not_after < expires))?;
    same("authority", model.rings.is_good(Kind::X509, &leaf.authority))?;
    leaf.check(&shown.own, now)?;
    // Renewed after two to three fifths of its life, if there is one to come.
    let is_last = terms.expires == Some(leaf.not_after + 1);
    let late = leaf.issued() + (leaf.not_after - leaf.issued()) * 6 / 10 + 1;
    same("renewal", is_last || now <= late)
}
