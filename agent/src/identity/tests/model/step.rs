//! What may happen to an agent, chosen by chance that can be repeated: the same seed, the same steps.

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::entry::{AUDIENCES, DOMAINS, IDS, Terms};
use crate::authority::embedded::Kind;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// How many processes there are: the test itself, and two of one program.
pub(super) const PROCESSES: usize = 3;

const KINDS: [&[Kind]; 3] = [&[Kind::Jwt], &[Kind::X509], &Kind::ALL];

/// What a stream is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    X509Svids,
    X509Bundles,
    JwtBundles,
}

/// How an agent ends before it starts again.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It is asked to stop, and closes its store.
    Stop,
    /// It is gone, and what it had in hand is on disk as it is.
    Kill,
}

/// Which key of its kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// That of this number, counted round.
    Number(usize),
    Active,
    /// One that is tainted; the active one if none is.
    Tainted,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Apply {
        entries: Vec<Terms>,
        prune: bool,
    },
    Delete(&'static str),
    SetBundle {
        of: &'static str,
        sequence: u64,
        key: u64,
        force: bool,
    },
    DeleteBundle(&'static str),
    Prepare(&'static [Kind]),
    Activate(&'static [Kind]),
    Taint(Kind, Which),
    Revoke(Kind, Which),
    Forward(u64),
    /// To the last quarter of the life of the latest token.
    Late,
    /// To so many seconds before the first of the entries expires, if one will.
    Eve(u64),
    Back(u64),
    Restart(End),
    /// A process asks for tokens, so many times.
    Fetch {
        process: usize,
        audiences: Vec<&'static str>,
        spiffe_id: Option<&'static str>,
        times: usize,
    },
    Open(usize, Subject),
    Close(usize, Subject),
    /// A process exits, and another one of the program starts.
    Replace(usize),
    /// Whether anything can be signed.
    Signing(bool),
    /// Whether the authority's disk has room.
    Disk(bool),
}

pub(super) struct Dice(TestRng);

impl Dice {
    /// Of one round of a seed: rounds do not depend on one another.
    pub(super) fn of_round(seed: u64, round: u64) -> Self {
        let bytes = [seed, round, 0, 0].map(u64::to_le_bytes).concat();
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    pub(super) fn is_one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())].clone()
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end.try_into().unwrap())).unwrap()
    }

    fn kind(&mut self) -> Kind {
        self.one_of(&Kind::ALL)
    }

    fn stream(&mut self) -> (usize, Subject) {
        let subjects = [Subject::X509Svids, Subject::X509Svids, Subject::X509Bundles, Subject::JwtBundles];
        (self.index(PROCESSES), self.one_of(&subjects))
    }

    /// The next steps, whatever came before: one, or a few that seldom come together by themselves.
    pub(super) fn steps(&mut self) -> Vec<Step> {
        match self.below(60) {
            0..3 => self.renewal_that_fails(),
            3 => self.keys_that_cannot_move_on(),
            4 => self.clock_that_is_put_right(),
            5..7 => self.taint(),
            7..10 => self.last_hour(),
            _ => vec![self.step()],
        }
    }

    /// A key that signs goes bad while what it signed is about.
    fn taint(&mut self) -> Vec<Step> {
        let (fetch, kind, process) = (self.likely(), self.kind(), self.index(PROCESSES));
        let mut steps = vec![Step::Open(process, Subject::X509Svids), fetch.clone()];
        if self.is_one_in(2) {
            // Else another one is made for it, and who has an SVID hears of that.
            steps.push(Step::Prepare(&Kind::ALL));
        }
        steps.extend([Step::Taint(kind, Which::Active), fetch.clone()]);
        if self.is_one_in(2) {
            steps.extend([Step::Revoke(kind, Which::Tainted), fetch, Step::Restart(End::Kill)]);
        }
        steps
    }

    /// An entry is about to expire.
    fn last_hour(&mut self) -> Vec<Step> {
        let eve = Step::Eve(2 + self.below(HOUR));
        vec![self.first(), eve, self.likely(), Step::Open(self.index(PROCESSES), Subject::X509Svids), self.likely()]
    }

    /// Tokens are asked for once more when they should be renewed and cannot.
    fn renewal_that_fails(&mut self) -> Vec<Step> {
        let fetch = self.likely();
        let open = Step::Open(self.index(PROCESSES), Subject::X509Svids);
        vec![Step::Signing(true), open, fetch.clone(), Step::Signing(false), Step::Late, fetch, Step::Signing(true)]
    }

    /// The next keys cannot be saved, and those that sign come to their end.
    fn keys_that_cannot_move_on(&mut self) -> Vec<Step> {
        let late = Step::Forward(23 * HOUR + self.below(2 * HOUR));
        vec![
            Step::Disk(false),
            late,
            self.likely(),
            Step::Open(self.index(PROCESSES), Subject::X509Svids),
            self.likely(),
        ]
    }

    /// A clock that was set back is put right, and keys came and went meanwhile.
    fn clock_that_is_put_right(&mut self) -> Vec<Step> {
        let (fetch, kinds) = (self.likely(), self.one_of(&KINDS));
        let (back, there) = (10 * HOUR, 2 * HOUR);
        let by_hand = [Step::Prepare(kinds), Step::Activate(kinds), Step::Forward(there)];
        let mut steps = vec![fetch.clone(), Step::Back(back)];
        steps.extend(by_hand);
        steps.extend([Step::Forward(back - there + self.below(600)), fetch]);
        steps
    }

    /// Faults of signing and of the disk are seldom and short.
    fn step(&mut self) -> Step {
        match self.below(100) {
            0..8 => self.apply(),
            8..10 => Step::Delete(self.one_of(&IDS)),
            10..14 => {
                let (of, force) = (self.one_of(&DOMAINS), self.is_one_in(4));
                Step::SetBundle { of, sequence: self.below(4), key: self.below(3), force }
            }
            14 => Step::DeleteBundle(self.one_of(&DOMAINS)),
            15..19 => Step::Prepare(self.one_of(&KINDS)),
            19..22 => Step::Activate(self.one_of(&KINDS)),
            22..26 => Step::Taint(self.kind(), Which::Number(self.index(8))),
            26..29 => Step::Revoke(self.kind(), Which::Number(self.index(8))),
            29..44 => self.forward(),
            44..47 => Step::Back(self.one_of(&[1, 20, 60, HOUR, 10 * HOUR, 3 * DAY])),
            47..49 => Step::Restart(End::Stop),
            49..52 => Step::Restart(End::Kill),
            52..78 => self.fetch(),
            78..88 => {
                let (process, subject) = self.stream();
                Step::Open(process, subject)
            }
            88 => {
                let (process, subject) = self.stream();
                Step::Close(process, subject)
            }
            89 => Step::Replace(1 + self.index(PROCESSES - 1)),
            90..93 => Step::Signing(false),
            93..96 => Step::Signing(true),
            96 => Step::Disk(false),
            _ => Step::Disk(true),
        }
    }

    /// All entries at once, as a round begins.
    pub(super) fn first(&mut self) -> Step {
        Step::Apply { entries: IDS.into_iter().map(|id| Terms::draw(id, self)).collect(), prune: false }
    }

    fn apply(&mut self) -> Step {
        let ids: Vec<_> = IDS.into_iter().filter(|_| self.is_one_in(2)).collect();
        let entries = ids.into_iter().map(|id| Terms::draw(id, self)).collect();
        Step::Apply { entries, prune: self.is_one_in(6) }
    }

    fn forward(&mut self) -> Step {
        let most = self.one_of(&[20, 60, 600, 2000, HOUR, 30 * HOUR, 4 * DAY]);
        Step::Forward(1 + self.below(most))
    }

    fn fetch(&mut self) -> Step {
        let count = if self.is_one_in(5) { 2 } else { 1 };
        let audiences = (0..count).map(|_| self.one_of(&AUDIENCES)).collect();
        let spiffe_id = self.is_one_in(6).then(|| self.one_of(&IDS)).map(super::entry::spiffe_id);
        let times = 1 + self.index(3);
        Step::Fetch { process: self.index(PROCESSES), audiences, spiffe_id, times }
    }

    /// A request that most entries allow.
    fn likely(&mut self) -> Step {
        let audiences = vec![self.one_of(&["billing", "stock/a"])];
        Step::Fetch { process: self.index(PROCESSES), audiences, spiffe_id: None, times: 1 + self.index(3) }
    }
}
