//! Clients that misbehave, one kind after the other, each a process of its own.

use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;

use super::bed::Bed;
use super::rest;
use crate::abuse::Kind;
use crate::load::name;

/// Between two of them, in milliseconds.
const PACE: u64 = 4000;
/// How long each goes on, in milliseconds.
const LASTS: u64 = 3000;
/// Connections that are held at a time, or hundreds of frames: a nuisance, not a flood.
const SIZE: u64 = 20;

/// Each kind in turn, until the run ends.
pub(super) async fn by_clients(bed: Arc<Bed>) {
    for kind in Kind::OF_A_SOCKET.into_iter().cycle() {
        bed.life.now().await;
        let mut command = Command::new(bed.abuser());
        command.arg("abuse").arg("--socket").arg(&bed.workload_socket).args(["--kind", &name(kind)]);
        command.args(
            [("--size", SIZE), ("--pause", 1000), ("--lasts", LASTS)]
                .into_iter()
                .flat_map(|(name, value)| [name.to_owned(), value.to_string()]),
        );
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        match command.status().await {
            // What came of it is the agent's to bear, and the others' to notice.
            Ok(_) => bed.tally.faults.add(1),
            Err(error) => bed.tally.error(format!("the client that misbehaves does not run: {error}")),
        }
        rest(PACE).await;
    }
}
