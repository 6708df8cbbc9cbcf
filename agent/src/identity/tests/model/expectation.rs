//! What has to hold: the committed entries and bundles, the tokens that are about, and what each process
//! is owed by them. Plain maps; nothing here asks the agent's code what it decided.

use std::collections::{BTreeMap, BTreeSet};

use countersign_common::bundle::{Bundle, BundleSet};

use super::super::NOON;
use super::document::{Fault, Token, hold};
use super::entry::{Terms, Whose};
use super::rings::{Between, Rings};
use crate::authority::embedded::{AuthorityView, Kind};

/// A process, and a number that no other process ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) number: u64,
    pub(super) sleeps: bool,
}

/// What a token is for. Two requests that agree in this may be answered with one token.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Purpose {
    process: u64,
    entry: &'static str,
    spiffe_id: &'static str,
    audiences: Vec<&'static str>,
    life: u64,
    expires: Option<u64>,
}

#[derive(Debug)]
struct Issued {
    token: Token,
    purpose: Purpose,
    /// Whether it had expired once, or the clock was set back to before its issue: nobody is promised
    /// then that it can be checked, whatever the clock shows later.
    is_over: bool,
    /// Whether the agent has it still, for as long as nothing took its place.
    is_held: bool,
}

/// The agent, as it has to be.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: u64,
    pub(super) revision: u64,
    pub(super) entries: BTreeMap<&'static str, Terms>,
    /// Sequence and key of each.
    foreign: BTreeMap<&'static str, (u64, u64)>,
    pub(super) rings: Rings,
    tokens: Vec<Issued>,
    /// Serial numbers and private keys of leaves.
    leaves: BTreeSet<String>,
    keys: BTreeSet<Vec<u8>>,
    pub(super) signing_fails: bool,
    pub(super) is_full: bool,
    /// When no leaf could be signed: streams that wanted one then try again after a pause.
    failed: Option<u64>,
    pub(super) tally: BTreeMap<&'static str, usize>,
}

/// The longest pause after a failure.
const LONGEST_PAUSE: u64 = 300;

impl Model {
    pub(super) fn new() -> Self {
        Self {
            now: NOON,
            revision: 0,
            entries: BTreeMap::new(),
            foreign: BTreeMap::new(),
            rings: Rings::default(),
            tokens: Vec::new(),
            leaves: BTreeSet::new(),
            keys: BTreeSet::new(),
            signing_fails: false,
            is_full: false,
            failed: None,
            tally: BTreeMap::new(),
        }
    }

    fn commit(&mut self, entries: BTreeMap<&'static str, Terms>) {
        self.revision += u64::from(entries != self.entries);
        self.entries = entries;
    }

    pub(super) fn apply(&mut self, entries: &[Terms], prune: bool) {
        let mut after = if prune { BTreeMap::new() } else { self.entries.clone() };
        after.extend(entries.iter().map(|terms| (terms.id, terms.clone())));
        self.commit(after);
    }

    /// Whether there was such an entry.
    pub(super) fn delete(&mut self, id: &str) -> bool {
        let mut after = self.entries.clone();
        let there = after.remove(id).is_some();
        self.commit(after);
        there
    }

    /// Whether the bundle is taken.
    pub(super) fn set_bundle(&mut self, of: &'static str, sequence: u64, key: u64, force: bool) -> bool {
        let taken = match self.foreign.get(of) {
            Some(set) => *set == (sequence, key) || force || set.0 < sequence,
            None => true,
        };
        if taken {
            self.foreign.insert(of, (sequence, key));
        }
        taken
    }

    /// Whether there was one.
    pub(super) fn delete_bundle(&mut self, of: &str) -> bool {
        self.foreign.remove(of).is_some()
    }

    pub(super) fn set_clock(&mut self, now: u64) {
        self.now = now;
        self.rings.forget(now);
        let is_over = |token: &Token| now < token.iat || token.exp <= now;
        self.tokens.iter_mut().for_each(|issued| issued.is_over |= is_over(&issued.token));
    }

    /// When the latest token is in the last quarter of its life; now if that is over.
    pub(super) fn late(&self) -> u64 {
        let late = self.tokens.last().map(|Issued { token, .. }| token.exp - (token.exp - token.iat) / 4);
        late.unwrap_or(0).max(self.now)
    }

    /// What an agent keeps in memory alone is gone.
    pub(super) fn restarted(&mut self) {
        self.tokens.iter_mut().for_each(|issued| issued.is_held = false);
        (self.signing_fails, self.is_full, self.failed) = (false, false, None);
    }

    pub(super) fn can_sign(&self, kind: Kind) -> bool {
        !self.signing_fails && (!self.is_full || self.rings.is_in_time(kind, self.now))
    }

    /// Whether streams have to have said by now what there is to say.
    pub(super) fn is_settled(&self) -> bool {
        let is_over = |at: u64| self.now < at || at + LONGEST_PAUSE < self.now;
        self.can_sign(Kind::X509) && self.failed.is_none_or(is_over)
    }

    /// The entries that a process is entitled by.
    pub(super) fn entitling(&self, process: Process) -> Vec<&Terms> {
        let means = |terms: &&Terms| match terms.whose {
            Whose::Everybody => true,
            Whose::Sleepers => process.sleeps,
            Whose::Nobody => false,
        };
        self.entries.values().filter(|terms| terms.is_in_force(self.now)).filter(means).collect()
    }

    /// What tokens a request is to be answered with: one an identity, by the first entry that allows it.
    fn owed(&self, process: Process, audiences: &[&'static str], spiffe_id: Option<&str>) -> Vec<Purpose> {
        let mut asked: Vec<&'static str> = Vec::new();
        for audience in audiences {
            if !asked.contains(audience) {
                asked.push(audience);
            }
        }
        let mut owed: Vec<Purpose> = Vec::new();
        for terms in self.entitling(process) {
            let wanted = spiffe_id.is_none_or(|id| id == terms.spiffe_id);
            let is_new = owed.iter().all(|other| other.spiffe_id != terms.spiffe_id);
            if let Some(life) = terms.life_for(&asked).filter(|_| wanted && is_new) {
                let (entry, spiffe_id, expires) = (terms.id, terms.spiffe_id, terms.expires);
                let audiences = asked.clone();
                owed.push(Purpose { process: process.number, entry, spiffe_id, audiences, life, expires });
            }
        }
        owed
    }

    /// The token that serves this purpose without a new signature.
    fn standing_in(&self, purpose: &Purpose) -> Option<&Issued> {
        let held = self.tokens.iter().rev().find(|issued| issued.is_held && issued.purpose == *purpose)?;
        let token = &held.token;
        let valid = token.nbf <= self.now && self.now < token.exp && self.rings.is_good(Kind::Jwt, &token.kid);
        valid.then_some(held)
    }

    /// Holds an answer against what was owed. Without one, whether it is the agent that cannot.
    pub(super) fn fetched(
        &mut self,
        process: Process,
        (audiences, spiffe_id): (&[&'static str], Option<&str>),
        answer: Result<Vec<Token>, bool>,
    ) -> Result<(), Fault> {
        let owed = self.owed(process, audiences, spiffe_id);
        let can_sign = self.can_sign(Kind::Jwt);
        let can = can_sign || owed.iter().all(|purpose| self.standing_in(purpose).is_some());
        let tokens = match answer {
            Ok(tokens) => tokens,
            Err(agent) => {
                let right = owed.is_empty() && !agent || !can && agent;
                self.count(if agent { "tokens that could not be signed" } else { "tokens refused" });
                return hold(right, || format!("refused, and owed were {owed:?}; the agent can: {can}"));
            }
        };
        hold(!owed.is_empty() && owed.len() == tokens.len(), || format!("{} tokens for {owed:?}", tokens.len()))?;
        for (purpose, token) in owed.into_iter().zip(tokens) {
            self.take(purpose, token, can_sign)?;
        }
        Ok(())
    }

    /// One token for one purpose: a new one, or one that this very process had for it and is fresh.
    fn take(&mut self, purpose: Purpose, token: Token, can_sign: bool) -> Result<(), Fault> {
        let now = self.now;
        let same = |what: &str, holds: bool| hold(holds, || format!("{what} of {token:?} for {purpose:?} at {now}"));
        same("subject", token.sub == purpose.spiffe_id)?;
        same("audience", token.aud == purpose.audiences)?;
        same("time", token.nbf <= now && now < token.exp)?;
        same("expiry", token.exp <= token.iat + purpose.life)?;
        same("expiry", purpose.expires.is_none_or(|expires| token.exp <= expires))?;
        same("key", self.rings.is_good(Kind::Jwt, &token.kid))?;
        let known = self.tokens.iter().find(|issued| issued.token.jti == token.jti || issued.token.text == token.text);
        if let Some(known) = known {
            let whole = known.token.jti == token.jti && known.token.text == token.text;
            same("bytes of another", whole && known.purpose == purpose)?;
            let is_fresh = token.iat <= now && now < token.iat + (token.exp - token.iat) / 2;
            same("freshness", !can_sign || is_fresh)?;
            self.count(if is_fresh { "tokens again" } else { "tokens that stood in" });
            return Ok(());
        }
        same("time of issue", token.iat == now && token.nbf == now)?;
        hold(can_sign, || "signed, and nothing could sign".to_owned())?;
        self.count("tokens");
        self.rings.signed(Kind::Jwt, &token.kid, token.iat, token.exp)?;
        self.tokens.iter_mut().filter(|issued| issued.purpose == purpose).for_each(|issued| issued.is_held = false);
        self.tokens.push(Issued { token, purpose, is_over: false, is_held: true });
        Ok(())
    }

    /// A serial number and a private key that nobody had before.
    pub(super) fn is_new_leaf(&mut self, serial: &str, key: &[u8]) -> bool {
        self.leaves.insert(serial.to_owned()) && self.keys.insert(key.to_owned())
    }

    /// Looks at keys, bundles and revision as they are shown.
    pub(super) fn see(&mut self, view: &AuthorityView, bundles: &BundleSet, between: &Between) -> Result<(), Fault> {
        self.rings.see(view, bundles, self.now, between, self.is_full)?;
        if !self.can_sign(Kind::X509) {
            self.failed = Some(self.now);
        } else if self.is_settled() {
            self.failed = None;
        }
        let shown: BTreeMap<_, _> = bundles.foreign.values().map(|bundle| facts(bundle)).collect();
        let same = shown.iter().map(|(of, fact)| (*of, fact)).eq(self.foreign.iter().map(|(of, fact)| (*of, fact)));
        hold(same, || format!("of others {shown:?} is shown, and {:?} is set", self.foreign))?;
        for Issued { token, is_over, .. } in &self.tokens {
            if *is_over {
                continue;
            }
            let checked = token.check(&bundles.own, self.now);
            match (self.rings.is_revoked(Kind::Jwt, &token.kid), checked) {
                (false, checked) => checked?,
                (true, Ok(())) => return Err(format!("token {} of a revoked key is taken", token.jti)),
                (true, Err(_)) => {}
            }
        }
        Ok(())
    }

    /// Which of the trust domains that these entries federate with have a bundle, and its key.
    pub(super) fn federating(&self, entries: &[&Terms]) -> BTreeMap<&'static str, u64> {
        let wanted: BTreeSet<_> = entries.iter().flat_map(|terms| terms.federates_with.iter().copied()).collect();
        wanted.into_iter().filter_map(|of| self.foreign.get(of).map(|(_, key)| (of, *key))).collect()
    }

    /// Notes that something came about, so that it can be told whether chance was at work.
    pub(super) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }
}

/// Whose a bundle is, its sequence, and the name of its one key.
pub(super) fn facts(bundle: &Bundle) -> (&str, (u64, u64)) {
    let key = bundle.jwt_authorities.first().and_then(|key| key.kid.parse().ok());
    (bundle.trust_domain.as_str(), (bundle.sequence, key.unwrap_or(u64::MAX)))
}
