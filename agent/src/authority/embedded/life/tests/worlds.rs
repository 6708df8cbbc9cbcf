//! Both rings against random clocks, hands, terms and restarts.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::authority::embedded::rings::{BothTerms, Kind, Rings};

/// What happens between two looks at the rings.
#[derive(Clone, Debug)]
enum Happening {
    Forward(u64),
    Back(u64),
    PrepareByHand(Kind),
    ActivateByHand(Kind),
    Taint(Kind, prop::sample::Index),
    Revoke(Kind, prop::sample::Index),
    OtherAlgorithm,
    OtherIssuer,
    /// With leaves and tokens of up to this many minutes.
    Restart(u64),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Jwt), Just(Kind::X509)]
}

fn forward() -> impl Strategy<Value = Happening> {
    let any_key = any::<prop::sample::Index>;
    prop_oneof![
        16 => (0..4000_u64).prop_map(Happening::Forward),
        2 => (0..1_000_000_u64).prop_map(Happening::Forward),
        2 => kind().prop_map(Happening::PrepareByHand),
        2 => kind().prop_map(Happening::ActivateByHand),
        2 => (kind(), any_key()).prop_map(|(kind, key)| Happening::Taint(kind, key)),
        2 => (kind(), any_key()).prop_map(|(kind, key)| Happening::Revoke(kind, key)),
        1 => Just(Happening::OtherAlgorithm),
        1 => Just(Happening::OtherIssuer),
        1 => (1..240_u64).prop_map(Happening::Restart),
    ]
}

fn anything() -> impl Strategy<Value = Happening> {
    prop_oneof![5 => forward(), 1 => (0..1_000_000_u64).prop_map(Happening::Back)]
}

/// The rings, their clock and their terms while things happen to them.
struct World {
    rings: Rings,
    now: Timestamp,
    terms: BothTerms,
    made: u64,
    /// Keys that must not sign any more.
    bad: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let terms = BothTerms { jwt: terms(), x509: x509_terms(), refresh_hint: terms().refresh_hint };
        let rings = Rings::begin(START, terms.refresh_hint);
        let mut world = Self { rings, now: START, terms, made: 0, bad: BTreeSet::new() };
        world.settle();
        world
    }

    /// What the keeper does at each turn; the steps that it took.
    fn settle(&mut self) -> Vec<Step> {
        let mut taken = Vec::new();
        self.rings.adopt(&self.terms);
        for kind in Kind::ALL {
            let (ring, terms) = (self.rings.of_mut(kind), self.terms.of(kind));
            taken.extend(settle(ring, self.now, terms, &mut self.made));
        }
        taken
    }

    fn live_through(&mut self, happening: &Happening) -> Vec<Step> {
        let before = self.rings.clone();
        if let Happening::Forward(seconds) = happening {
            self.now = self.now.after(Duration::from_secs(*seconds));
        }
        let mut steps = self.settle();
        self.lay_hand_on(happening);
        steps.extend(self.settle());
        self.rings.count_change_since(&before);
        steps
    }

    fn lay_hand_on(&mut self, happening: &Happening) {
        let now = self.now;
        match happening {
            Happening::Forward(_) => {}
            Happening::Back(seconds) => self.now = before(now, Duration::from_secs(*seconds)),
            Happening::PrepareByHand(kind) => {
                let ring = self.rings.of_mut(*kind);
                if ring.prepared().is_none() && ring.keys.len() < 8 {
                    make(ring, now, self.terms.of(*kind), &mut self.made);
                }
            }
            Happening::ActivateByHand(kind) => {
                if self.rings.of(*kind).prepared().is_some() {
                    self.rings.of_mut(*kind).activate(now, self.terms.of(*kind));
                }
            }
            Happening::Taint(kind, key) => {
                let id = key.get(&self.rings.of(*kind).keys).id.clone();
                if self.rings.of(*kind).keys.len() < 32 && self.rings.of_mut(*kind).taint(&id, now) {
                    self.bad.insert(id);
                }
            }
            Happening::Revoke(kind, key) => {
                let id = key.get(&self.rings.of(*kind).keys).id.clone();
                if self.rings.of_mut(*kind).revoke(&id, now) {
                    self.bad.insert(id);
                }
            }
            Happening::OtherAlgorithm => {
                let is_es256 = self.terms.jwt.make == Make::Jwt(Algorithm::Es256);
                self.terms.jwt.make = Make::Jwt(if is_es256 { Algorithm::Rs256 } else { Algorithm::Es256 });
            }
            Happening::OtherIssuer => {
                let under = Make::Under { issuer: "i".to_owned(), root: "root".to_owned() };
                let is_self_signed = self.terms.x509.make == Make::SelfSigned;
                self.terms.x509.make = if is_self_signed { under } else { Make::SelfSigned };
            }
            Happening::Restart(minutes) => {
                self.rings = at_rest(&self.rings);
                for terms in [&mut self.terms.jwt, &mut self.terms.x509] {
                    terms.max_ttl = Duration::from_secs(60 * minutes);
                }
            }
        }
    }

    /// What the bundle holds, in its order.
    fn names(&self) -> Vec<String> {
        self.rings.published().into_iter().map(str::to_owned).collect()
    }
}

/// The rings after they were written down and read.
fn at_rest(rings: &Rings) -> Rings {
    let mut again = rings.clone();
    for kind in Kind::ALL {
        let text = serde_json::to_string(&rings.of(kind).keys).unwrap();
        again.of_mut(kind).keys = serde_json::from_str(&text).unwrap();
    }
    again
}

proptest! {
    #[test]
    fn each_ring_has_exactly_one_active_key_and_it_is_in_its_time(
        happenings in prop::collection::vec(anything(), 1..60),
    ) {
        let mut world = World::new();
        for happening in &happenings {
            world.live_through(happening);
            for kind in Kind::ALL {
                let (ring, terms, now) = (world.rings.of(kind), world.terms.of(kind), world.now);
                let is_active = |key: &&KeyRecord| matches!(key.phase, Phase::Active { .. });
                let active: Vec<_> = ring.keys.iter().filter(is_active).collect();
                prop_assert_eq!(active.len(), 1);
                let Phase::Active { since, .. } = active[0].phase else { unreachable!() };
                let end = active[0].must_stop_at(terms).unwrap();
                prop_assert!(since <= now && now < end && active[0].has_begun(now));
                prop_assert!(!world.bad.contains(&active[0].id), "it was tainted or revoked");
                prop_assert!(now.until(end) <= terms.key_life, "a key signs for its life and no longer");
                let is_announced = ring.prepared().is_some() || now.until(end) > terms.lead();
                prop_assert!(is_announced, "the next key is published ahead");
                let is_prepared = |key: &&KeyRecord| key.phase == Phase::Prepared;
                prop_assert!(ring.keys.iter().filter(is_prepared).count() <= 1);
                let names: BTreeSet<_> = ring.keys.iter().map(|key| &key.id).collect();
                prop_assert_eq!(names.len(), ring.keys.len());
                prop_assert!(ring.keys.len() <= 40);
                prop_assert!(pause(ring, now, terms).is_some_and(|pause| !pause.is_zero()));
            }
        }
    }

    #[test]
    fn a_key_is_published_until_its_last_document_has_expired_and_none_outlives_its_authority(
        happenings in prop::collection::vec(forward(), 1..60),
    ) {
        let mut world = World::new();
        let mut documents: Vec<(KeyRecord, Timestamp)> = Vec::new();
        for happening in &happenings {
            world.live_through(happening);
            let (published, revoked) = (world.names(), world.rings.tainted());
            documents.retain(|(_, expires)| *expires > world.now);
            for (key, expires) in &documents {
                let is_revoked = world.bad.contains(&key.id) && revoked.contains(&key.id);
                let is_known = key.published().is_some_and(|name| published.iter().any(|known| known == name));
                prop_assert!(is_known || is_revoked, "{key:?} signed until {expires} and it is {}", world.now);
            }
            for kind in Kind::ALL {
                let (ring, terms) = (world.rings.of(kind), world.terms.of(kind));
                let active = ring.active().unwrap();
                let Phase::Active { since, .. } = active.phase else { unreachable!() };
                // As the signers do it.
                let expires = world.now.after(terms.max_ttl).min(active.ends(since, terms));
                prop_assert!(active.validity.is_none_or(|validity| expires <= validity.until));
                documents.push((active.clone(), expires));
            }
        }
    }

    #[test]
    fn the_sequence_rises_with_every_change_of_what_is_published_and_never_falls(
        happenings in prop::collection::vec(anything(), 1..60),
    ) {
        let mut world = World::new();
        for happening in &happenings {
            let (before, sequence) = (world.names(), world.rings.sequence);
            world.live_through(happening);
            prop_assert!(world.rings.sequence >= sequence);
            prop_assert_eq!(world.rings.sequence > sequence, world.names() != before);
        }
    }

    #[test]
    fn without_jumps_and_hands_a_key_is_known_well_before_it_signs_and_the_longest_leaf_fits(
        pauses in prop::collection::vec(1..60_u64, 1..300),
        life in 7200..20_000_u64,
    ) {
        let mut world = World::new();
        (world.terms.jwt.key_life, world.terms.x509.key_life) = (Duration::from_secs(life), Duration::from_secs(life));
        for seconds in pauses {
            let before = world.rings.clone();
            world.live_through(&Happening::Forward(seconds * 10));
            for kind in Kind::ALL {
                let (active, terms) = (world.rings.of(kind).active().unwrap(), world.terms.of(kind));
                if before.of(kind).active().unwrap().id != active.id {
                    prop_assert!(before.of(kind).key(&active.id).is_some(), "it was published at the last look");
                    prop_assert!(active.created.until(world.now) + Duration::from_secs(600) >= terms.lead());
                }
                prop_assert!(world.now <= active.fits_until(terms));
            }
        }
    }

    #[test]
    fn rings_at_rest_are_the_same_rings(happenings in prop::collection::vec(anything(), 0..20)) {
        let mut world = World::new();
        happenings.iter().for_each(|happening| drop(world.live_through(happening)));
        prop_assert_eq!(at_rest(&world.rings), world.rings);
    }
}

#[test]
fn a_new_refresh_hint_is_a_new_bundle() {
    let mut world = World::new();
    let sequence = world.rings.sequence;
    world.settle();
    assert_eq!(world.rings.sequence, sequence);
    world.terms.refresh_hint = HOUR;
    world.settle();
    world.settle();
    assert_eq!((world.rings.sequence, world.rings.refresh_hint), (sequence + 1, HOUR));
}

#[test]
fn authorities_under_one_root_are_one_in_the_bundle() {
    let mut world = World::new();
    world.live_through(&Happening::OtherIssuer);
    let before = world.rings.published().len();
    world.live_through(&Happening::ActivateByHand(Kind::X509));
    let sequence = world.rings.sequence;
    world.live_through(&Happening::PrepareByHand(Kind::X509));
    assert_eq!((world.rings.published().len(), world.rings.sequence), (before, sequence));
    assert_eq!(world.rings.x509.keys.len(), 3);
}

#[test]
fn a_key_is_named_by_how_its_name_begins() {
    use crate::authority::embedded::rings::{NameError, named};
    let names = [(Kind::Jwt, "abcdefgh-J"), (Kind::Jwt, "abcdefgh-K"), (Kind::X509, "abcdef0123456789")];
    let named = |given: &str| named(names.into_iter(), given).map(|(_, name)| name);
    assert_eq!(named("abcdefgh-J").unwrap(), "abcdefgh-J");
    assert_eq!(named("abcdef01").unwrap(), "abcdef0123456789");
    assert_eq!(named("AB:CD:EF:01:23").unwrap(), "abcdef0123456789", "as other programs print it");
    assert_eq!(named("abcdefgh"), Err(NameError::Ambiguous("abcdefgh".to_owned())));
    assert_eq!(named("ABCDEFGH-J"), Err(NameError::Unknown("ABCDEFGH-J".to_owned())), "a kid is what it is");
    for short in ["", "abcdef0", "ab:cd:ef", "::::::::"] {
        assert_eq!(named(short), Err(NameError::Short(short.to_owned())));
    }
}
