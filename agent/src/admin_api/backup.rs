//! A copy of the database for operators.

use std::fs::File;
use std::io::Read;

use aws_lc_rs::digest;
use countersign_common::proto::admin::backup_server::Backup;
use countersign_common::proto::admin::{TakeBackupRequest, TakeBackupResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::operator::{Journal, Operator};
use super::status;
use crate::store::Store;

const EVENT: &str = "backup_take";

/// Bytes of the copy in one message.
const PART_BYTES: usize = 256 << 10;

/// The service that hands it out.
pub(super) struct BackupService {
    store: Store,
    journal: Journal,
}

impl BackupService {
    pub(super) fn new(store: Store, journal: Journal) -> Self {
        Self { store, journal }
    }
}

#[tonic::async_trait]
impl Backup for BackupService {
    type TakeStream = ReceiverStream<Result<TakeBackupResponse, Status>>;

    async fn take(&self, request: Request<TakeBackupRequest>) -> Result<Response<Self::TakeStream>, Status> {
        let operator = Operator::of(&request)?;
        // Sealed or not, it is everything that the agent has: who took a copy is told.
        self.journal.intends(operator, EVENT, "taken", None).await?;
        let copy = match self.store.copy().await {
            Ok(copy) => copy,
            Err(error) => {
                let status = status::of_store(&error);
                self.journal.failed(operator, EVENT, status.message()).await;
                return Err(status);
            }
        };
        // One part at a time: who does not read holds back one of them.
        let (parts, receiver) = mpsc::channel(1);
        tokio::task::spawn_blocking(move || send(copy, &parts));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Sends the copy until its end, or until the operator has gone.
fn send(mut copy: File, parts: &mpsc::Sender<Result<TakeBackupResponse, Status>>) {
    let mut digest = digest::Context::new(&digest::SHA256);
    loop {
        let mut part = Vec::with_capacity(PART_BYTES);
        let message = match copy.by_ref().take(PART_BYTES as u64).read_to_end(&mut part) {
            Err(error) => Err(Status::unavailable(format!("cannot read the copy of the database: {error}"))),
            Ok(0) => Ok(TakeBackupResponse { part, sha256: digest.clone().finish().as_ref().to_vec() }),
            Ok(_) => {
                digest.update(&part);
                Ok(TakeBackupResponse { part, sha256: Vec::new() })
            }
        };
        let is_last = message.as_ref().map_or(true, |message| message.part.is_empty());
        if parts.blocking_send(message).is_err() || is_last {
            return;
        }
    }
}
