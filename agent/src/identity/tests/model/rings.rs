//! What has to hold of the authority's keys from one look to the next, whatever its schedule is.

use std::collections::BTreeSet;

use countersign_common::bundle::{Bundle, BundleSet};
use countersign_common::svid::x509;

use super::document::{Fault, hold};
use super::step::Which;
use crate::authority::embedded::{AuthorityView, KeyState, KeyView, Kind};

const KEY_LIFE: u64 = 24 * 3600;
const LONGEST_DOCUMENT: u64 = 3600;
const MOST_TO_PREPARE: usize = 8;
const MOST_TO_TAINT: usize = 32;

/// One key, as it was seen last.
#[derive(Clone, Debug)]
struct Key {
    id: String,
    state: KeyState,
    /// Since when it signs, if it does.
    since: u64,
    /// The last moment of its certificate, if it has one.
    until: Option<u64>,
    /// What it signed: from when until when each is valid.
    documents: Vec<(u64, u64)>,
}

/// What an operator asks the authority for.
#[derive(Clone, Debug)]
pub(super) enum Hand {
    Prepare(&'static [Kind]),
    Activate(&'static [Kind]),
    Taint(Kind, String),
    Revoke(Kind, String),
}

/// What may have changed keys since the last look.
#[derive(Debug, Default)]
pub(super) struct Between {
    /// What an operator did, if it was done.
    pub(super) hand: Option<Hand>,
    /// The schedule had reason to move: another time, or room on the disk.
    pub(super) is_moved: bool,
}

/// Both rings and what they publish, as they were seen last.
#[derive(Debug, Default)]
pub(super) struct Rings {
    keys: [Vec<Key>; 2],
    sequence: u64,
    published: Vec<String>,
}

fn place(kind: Kind) -> usize {
    usize::from(kind == Kind::X509)
}

/// States in the order in which a key goes through them; it never goes back.
fn rank(state: KeyState) -> u8 {
    match state {
        KeyState::Prepared => 0,
        KeyState::Active => 1,
        KeyState::Retiring => 2,
        KeyState::Tainted => 3,
        KeyState::Revoked => 4,
    }
}

impl Key {
    /// When everything that it signs has expired.
    fn end(&self) -> u64 {
        let planned = self.since + KEY_LIFE + LONGEST_DOCUMENT;
        self.until.map_or(planned, |until| planned.min(until))
    }
}

impl Rings {
    fn of(&self, kind: Kind) -> &[Key] {
        &self.keys[place(kind)]
    }

    fn in_state(&self, kind: Kind, state: KeyState) -> impl Iterator<Item = &Key> {
        self.of(kind).iter().filter(move |key| key.state == state)
    }

    /// The name of a key.
    pub(super) fn name(&self, kind: Kind, which: Which) -> String {
        let keys = self.of(kind);
        let first = |state| keys.iter().position(|key| key.state == state);
        let number = match which {
            Which::Number(number) => Some(number % keys.len()),
            Which::Active => first(KeyState::Active),
            Which::Tainted => first(KeyState::Tainted).or(first(KeyState::Active)),
        };
        keys[number.unwrap_or(0)].id.clone()
    }

    /// Whether an operator may have this, on a disk with room.
    pub(super) fn allow(&self, hand: &Hand) -> bool {
        let prepared = |kind| self.in_state(kind, KeyState::Prepared).count();
        let state = |kind, id: &String| self.of(kind).iter().find(|key| key.id == *id).map(|key| key.state);
        match hand {
            Hand::Prepare(kinds) => {
                kinds.iter().all(|kind| prepared(*kind) == 0 && self.of(*kind).len() < MOST_TO_PREPARE)
            }
            Hand::Activate(kinds) => kinds.iter().all(|kind| prepared(*kind) == 1),
            Hand::Taint(kind, id) => {
                matches!(state(*kind, id), Some(KeyState::Active | KeyState::Retiring))
                    && self.of(*kind).len() < MOST_TO_TAINT
            }
            Hand::Revoke(kind, id) => {
                matches!(state(*kind, id), Some(KeyState::Prepared | KeyState::Retiring | KeyState::Tainted))
            }
        }
    }

    /// Whether the key that signed last may sign now, moved on or not.
    pub(super) fn is_in_time(&self, kind: Kind, now: u64) -> bool {
        self.in_state(kind, KeyState::Active).any(|key| key.since <= now && now < key.end())
    }

    /// Whether documents of this key may be handed out.
    pub(super) fn is_good(&self, kind: Kind, id: &str) -> bool {
        let good = |key: &Key| matches!(key.state, KeyState::Active | KeyState::Retiring);
        self.of(kind).iter().any(|key| key.id == id && good(key))
    }

    pub(super) fn is_revoked(&self, kind: Kind, id: &str) -> bool {
        self.in_state(kind, KeyState::Revoked).any(|key| key.id == id)
    }

    /// Notes a new document.
    ///
    /// # Errors
    /// Another key signs, or the document outlives this one.
    pub(super) fn signed(&mut self, kind: Kind, id: &str, from: u64, until: u64) -> Result<(), Fault> {
        let key = self.keys[place(kind)].iter_mut().find(|key| key.id == id);
        let key = key.ok_or_else(|| format!("{id} signed and is no key"))?;
        hold(key.state == KeyState::Active, || format!("{id} signed and is {}", key.state.name()))?;
        let end = key.end();
        hold(until <= end, || format!("a document until {until} of {id}, which ends at {end}"))?;
        key.documents.push((from, until));
        Ok(())
    }

    /// It is `now`, later or earlier than before: documents that have expired, or are not signed yet, hold no key.
    pub(super) fn forget(&mut self, now: u64) {
        let is_about = |(from, until): &(u64, u64)| *from <= now && now < *until;
        self.keys.iter_mut().flatten().for_each(|key| key.documents.retain(is_about));
    }

    /// Looks at the keys anew.
    pub(super) fn see(
        &mut self,
        view: &AuthorityView,
        bundles: &BundleSet,
        now: u64,
        between: &Between,
        is_full: bool,
    ) -> Result<(), Fault> {
        for kind in Kind::ALL {
            let old = std::mem::take(&mut self.keys[place(kind)]);
            let seen = &view.of_kind(kind).keys;
            for key in &old {
                let shown = seen.iter().find(|shown| shown.id == key.id);
                check_change(kind, key, shown, between)?;
            }
            let same = |shown: &KeyView| old.iter().find(|key| key.id == shown.id).cloned();
            for shown in seen.iter().filter(|shown| same(shown).is_none()) {
                let due = between.is_moved || between.hand.as_ref().is_some_and(|hand| hand.makes(kind));
                let is_young = matches!(shown.state, KeyState::Prepared | KeyState::Active);
                hold(due && is_young, || format!("{} came from nowhere and is {}", shown.id, shown.state.name()))?;
            }
            self.keys[place(kind)] = seen.iter().map(|shown| next(same(shown), shown, now, is_full)).collect();
            self.note_certificates(&bundles.own);
            let count = |state| self.in_state(kind, state).count();
            let (active, prepared) = (count(KeyState::Active), count(KeyState::Prepared));
            hold(active == 1 && prepared <= 1, || format!("{active} keys sign, {prepared} are prepared"))?;
            let current = self.in_state(kind, KeyState::Active).all(|key| now < key.since + KEY_LIFE);
            hold(current || is_full, || format!("a {} signs beyond its time", kind.name()))?;
        }
        self.check_published(bundles)?;
        between.hand.as_ref().map_or(Ok(()), |hand| self.check_done(hand))
    }

    fn note_certificates(&mut self, own: &Bundle) {
        for facts in own.x509_authorities.iter().filter_map(|certificate| x509::facts(certificate).ok()) {
            let key =
                self.keys[place(Kind::X509)].iter_mut().find(|key| facts.subject_key_id.as_ref() == Some(&key.id));
            key.into_iter().for_each(|key| key.until = Some(facts.not_after.seconds()));
        }
    }

    /// What an operator was told is done, is done.
    fn check_done(&self, hand: &Hand) -> Result<(), Fault> {
        let state = |kind, id: &String| self.of(kind).iter().find(|key| key.id == *id).map(|key| key.state);
        let done = match hand {
            Hand::Prepare(kinds) => kinds.iter().all(|kind| self.in_state(*kind, KeyState::Prepared).count() == 1),
            // Looked at as each key changed.
            Hand::Activate(_) => true,
            Hand::Taint(kind, id) => state(*kind, id) == Some(KeyState::Tainted),
            Hand::Revoke(kind, id) => matches!(state(*kind, id), None | Some(KeyState::Revoked)),
        };
        hold(done, || format!("{hand:?} was confirmed and is not done"))
    }

    /// The bundle has every key that is not revoked, and its sequence rises with each change.
    fn check_published(&mut self, bundles: &BundleSet) -> Result<(), Fault> {
        let wanted = |kind| self.of(kind).iter().filter(|key| key.state != KeyState::Revoked).map(|key| key.id.clone());
        let wanted: Vec<_> = wanted(Kind::Jwt).chain(wanted(Kind::X509)).collect();
        let published = names(&bundles.own);
        hold(wanted == published, || format!("the bundle has {published:?} and not {wanted:?}"))?;
        let bad = self.keys.iter().flatten().filter(|key| rank(key.state) >= rank(KeyState::Tainted));
        let bad: BTreeSet<_> = bad.map(|key| key.id.clone()).collect();
        hold(bad == bundles.tainted, || format!("{bad:?} are bad, and told are {:?}", bundles.tainted))?;
        let (before, sequence) = (self.sequence, bundles.own.sequence);
        let rises = published != self.published;
        hold(sequence >= before && (sequence > before) == rises, || {
            format!("the sequence went from {before} to {sequence}, with another content: {rises}")
        })?;
        let again = Bundle::parse(bundles.own.trust_domain.clone(), &bundles.own.to_spiffe_document());
        let mut own = Bundle::clone(&bundles.own);
        // A bundle document has no word for the algorithm.
        own.jwt_authorities.iter_mut().for_each(|key| key.algorithm = None);
        hold(again == Ok(own), || "the published document says something else".to_owned())?;
        (self.sequence, self.published) = (sequence, published);
        Ok(())
    }
}

impl Hand {
    /// Whether it may make a key of this kind.
    fn makes(&self, kind: Kind) -> bool {
        match self {
            Self::Prepare(kinds) | Self::Activate(kinds) => kinds.contains(&kind),
            Self::Taint(of, _) | Self::Revoke(of, _) => *of == kind,
        }
    }
}

fn names(bundle: &Bundle) -> Vec<String> {
    let key_id = |certificate| x509::facts(certificate).ok().and_then(|facts| facts.subject_key_id);
    let x509 = bundle.x509_authorities.iter().map(|certificate| key_id(certificate).unwrap_or_default());
    bundle.jwt_authorities.iter().map(|key| key.kid.clone()).chain(x509).collect()
}

/// The key as it is seen now. A clock that went back takes its beginning along once that is saved.
fn next(before: Option<Key>, shown: &KeyView, now: u64, is_full: bool) -> Key {
    let mut key = before.unwrap_or_else(|| Key {
        id: shown.id.clone(),
        state: KeyState::Prepared,
        since: now,
        until: None,
        documents: Vec::new(),
    });
    if key.state == KeyState::Prepared {
        key.since = now;
    }
    if !is_full {
        key.since = key.since.min(now);
    }
    Key { state: shown.state, ..key }
}

/// Whether a key may have become what it is shown as: forward only, gone only when nothing that it
/// signed is valid, tainted and revoked only by hand.
fn check_change(kind: Kind, key: &Key, shown: Option<&KeyView>, between: &Between) -> Result<(), Fault> {
    let hand = between.hand.as_ref();
    let is_done = |of: Kind, id: &String| of == kind && *id == key.id;
    let revoked = matches!(hand, Some(Hand::Revoke(of, id)) if is_done(*of, id));
    let tainted = matches!(hand, Some(Hand::Taint(of, id)) if is_done(*of, id));
    let stepped = between.is_moved || matches!(hand, Some(Hand::Activate(_) | Hand::Taint(..)));
    let Some(shown) = shown else {
        let over = key.documents.is_empty();
        let gone = if key.state == KeyState::Prepared { revoked || between.is_moved } else { between.is_moved && over };
        return hold(gone, || format!("{} was {} and is gone", key.id, key.state.name()));
    };
    let allowed = match shown.state {
        same if same == key.state => true,
        KeyState::Prepared => false,
        KeyState::Active | KeyState::Retiring => stepped,
        KeyState::Tainted => tainted,
        KeyState::Revoked => revoked,
    };
    let activated = matches!(hand, Some(Hand::Activate(kinds)) if kinds.contains(&kind));
    let forward = rank(shown.state) >= rank(key.state) && !(activated && shown.state == KeyState::Prepared);
    hold(allowed && forward, || format!("{} was {} and is {}", key.id, key.state.name(), shown.state.name()))
}
