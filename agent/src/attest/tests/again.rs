//! An open stream that looks again at its process, whose other streams do so at the same time.

use std::sync::PoisonError;

use tokio::time::advance;

use super::*;
use crate::attest::kept::{LOOK_AGE, READ_AGE};

/// A process with two streams that were opened one after the other.
struct Opened {
    child: Child,
    attestors: Attestors,
    streams: [Attestation; 2],
}

async fn opened(role: &str) -> Opened {
    let (child, attestors) = (Child::play(role), attestors());
    let first = attestors.attest(&child.peer(), nothing).await.unwrap();
    let second = attestors.attest(&child.peer(), nothing).await.unwrap();
    Opened { child, attestors, streams: [first, second] }
}

impl Opened {
    async fn again(&self, stream: usize) -> Result<Attestation, String> {
        self.attestors.attest_again(&self.streams[stream], nothing).await.map_err(|error| error.to_string())
    }

    fn glances(&self) -> usize {
        self.attestors.glances.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn changed<T>(what: &str) -> Result<T, String> {
    Err(format!("the process changed after it connected: {what}"))
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_process_share_what_is_looked_at() {
    let opened = opened("stay").await;
    let (first, second) = (opened.again(0).await.unwrap(), opened.again(1).await.unwrap());
    assert!(Arc::ptr_eq(first.found(), second.found()) && first.read() == second.read());
    assert_eq!(opened.glances(), 1);
    for (again, stream) in [first, second].iter().zip(&opened.streams) {
        assert!(Arc::ptr_eq(again.fingerprint().peer(), stream.fingerprint().peer()), "each has its own connection");
    }
    advance(LOOK_AGE).await;
    let later = opened.again(0).await.unwrap();
    assert!(!Arc::ptr_eq(later.found(), opened.streams[0].found()));
}

/// Of processes that have come and gone nothing stays open for long.
#[tokio::test(start_paused = true)]
async fn who_asks_no_more_is_forgotten_with_the_next() {
    let mut opened = opened("stay").await;
    opened.again(0).await.unwrap();
    assert_eq!(opened.glances(), 1);
    opened.child.kill();
    advance(LOOK_AGE).await;
    let next = Child::play("stay");
    opened.attestors.attest(&next.peer(), nothing).await.unwrap();
    assert_eq!(opened.glances(), 0, "held for a process that is gone");
}

#[tokio::test(start_paused = true)]
async fn another_program_is_refused_at_a_glance_and_at_a_look() {
    let mut opened = opened("exec the same on go").await;
    opened.again(0).await.unwrap();
    opened.child.go_on();
    opened.child.says("ready");
    assert_eq!(opened.again(1).await.map(drop), changed("running image"));
    advance(LOOK_AGE).await;
    assert_eq!(opened.again(0).await.map(drop), changed("running image"));
}

/// What the program that it has become was found to be serves no stream that the one before has opened.
#[tokio::test(start_paused = true)]
async fn a_look_at_another_program_is_not_shared() {
    let mut opened = opened("exec the same on go").await;
    opened.child.go_on();
    opened.child.says("ready");
    opened.attestors.attest(&opened.child.peer(), nothing).await.unwrap();
    assert_eq!(opened.again(0).await.map(drop), changed("running image"));
}

#[tokio::test(start_paused = true)]
async fn other_groups_are_seen_at_the_next_reading_for_whichever_stream() {
    if !is_root() {
        return;
    }
    let mut opened = opened("add a group on go").await;
    opened.again(0).await.unwrap();
    opened.child.go_on();
    opened.child.says("added");
    advance(READ_AGE).await;
    assert_eq!(opened.again(1).await.map(drop), changed("credentials"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_another_has_spoken_shares_nothing() {
    let opened = opened("stay").await;
    opened.again(1).await.unwrap();
    opened.streams[0].fingerprint().peer().spoken_for_by(7);
    let refusal = opened.again(0).await.unwrap_err();
    assert!(refusal.starts_with("process 7 speaks"), "{refusal}");
    opened.again(1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_exit_ends_all_of_them() {
    let mut opened = opened("stay").await;
    opened.again(0).await.unwrap();
    opened.child.kill();
    for stream in [0, 1] {
        assert_eq!(opened.again(stream).await.map(drop), Err("the process has exited".to_owned()));
    }
}
