//! The countersign: the proof that the attested process itself answers on its connection.
//!
//! Evidence says what a process is; it does not say that this process is the one that asks. One
//! that connected may have become another program since, and may have left a copy of the
//! descriptor with somebody else. So a random number is sent *after* the evidence was read, and
//! nothing is given out until it comes back in bytes that the attested process sent. Whoever
//! became another program cannot answer it, and whoever kept a copy answers under a pid of its
//! own.
//!
//! One answer proves the connection. Later requests on it are compared with what was proven:
//! every byte of theirs has its sender, and a process that is no longer what was proven is not
//! asked again, but has to connect again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::PeerError;
use super::evidence::Facts;
use crate::weakened::Protection;

/// The random number: what an HTTP/2 PING carries (RFC 9113, section 6.7).
pub type Challenge = [u8; 8];

/// How long a process may take to answer. An honest client answers as soon as its HTTP/2
/// library runs; one that is stopped or starved for longer asks again.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What the connection has to say to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToSay {
    /// The challenge, to be sent back.
    Challenge(Challenge),
    /// That calls under way are the last ones on this connection.
    GoAway,
}

/// The state of one connection's proof, shared by those who ask for it and by the connection.
#[derive(Debug)]
pub(super) struct Countersign {
    state: Mutex<State>,
    /// Told to all who wait for the answer when there may be one.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    proof: Proof,
    said: Said,
    connection: Option<Waker>,
}

#[derive(Debug, Default)]
enum Proof {
    /// Nobody asked yet.
    #[default]
    Unasked,
    /// About these facts, by this challenge.
    Asked(Challenge, Arc<Facts>),
    /// The process that these facts are about answered.
    Given(Arc<Facts>),
    /// Bytes of this process came.
    OtherSender(i32),
    /// A test has no connection.
    #[cfg(test)]
    NotNeeded,
}

/// What the connection was given to say.
#[derive(Debug, Default)]
struct Said {
    challenge: bool,
    go_away_wanted: bool,
    go_away: bool,
}

impl Countersign {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), news: Notify::new() }
    }

    #[cfg(test)]
    pub(super) fn not_needed() -> Self {
        let state = State { proof: Proof::NotNeeded, ..State::default() };
        Self { state: Mutex::new(state), news: Notify::new() }
    }

    /// Asks for the proof about these facts, unless it was asked for or given before: then the
    /// facts must be the same.
    pub(super) fn ask(&self, facts: &Arc<Facts>) -> Result<(), PeerError> {
        if Protection::Countersign.is_out() {
            return Ok(());
        }
        let mut state = self.lock();
        match &state.proof {
            Proof::Unasked => {
                let mut challenge = Challenge::default();
                rand::fill(&mut challenge).map_err(|_| PeerError::NoRandomness)?;
                state.proof = Proof::Asked(challenge, Arc::clone(facts));
                wake(state);
                Ok(())
            }
            Proof::Asked(_, of) | Proof::Given(of) => match of.program_difference(facts) {
                Some(what) => Err(PeerError::Changed { what }),
                None => Ok(()),
            },
            Proof::OtherSender(pid) => Err(PeerError::OtherSender { pid: *pid }),
            #[cfg(test)]
            Proof::NotNeeded => Ok(()),
        }
    }

    /// Whether the process has answered, and nobody else has spoken.
    pub(super) fn is_given(&self) -> bool {
        match self.lock().proof {
            Proof::Given(_) => true,
            Proof::Unasked | Proof::Asked(..) | Proof::OtherSender(_) => Protection::Countersign.is_out(),
            #[cfg(test)]
            Proof::NotNeeded => true,
        }
    }

    /// Waits for the answer to what was asked.
    pub(super) async fn given(&self) -> Result<(), PeerError> {
        if Protection::Countersign.is_out() {
            return Ok(());
        }
        let answered = async {
            loop {
                // It hears of news from now on, before it is polled.
                let news = self.news.notified();
                match &self.lock().proof {
                    Proof::Unasked | Proof::Asked(..) => {}
                    Proof::Given(_) => return Ok(()),
                    Proof::OtherSender(pid) => return Err(PeerError::OtherSender { pid: *pid }),
                    #[cfg(test)]
                    Proof::NotNeeded => return Ok(()),
                }
                news.await;
            }
        };
        timeout(ANSWER_LIMIT, answered).await.unwrap_or(Err(PeerError::NoCountersign(ANSWER_LIMIT)))
    }

    /// What is to be said, if anything; from now on `cx` is woken when there is something new.
    pub(super) fn to_say(&self, cx: &Context<'_>) -> Option<ToSay> {
        let mut state = self.lock();
        if !state.connection.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.connection = Some(cx.waker().clone());
        }
        match state.proof {
            Proof::Asked(challenge, _) if !state.said.challenge => {
                state.said.challenge = true;
                Some(ToSay::Challenge(challenge))
            }
            _ if state.said.go_away_wanted && !state.said.go_away => {
                state.said.go_away = true;
                Some(ToSay::GoAway)
            }
            _ => None,
        }
    }

    /// Takes an answer that came in bytes of the process.
    pub(super) fn answered(&self, answer: Challenge) {
        let mut state = self.lock();
        if let Proof::Asked(challenge, facts) = &state.proof
            && state.said.challenge
            && *challenge == answer
        {
            state.proof = Proof::Given(Arc::clone(facts));
            drop(state);
            self.news.notify_waiters();
        }
    }

    /// Bytes of another process came: nothing is given out on this connection any more.
    pub(super) fn other_sender(&self, pid: i32) {
        self.lock().proof = Proof::OtherSender(pid);
        self.news.notify_waiters();
    }

    /// The process is no longer what it was: it has to connect again, and is told so.
    pub(super) fn send_away(&self) {
        let mut state = self.lock();
        if !state.said.go_away_wanted {
            state.said.go_away_wanted = true;
            wake(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the connection after the lock is given back: it takes the lock at once.
fn wake(mut state: MutexGuard<'_, State>) {
    let connection = state.connection.take();
    drop(state);
    if let Some(connection) = connection {
        connection.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::super::Peer;
    use super::*;

    fn said(peer: &Peer) -> Option<ToSay> {
        peer.to_say(&Context::from_waker(Waker::noop()))
    }

    async fn is_pending<T>(future: impl Future<Output = T>) -> bool {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn one_answer_to_the_challenge_proves_the_connection() {
        let peer = Peer::unproven();
        assert_eq!(said(&peer), None, "nobody asked");
        let evidence = peer.evidence().unwrap();
        peer.answered([0; 8]);
        let Some(ToSay::Challenge(challenge)) = said(&peer) else { panic!("a challenge") };
        assert_eq!(said(&peer), None, "it is said once");
        peer.answered(challenge.map(|byte| !byte));
        assert!(is_pending(evidence.proven()).await);
        peer.answered(challenge);
        evidence.proven().await.unwrap();
        peer.evidence().unwrap().proven().await.unwrap();
        assert_eq!(said(&peer), None, "it is not asked again");
    }

    #[tokio::test]
    async fn an_answer_to_what_was_not_said_is_none() {
        let peer = Peer::unproven();
        let evidence = peer.evidence().unwrap();
        let Proof::Asked(challenge, _) = peer.countersign.lock().proof else { panic!("it was asked") };
        peer.answered(challenge);
        assert!(is_pending(evidence.proven()).await);
    }

    #[tokio::test]
    async fn two_connections_have_two_challenges() {
        let challenge = |peer: &Arc<Peer>| {
            peer.evidence().unwrap();
            said(peer)
        };
        assert_ne!(challenge(&Peer::unproven()), challenge(&Peer::unproven()));
    }

    #[tokio::test]
    async fn bytes_of_another_end_it_for_good() {
        let peer = Peer::unproven();
        let evidence = peer.evidence().unwrap();
        let Some(ToSay::Challenge(challenge)) = said(&peer) else { panic!("a challenge") };
        peer.spoken_for_by(7);
        peer.answered(challenge);
        assert!(matches!(evidence.proven().await, Err(PeerError::OtherSender { pid: 7 })));
        assert!(matches!(peer.evidence(), Err(PeerError::OtherSender { pid: 7 })));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_for_ever() {
        let peer = Peer::unproven();
        let refusal = peer.evidence().unwrap().proven().await.unwrap_err();
        assert!(matches!(refusal, PeerError::NoCountersign(ANSWER_LIMIT)), "{refusal}");
    }

    #[tokio::test]
    async fn who_changed_is_sent_away_once() {
        let peer = Peer::unproven();
        peer.countersign.send_away();
        peer.countersign.send_away();
        assert_eq!(said(&peer), Some(ToSay::GoAway));
        assert_eq!(said(&peer), None);
    }
}
