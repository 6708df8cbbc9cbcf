//! Floods that an honest library could make: calls, connections, and programs to be hashed.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::BenchError;
use crate::call::{Call, Client};
use crate::setting::AUDIENCE;

/// How many calls share a connection, if they do.
const CALLS_OF_CONNECTION: u32 = 8;

/// Calls on one connection as often as it is answered, whatever the answer; on a new one if it was ended.
pub(super) async fn on_a_connection(socket: PathBuf, end: Instant) -> u64 {
    let mut rounds = 0;
    while Instant::now() < end {
        let Ok(client) = Client::connect(&socket, Call::Fetch, AUDIENCE).await else { continue };
        let calls = (0..CALLS_OF_CONNECTION).map(|_| tokio::spawn(again_and_again(client.clone(), end)));
        for call in calls.collect::<Vec<_>>() {
            rounds += call.await.unwrap_or_default();
        }
    }
    rounds
}

async fn again_and_again(mut client: Client, end: Instant) -> u64 {
    let mut calls = 0;
    while Instant::now() < end {
        calls += 1;
        match client.call().await {
            Err(BenchError::Request(status)) if status.source().is_some() => break,
            _ => {}
        }
    }
    calls
}

/// One call on a new connection, whatever the answer.
pub(super) async fn on_a_new_one(socket: &Path) {
    if let Ok(mut client) = Client::connect(socket, Call::Fetch, AUDIENCE).await {
        let _ = client.call().await;
    }
}

/// The same after the file that this process runs has changed (its change time), so that it is to be
/// hashed anew.
pub(super) async fn hashed_anew(socket: &Path) {
    if let Ok(program) = std::env::current_exe() {
        // The file is this user's own.
        let _ = std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755));
    }
    on_a_new_one(socket).await;
}
