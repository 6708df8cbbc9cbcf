//! The schedule against random clocks, hands and terms.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn terms() -> Terms {
    Terms {
        algorithm: Algorithm::Es256,
        key_life: 24 * HOUR,
        max_jwt_ttl: HOUR,
        refresh_hint: Duration::from_secs(300),
    }
}

fn begin() -> Ring {
    Ring { sequence: 1, refresh_hint: terms().refresh_hint, keys: Vec::new() }
}

/// Takes every step that is due, as the keeper does. Names of new keys come from `made`.
fn settle(ring: &mut Ring, now: Timestamp, terms: &Terms, made: &mut u64) -> Vec<Step> {
    let mut taken = Vec::new();
    while let Some(step) = next_step(ring, now, terms) {
        match &step {
            Step::ClockWentBack => ring.rebase(now),
            Step::Prepare => {
                *made += 1;
                ring.prepare(format!("key-{made}"), terms.algorithm, now);
            }
            Step::Activate => ring.activate(now, terms),
            Step::Drop(kid) => ring.keys.retain(|key| key.kid != *kid),
        }
        taken.push(step);
        assert!(taken.len() <= 32, "no end of steps: {taken:?}");
    }
    taken
}

fn kids(ring: &Ring) -> BTreeSet<String> {
    ring.keys.iter().map(|key| key.kid.clone()).collect()
}

fn after(seconds: u64) -> Timestamp {
    START.after(Duration::from_secs(seconds))
}

#[test]
fn one_life_from_the_first_key_to_its_end() {
    let (terms, mut ring, mut made) = (terms(), begin(), 0);
    let day = 86_400;
    let lead = terms.lead().as_secs();
    assert_eq!(lead, 1500);
    assert_eq!(settle(&mut ring, START, &terms, &mut made), [Step::Prepare, Step::Activate]);
    assert_eq!(settle(&mut ring, after(day - lead - 1), &terms, &mut made), []);
    assert_eq!(settle(&mut ring, after(day - lead), &terms, &mut made), [Step::Prepare]);
    assert_eq!(settle(&mut ring, after(day - 1), &terms, &mut made), []);
    assert_eq!(settle(&mut ring, after(day), &terms, &mut made), [Step::Activate]);
    assert_eq!(ring.active().unwrap().kid, "key-2");
    assert_eq!(settle(&mut ring, after(day + 3659), &terms, &mut made), []);
    assert_eq!(settle(&mut ring, after(day + 3660), &terms, &mut made), [Step::Drop("key-1".into())]);
    assert_eq!(ring.keys.len(), 1);
}

#[test]
fn a_machine_that_slept_for_days_has_a_fresh_key_at_once() {
    let (terms, mut ring, mut made) = (terms(), begin(), 0);
    settle(&mut ring, START, &terms, &mut made);
    let steps = settle(&mut ring, after(30 * 86_400), &terms, &mut made);
    assert_eq!(steps, [Step::Prepare, Step::Activate]);
    assert_eq!(ring.active().unwrap().kid, "key-2");
}

#[test]
fn a_clock_that_was_years_ahead_does_not_give_a_key_years_to_live() {
    let (terms, mut ring, mut made) = (terms(), begin(), 0);
    settle(&mut ring, after(10 * 365 * 86_400), &terms, &mut made);
    settle(&mut ring, START, &terms, &mut made);
    assert_eq!(ring.active().unwrap().signs_until(&terms), Some(after(86_400)));
}

#[test]
fn another_algorithm_takes_over_once_its_key_has_been_published() {
    let (mut terms, mut ring, mut made) = (terms(), begin(), 0);
    settle(&mut ring, START, &terms, &mut made);
    terms.algorithm = Algorithm::Rs256;
    assert_eq!(settle(&mut ring, after(1), &terms, &mut made), [Step::Prepare]);
    assert_eq!(settle(&mut ring, after(1500), &terms, &mut made), []);
    assert_eq!(settle(&mut ring, after(1501), &terms, &mut made), [Step::Activate]);
    assert_eq!(ring.active().unwrap().algorithm, Algorithm::Rs256);
}

#[test]
fn a_prepared_key_of_an_algorithm_that_is_not_wanted_any_more_is_replaced() {
    let (mut terms, mut ring, mut made) = (terms(), begin(), 0);
    settle(&mut ring, START, &terms, &mut made);
    ring.prepare("by-hand".into(), Algorithm::Es256, START);
    terms.algorithm = Algorithm::Rs256;
    assert_eq!(settle(&mut ring, after(1), &terms, &mut made), [Step::Drop("by-hand".into()), Step::Prepare]);
}

#[test]
fn a_shorter_token_life_does_not_shorten_what_was_promised_before() {
    let (mut terms, mut ring, mut made) = (terms(), begin(), 0);
    settle(&mut ring, START, &terms, &mut made);
    terms.max_jwt_ttl = Duration::from_secs(60);
    ring.adopt(&terms);
    settle(&mut ring, after(86_400), &terms, &mut made);
    let retired = ring.keys.iter().find(|key| key.kid == "key-1").unwrap();
    assert_eq!(retired.phase, Phase::Retiring { since: after(86_400), drops_at: after(86_400 + 3660) });
}

#[test]
fn a_new_refresh_hint_is_a_new_bundle() {
    let (mut terms, mut ring) = (terms(), begin());
    ring.adopt(&terms);
    assert_eq!(ring.sequence, 1);
    terms.refresh_hint = HOUR;
    ring.adopt(&terms);
    ring.adopt(&terms);
    assert_eq!((ring.sequence, ring.refresh_hint), (2, HOUR));
}

/// What happens between two looks at the ring.
#[derive(Clone, Debug)]
enum Happening {
    Forward(u64),
    Back(u64),
    PrepareByHand,
    ActivateByHand,
    OtherAlgorithm,
}

fn forward() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0..4000_u64).prop_map(Happening::Forward),
        1 => (0..1_000_000_u64).prop_map(Happening::Forward),
        1 => Just(Happening::PrepareByHand),
        1 => Just(Happening::ActivateByHand),
        1 => Just(Happening::OtherAlgorithm),
    ]
}

fn anything() -> impl Strategy<Value = Happening> {
    prop_oneof![3 => forward(), 1 => (0..1_000_000_u64).prop_map(Happening::Back)]
}

/// A ring, its clock and its terms while things happen to them.
struct World {
    ring: Ring,
    now: Timestamp,
    terms: Terms,
    made: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self { ring: begin(), now: START, terms: terms(), made: 0 };
        settle(&mut world.ring, world.now, &world.terms, &mut world.made);
        world
    }

    fn live_through(&mut self, happening: &Happening) -> Vec<Step> {
        match happening {
            Happening::Forward(seconds) => self.now = self.now.after(Duration::from_secs(*seconds)),
            Happening::Back(seconds) => self.now = Timestamp::from_seconds(self.now.seconds().saturating_sub(*seconds)),
            Happening::PrepareByHand if self.ring.prepared().is_none() && self.ring.keys.len() < 8 => {
                self.made += 1;
                self.ring.prepare(format!("key-{}", self.made), self.terms.algorithm, self.now);
            }
            Happening::ActivateByHand if self.ring.prepared().is_some() => self.ring.activate(self.now, &self.terms),
            Happening::OtherAlgorithm => {
                let is_es256 = self.terms.algorithm == Algorithm::Es256;
                self.terms.algorithm = if is_es256 { Algorithm::Rs256 } else { Algorithm::Es256 };
            }
            Happening::PrepareByHand | Happening::ActivateByHand => {}
        }
        settle(&mut self.ring, self.now, &self.terms, &mut self.made)
    }
}

proptest! {
    #[test]
    fn there_is_always_exactly_one_key_in_its_time(happenings in prop::collection::vec(anything(), 1..60)) {
        let mut world = World::new();
        for happening in &happenings {
            world.live_through(happening);
            let is_active = |key: &&KeyRecord| matches!(key.phase, Phase::Active { .. });
            let active: Vec<_> = world.ring.keys.iter().filter(is_active).collect();
            prop_assert_eq!(active.len(), 1);
            let Phase::Active { since, .. } = active[0].phase else { unreachable!() };
            prop_assert!(since <= world.now);
            prop_assert!(world.now < active[0].signs_until(&world.terms).unwrap());
            let left = world.now.until(active[0].signs_until(&world.terms).unwrap());
            prop_assert!(left <= world.terms.key_life, "a key signs for its life and no longer");
            let is_announced = world.ring.prepared().is_some() || left > world.terms.lead();
            prop_assert!(is_announced, "the next key is published ahead");
            prop_assert_eq!(kids(&world.ring).len(), world.ring.keys.len());
            prop_assert!(world.ring.keys.len() <= 12);
            prop_assert!(pause(&world.ring, world.now, &world.terms).is_some_and(|pause| !pause.is_zero()));
        }
    }

    #[test]
    fn a_key_is_published_until_its_last_token_has_expired(happenings in prop::collection::vec(forward(), 1..60)) {
        let mut world = World::new();
        let mut tokens: Vec<(String, Timestamp)> = Vec::new();
        for happening in &happenings {
            world.live_through(happening);
            let published = kids(&world.ring);
            tokens.retain(|(_, expires)| *expires > world.now);
            for (kid, expires) in &tokens {
                prop_assert!(published.contains(kid), "{kid} has a token until {expires} and it is {}", world.now);
            }
            let active = world.ring.active().unwrap();
            tokens.push((active.kid.clone(), world.now.after(world.terms.max_jwt_ttl)));
        }
    }

    #[test]
    fn without_jumps_and_hands_a_key_is_known_well_before_it_signs(
        pauses in prop::collection::vec(1..60_u64, 1..300),
        life in 7200..20_000_u64,
    ) {
        let mut world = World::new();
        world.terms.key_life = Duration::from_secs(life);
        for seconds in pauses {
            let steps = world.live_through(&Happening::Forward(seconds * 10));
            if steps.contains(&Step::Activate) {
                prop_assert!(!steps.contains(&Step::Prepare));
                let active = world.ring.active().unwrap();
                prop_assert!(active.created.until(world.now) + Duration::from_secs(600) >= world.terms.lead());
            }
        }
    }

    #[test]
    fn a_ring_at_rest_is_the_same_ring(happenings in prop::collection::vec(anything(), 0..20)) {
        let mut world = World::new();
        happenings.iter().for_each(|happening| drop(world.live_through(happening)));
        let text = serde_json::to_string(&world.ring).unwrap();
        prop_assert_eq!(serde_json::from_str::<Ring>(&text).unwrap(), world.ring);
    }
}
