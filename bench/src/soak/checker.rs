//! The client that asks all the time, in this process: what it is owed it gets, and nothing else.

use std::sync::Arc;

use tokio::time::{Duration, timeout};

use super::bed::{Bed, STEADY};
use super::life::Epoch;
use super::rest;
use super::visit::Wants;
use crate::caller::{Caller, Given, Told, next, now};
use crate::setting::AUDIENCE;

/// Between two rounds of questions, in milliseconds.
const PACE: u64 = 250;
/// The other audience, which its entry does not list.
const UNLISTED: &str = "nobody";
/// Longer than half of an SVID's life and all that may hold up its renewal.
const SILENCE: Duration = Duration::from_secs(60);

/// What a question came to.
enum Came {
    /// It was answered as it should be, or the error is counted.
    Answered,
    /// Nobody answered: on a new connection, next time.
    Not,
}

/// Fetches tokens and validates them, its own and ones of before, for audiences that it may ask for and
/// others.
pub(super) async fn ask_all_the_time(bed: Arc<Bed>) {
    loop {
        let epoch = bed.life.now().await;
        let Told::Served(mut caller) = Caller::connect(&bed.workload_socket).await else {
            not_there(&bed, epoch, "cannot connect");
            rest(PACE).await;
            continue;
        };
        while let Came::Answered = questions(&bed, &mut caller, epoch).await {
            rest(PACE).await;
        }
    }
}

async fn questions(bed: &Bed, caller: &mut Caller, epoch: Epoch) -> Came {
    let token = match caller.jwt(AUDIENCE).await {
        Told::Served(token) => token,
        Told::Refused(why) => return wrong(bed, format!("a token was refused: {why}")),
        Told::Unreachable(why) => return not_answered(bed, epoch, &why),
    };
    bed.tally.tokens.add(1);
    match caller.validate(&token, AUDIENCE).await {
        Told::Served(id) if id == STEADY => bed.tally.validations.add(1),
        Told::Served(id) => return wrong(bed, format!("a token of {STEADY} is taken for one of {id}")),
        Told::Refused(why) => return wrong(bed, format!("a good token is not valid: {why}")),
        Told::Unreachable(why) => return not_answered(bed, epoch, &why),
    }
    match caller.validate(&token, UNLISTED).await {
        Told::Refused(_) => bed.tally.validations.add(1),
        Told::Served(_) => return wrong(bed, "a token is valid for another audience".to_owned()),
        Told::Unreachable(why) => return not_answered(bed, epoch, &why),
    }
    match caller.jwt(UNLISTED).await {
        Told::Refused(_) => bed.tally.refusals.add(1),
        Told::Served(_) => return wrong(bed, "a token for an audience that is not listed".to_owned()),
        Told::Unreachable(why) => return not_answered(bed, epoch, &why),
    }
    Came::Answered
}

/// Holds one stream of X509-SVIDs for as long as the agent lives: each message is held against its
/// bundle, and the next one comes before the one before has expired.
pub(super) async fn hold_a_stream(bed: Arc<Bed>) {
    loop {
        let epoch = bed.life.now().await;
        let opened = match Caller::connect(&bed.workload_socket).await {
            Told::Served(mut caller) => caller.x509().await,
            Told::Refused(why) => Told::Refused(why),
            Told::Unreachable(why) => Told::Unreachable(why),
        };
        match opened {
            Told::Served(mut stream) => while let Came::Answered = message(&bed, &mut stream, epoch).await {},
            Told::Refused(why) => drop(wrong(&bed, format!("a stream was refused: {why}"))),
            Told::Unreachable(why) => drop(not_answered(&bed, epoch, &why)),
        }
        rest(PACE).await;
    }
}

type Messages = tonic::Streaming<countersign_common::proto::workload::X509svidResponse>;

async fn message(bed: &Bed, stream: &mut Messages, epoch: Epoch) -> Came {
    let Ok(told) = timeout(SILENCE, next(stream)).await else {
        bed.tally.error(format!("no new X509-SVID came within {SILENCE:?}"));
        return Came::Not;
    };
    match told {
        Told::Served(message) => match Given::of(&message, now()) {
            Ok(given) if given.spiffe_id == STEADY => {
                bed.tally.x509_svids.add(1);
                Came::Answered
            }
            Ok(given) => wrong(bed, format!("an X509-SVID of {} was given to {STEADY}", given.spiffe_id)),
            Err(why) => wrong(bed, why),
        },
        Told::Refused(why) => {
            bed.tally.error(format!("a stream was ended: {why}"));
            Came::Not
        }
        Told::Unreachable(why) => not_answered(bed, epoch, &why),
    }
}

/// A program that no entry names asks now and then.
pub(super) async fn stranger(bed: Arc<Bed>) {
    loop {
        if let Some(seen) = bed.visit(&bed.stranger(), Wants::All, AUDIENCE).await {
            if seen.tokens + seen.x509_svids > 0 {
                bed.tally.error(format!("a stranger was given {} tokens, {} SVIDs", seen.tokens, seen.x509_svids));
            }
            bed.tally.refusals.add(seen.refusals);
        }
        rest(8 * PACE).await;
    }
}

/// An error; the connection is as good as before.
fn wrong(bed: &Bed, what: String) -> Came {
    bed.tally.error(what);
    Came::Answered
}

/// Nobody answered: on a new connection, next time.
fn not_answered(bed: &Bed, epoch: Epoch, why: &str) -> Came {
    not_there(bed, epoch, why);
    Came::Not
}

/// An error, unless the agent was restarted.
fn not_there(bed: &Bed, epoch: Epoch, why: &str) {
    if bed.life.is(epoch) {
        bed.tally.error(format!("the client that asks all the time was not answered: {why}"));
    } else {
        bed.tally.interrupted.add(1);
    }
}
