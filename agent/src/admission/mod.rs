//! Admission before attestation: who may hold a connection, have a request worked on, keep a
//! stream, have its image hashed; so that nobody can use up what others need.
//!
//! Counted are users and cgroups ([`Key`]). What is bounded by what:
//!
//! | what | bound |
//! |---|---|
//! | connections, requests in flight, streams | the number of each in [`Limits`], shared by the rule of `ledger` |
//! | requests that are worked on at a time | a few for each processor; who is next, `turns` decides |
//! | the processors' time, while several ask | a part for each: `pace` |
//! | the work of refusing requests | who is refused is read slowly: `refusals` |
//! | bytes hashed | `budget` |
//! | memory of this room | one counter for each place that is held, one tally for 256 who were refused |
//! | records of refusals | one for each of 256 keys in a minute, and one for all others |
//! | the queue of the socket | the kernel (`net.core.somaxconn`); who is refused leaves it at once |
//!
//! A request is in flight from its arrival until its answer is taken by the transport; when it
//! has said what it has to say and waits for more, it becomes a stream.

mod budget;
mod key;
mod ledger;
mod pace;
mod refusals;
mod turns;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use countersign_common::clock::Clock;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::audit::{Audit, Caller, Record};
use crate::drain::Drain;
use crate::weakened::Protection;
use ledger::Ledger;
use pace::Pace;
use refusals::{News, Refusals};
use turns::Turns;

pub use budget::{HashBudget, HashLimits, OverBudget};
pub use key::Key;

/// How many requests are worked on at a time for each processor: one, and one that waits for
/// the audit record or the user database meanwhile.
const TURNS_PER_PROCESSOR: usize = 2;

/// How long a connection that may not be read sleeps at most before its task is woken.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// How often it is looked for refusals that were not told yet.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// So many places of a kind are a crowd: what they take of memory is worth giving back.
pub const CROWD: usize = 64;

/// Kinds of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An open connection.
    Connection,
    /// A request in flight.
    Request,
    /// An open stream.
    Stream,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Connection, Self::Request, Self::Stream];

    /// In words, one of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Request => "request",
            Self::Stream => "stream",
        }
    }
}

/// How many places there are of each kind, for all callers together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once.
    pub connections: usize,
    /// Requests in flight at once.
    pub requests: usize,
    /// Streams open at once.
    pub streams: usize,
}

/// Who holds which places.
pub struct Admission {
    state: Mutex<State>,
    turns: Arc<Turns>,
    crowded: Notify,
    audit: Arc<Audit>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct State {
    ledgers: [Ledger; 3],
    pace: Pace,
    refusals: Refusals,
    /// The most connections and streams since somebody asked.
    most: usize,
}

/// How many connections and streams there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// Now.
    pub held: usize,
    /// The most since it was asked before.
    pub most: usize,
}

/// A place that is held; given back when dropped.
pub struct Place {
    admission: Arc<Admission>,
    key: Key,
    pid: i32,
    kind: Kind,
    /// Its connection is not read for a while.
    rest: Option<Rest>,
}

/// The time for which a connection is not read.
struct Rest {
    nap: Pin<Box<Sleep>>,
    until: Instant,
}

/// A request that waits until it may be worked on. Who takes it back before that owes nothing for it.
struct Unpaid<'a> {
    admission: &'a Admission,
    key: &'a Key,
    price: Duration,
}

/// How many places of a kind are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Places that are held.
    pub used: usize,
    /// Places that there are.
    pub limit: usize,
    /// How often one was refused since the start.
    pub refused: u64,
}

/// What one user in one cgroup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Who.
    pub key: Key,
    /// Places of each kind, in the order of [`Kind::ALL`].
    pub held: [usize; 3],
    /// Refusals since this one was first refused; counted anew after a minute without.
    pub refused: u64,
}

impl Admission {
    /// Nobody holds anything. Refusals are recorded in `audit`.
    pub fn new(limits: Limits, audit: Arc<Audit>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let ledgers = [limits.connections, limits.requests, limits.streams].map(Ledger::new);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let state = Mutex::new(State { ledgers, pace: Pace::new(processors), refusals: Refusals::default(), most: 0 });
        let turns = Arc::new(Turns::new(TURNS_PER_PROCESSOR * processors));
        Arc::new(Self { state, turns, crowded: Notify::new(), audit, clock })
    }

    /// When a connection of this user, which has a place, may be taken up, if not now.
    pub fn connects(&self, uid: u32) -> Option<Instant> {
        if Protection::Admission.is_out() || Protection::Pace.is_out() {
            return None;
        }
        self.lock().pace.connect(uid, Instant::now()).map(|wait| wait.begins)
    }

    /// A place for process `pid` of `key`; none if others need it more. A refusal is counted, and
    /// recorded as often as a flood allows.
    pub fn place(self: &Arc<Self>, kind: Kind, key: &Key, pid: i32) -> Option<Place> {
        let taken = self.take(&mut self.lock(), kind, key);
        if !taken {
            self.refuse(key, pid, kind);
        }
        taken.then(|| Place { admission: Arc::clone(self), key: key.clone(), pid, kind, rest: None })
    }

    /// Waits until the places of a kind become a crowd, which may have been since it was last waited.
    pub async fn crowded(&self) {
        self.crowded.notified().await;
    }

    /// How many connections and streams there are, and were since this was asked before.
    pub fn crowd(&self) -> Crowded {
        let mut state = self.lock();
        let held = state.crowd();
        Crowded { held, most: std::mem::replace(&mut state.most, held).max(held) }
    }

    /// Does `work` when it is the turn of `key`, and when what it has taken has been paid for.
    pub async fn in_turn<T>(&self, key: &Key, work: impl Future<Output = T>) -> T {
        if Protection::Admission.is_out() {
            return work.await;
        }
        let wait = self.lock().pace.ask(key, Instant::now());
        if let Some(wait) = wait.filter(|_| !Protection::Pace.is_out()) {
            let mut unpaid = Unpaid { admission: self, key, price: wait.price };
            sleep_until(wait.begins).await;
            unpaid.price = Duration::ZERO;
        }
        let (took, done) = self.turns.work(key, work).await;
        self.lock().pace.worked(key, took, Instant::now());
        done
    }

    /// Records the refusals that nothing was told of yet, until a drain is requested; then the rest.
    pub async fn tell_of_refusals(&self, drain: &Drain) {
        loop {
            let stops = tokio::select! {
                () = sleep(LOOK_INTERVAL) => false,
                () = drain.requested() => true,
            };
            let news = self.lock().refusals.due(Instant::now(), stops);
            let written: Vec<_> = news.into_iter().filter_map(|news| self.record(news)).collect();
            if stops {
                for record in written {
                    // One that could not be written was logged.
                    let _ = record.await;
                }
                return;
            }
        }
    }

    /// Places of a kind, as of now.
    pub fn in_use(&self, kind: Kind) -> Use {
        let mut state = self.lock();
        let refused = state.refusals.total(kind);
        let ledger = state.ledger(kind);
        Use { used: ledger.taken(), limit: ledger.limit(), refused }
    }

    /// Everybody who holds a place or was refused lately, who holds most first.
    pub fn by_key(&self) -> Vec<KeyUse> {
        let state = self.lock();
        let refused: std::collections::HashMap<&Key, u64> = state.refusals.by_key().collect();
        let keys: HashSet<&Key> =
            state.ledgers.iter().flat_map(Ledger::holders).chain(refused.keys().copied()).collect();
        let one = |key: &Key| KeyUse {
            key: key.clone(),
            held: state.ledgers.each_ref().map(|ledger| ledger.held(key)),
            refused: refused.get(key).copied().unwrap_or_default(),
        };
        let mut uses: Vec<KeyUse> = keys.into_iter().map(one).collect();
        let order = |u: &KeyUse| (u.held.iter().sum::<usize>(), u.refused);
        uses.sort_unstable_by(|a, b| {
            order(b).cmp(&order(a)).then_with(|| (a.key.uid(), a.key.cgroup()).cmp(&(b.key.uid(), b.key.cgroup())))
        });
        uses
    }

    fn take(&self, state: &mut State, kind: Kind, key: &Key) -> bool {
        let ledger = state.ledger(kind);
        let taken = ledger.take(key);
        if taken && ledger.taken() == CROWD {
            self.crowded.notify_one();
        }
        state.most = state.most.max(state.crowd());
        taken
    }

    fn refuse(&self, key: &Key, pid: i32, kind: Kind) {
        let news = self.lock().refusals.note(key, pid, kind, Instant::now());
        // A refusal stands whether it could be recorded or not, and nobody waits for its record.
        let _ = news.and_then(|news| self.record(news));
    }

    fn record(&self, news: News) -> Option<JoinHandle<()>> {
        let (reason, uid) = (news.reason(), news.key.uid());
        tracing::warn!(uid, pid = news.pid, refusal = reason, "admission");
        let caller = Caller { pid: news.pid, uid, cgroup: news.cgroup(), ..Caller::default() };
        let time = self.clock.now().to_string();
        let record =
            Record { time, event: "admission", outcome: "refused", reason, whom: caller.into(), ..Record::default() };
        self.audit.record_later(record)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ledger(&mut self, kind: Kind) -> &mut Ledger {
        &mut self.ledgers[kind as usize]
    }

    fn crowd(&self) -> usize {
        [Kind::Connection, Kind::Stream].map(|kind| self.ledgers[kind as usize].taken()).iter().sum()
    }
}

impl Place {
    /// Who holds it.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Ready when the connection that holds this place may be read: at once, unless requests of
    /// its key are being refused. While it may not, the task is woken every now and then, so that
    /// it can look whether anybody is still there.
    pub fn poll_may_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.rest.is_none() && !Protection::Admission.is_out() {
            let now = Instant::now();
            let next = self.admission.lock().refusals.next_read(&self.key, now);
            self.rest = next.map(|until| Rest { nap: Box::pin(sleep_until(until.min(now + LONGEST_NAP))), until });
        }
        while let Some(Rest { nap, until }) = &mut self.rest {
            ready!(nap.as_mut().poll(cx));
            let now = Instant::now();
            if now >= *until {
                self.rest = None;
            } else {
                nap.as_mut().reset((*until).min(now + LONGEST_NAP));
            }
        }
        Poll::Ready(())
    }

    /// Makes a request's place a stream's; false if the key may have no more streams, and then
    /// it stays what it was. A place that is a stream's is left as it is.
    pub fn becomes_stream(&mut self) -> bool {
        if self.kind == Kind::Stream {
            return true;
        }
        let mut state = self.admission.lock();
        let taken = self.admission.take(&mut state, Kind::Stream, &self.key);
        if taken {
            state.ledger(self.kind).give_back(&self.key);
            self.kind = Kind::Stream;
        }
        drop(state);
        if !taken {
            self.admission.refuse(&self.key, self.pid, Kind::Stream);
        }
        taken
    }
}

impl Drop for Unpaid<'_> {
    fn drop(&mut self) {
        if !self.price.is_zero() {
            self.admission.lock().pace.take_back(self.key, self.price, Instant::now());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.lock().ledger(self.kind).give_back(&self.key);
    }
}
