//! What an operator changes: entries come, change and go with processes that live by them; keys are
//! replaced.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};

use super::bed::{Bed, entry};
use super::rest;
use super::visit::{Seen, Wants};
use crate::admin::Admin;
use crate::setting::AUDIENCE;

/// Between two steps of one slot, in milliseconds.
const PACE: u64 = 600;
/// Between two steps of the authorities, in milliseconds. A key is kept for two minutes after its last
/// signature here, and the agent keeps eight.
const ROTATION: u64 = 20_000;
/// What an entry lists after it was changed.
const ADDED: &str = "ledger";

/// What an operator does.
#[derive(Clone, Copy, Debug)]
enum Deed<'a> {
    Apply(&'a str),
    Delete(&'a str),
    Prepare,
    Activate,
    Taint,
}

/// One entry and its processes, again and again.
pub(super) async fn of_slot(bed: Arc<Bed>, slot: usize) {
    let (id, program) = (format!("slot-{slot}"), bed.slot(slot));
    // Not all at once.
    rest(slot as u64 * PACE / 3).await;
    for turn in 0_u64.. {
        change(&bed, Deed::Apply(&entry(&id, &program, &[AUDIENCE]))).await;
        served(&bed, &program, AUDIENCE).await;
        rest(PACE).await;
        refused(&bed, &program, ADDED).await;
        let holding = bed.hold(&program).await;
        rest(PACE).await;
        change(&bed, Deed::Apply(&entry(&id, &program, &[AUDIENCE, ADDED]))).await;
        served(&bed, &program, ADDED).await;
        rest(PACE).await;
        // Each time at another point of what it does.
        bed.visit_cut_short(&program, Duration::from_millis(turn * 7 % 40)).await;
        if let Some(holding) = holding {
            holding.end(&bed, turn % 2 == 0).await;
        }
        rest(PACE).await;
        change(&bed, Deed::Delete(&id)).await;
        refused(&bed, &program, AUDIENCE).await;
        rest(PACE).await;
    }
}

async fn served(bed: &Bed, program: &Path, audience: &str) {
    let wants = if audience == AUDIENCE { Wants::All } else { Wants::Jwt };
    if let Some(Seen { tokens: 0, refusal, .. }) = bed.visit(program, wants, audience).await {
        bed.tally.error(format!("an entitled process was refused a token for {audience}: {refusal}"));
    }
}

async fn refused(bed: &Bed, program: &Path, audience: &str) {
    if let Some(seen) = bed.visit(program, Wants::Jwt, audience).await {
        bed.tally.refusals.add(seen.refusals);
        if seen.tokens > 0 {
            bed.tally.error(format!("a token for {audience} was issued to a process that is not entitled"));
        }
    }
}

/// Keys of both kinds are prepared and put to use; now and then an authority is tainted.
pub(super) async fn of_authorities(bed: Arc<Bed>) {
    for turn in 1_u64.. {
        rest(ROTATION).await;
        change(&bed, Deed::Prepare).await;
        rest(ROTATION).await;
        change(&bed, Deed::Activate).await;
        bed.tally.rotations.add(1);
        if turn % 5 == 0 {
            rest(ROTATION).await;
            change(&bed, Deed::Taint).await;
            bed.tally.taints.add(1);
        }
    }
}

/// Does it, again if a restart got in between: it may have been done or not then.
async fn change(bed: &Bed, deed: Deed<'_>) {
    let mut is_again = false;
    loop {
        let epoch = bed.life.now().await;
        let done = perform(bed, deed).await;
        match done {
            Ok(()) => break,
            Err(status) if is_again && is_done_already(&status) => break,
            Err(status) if bed.life.is(epoch) => {
                bed.tally.error(format!("an operator's change failed: {deed:?}: {status}"));
                break;
            }
            Err(_) => {
                bed.tally.interrupted.add(1);
                is_again = true;
            }
        }
    }
    if matches!(deed, Deed::Apply(_) | Deed::Delete(_)) {
        bed.tally.entries.add(1);
    }
}

async fn perform(bed: &Bed, deed: Deed<'_>) -> Result<(), Status> {
    let connected = Admin::connect(&bed.admin_socket).await;
    let mut admin = connected.map_err(|error| Status::unavailable(error.to_string()))?;
    match deed {
        Deed::Apply(entry) => admin.apply(entry).await,
        Deed::Delete(id) => admin.delete(id).await,
        Deed::Prepare => admin.prepare().await,
        Deed::Activate => admin.activate().await,
        Deed::Taint => admin.taint_x509().await,
    }
}

/// Whether this is said of a change that was made before.
fn is_done_already(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition)
}
