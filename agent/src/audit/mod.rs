//! The record of every decision: one line each, without bearer material.
//!
//! What cannot be recorded is not issued: the caller writes the record first and
//! replies only if that succeeded. A line that failed is not kept for later; the next
//! record tries the file again, so a disk that has room again needs no hand.

mod file;
mod line;
mod record;
mod sink;
mod terminal;
mod turns;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use file::AuditFile;
pub use record::{Caller, Record, Stages, Whom};
use sink::Sink;
use turns::{Turns, WRITE_LIMIT};

/// How many records of callers that went away may wait; more are left to the log.
const MAX_LEFT: usize = 1024;

/// Where records go.
#[derive(Debug)]
pub struct Audit {
    turns: Turns,
    left: Arc<Semaphore>,
}

/// A record could not be written. The machine's fault, never the caller's.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file could not be opened or created.
    #[error("cannot open the audit file {}: {source}; nothing is issued until this is mended", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file did not take the line.
    #[error("cannot write the audit record to {}: {source}; nothing is issued until this is mended", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Standard error did not take the line.
    #[error("cannot write the decision to standard error: {source}; nothing is issued until this is mended")]
    Stderr {
        /// What the kernel said.
        source: io::Error,
    },
    /// The disk does not answer.
    #[error("the audit record was not written within {WRITE_LIMIT:?}; nothing is issued until the disk answers")]
    Late,
    /// The writing thread is gone: the agent is stopping.
    #[error("the audit record was given up; the agent is stopping")]
    GivenUp,
    /// The record has no JSON form.
    #[error("cannot encode the audit record: {source}; nothing is issued for this request")]
    Encode {
        /// What the encoder said.
        source: serde_json::Error,
    },
}

impl Audit {
    /// Appends to the file at `path`: one JSON object per line, mode 0600 when it is created here.
    ///
    /// Before a line would take the file beyond `max_bytes` the file becomes `path.1`, an older
    /// `path.1` becomes `path.2` and so on; `keep` of them are kept (0 is taken as 1), the oldest
    /// goes. One process writes a file; a file that is renamed or removed by somebody else is
    /// made anew under its name.
    ///
    /// # Errors
    /// The file can be neither opened nor created. A symbolic link is refused.
    pub fn to_file(path: impl Into<PathBuf>, max_bytes: u64, keep: u32) -> Result<Self, AuditError> {
        let file = AuditFile::open(path.into(), max_bytes, keep)?;
        Ok(Self::new(Sink::File(Mutex::new(file))))
    }

    /// One short line per decision for a person to read, in colour if that person is at a terminal
    /// and has not set `NO_COLOR`.
    pub fn to_stderr() -> Self {
        Self::new(Sink::Stderr { colour: terminal::takes_colour() })
    }

    fn new(sink: Sink) -> Self {
        Self { turns: Turns::new(sink), left: Arc::new(Semaphore::new(MAX_LEFT)) }
    }

    /// Writes one record; returns when the kernel has it. It is not forced to the disk: a power cut
    /// may lose the last lines, the death of this process loses none.
    ///
    /// # Errors
    /// The record was not written, or not in time; the decision must not take effect. Given up, a record may still
    /// be written later.
    pub async fn record(&self, record: Record) -> Result<(), AuditError> {
        self.turns.write(self.turns.writer.sink.line(record)?).await
    }

    /// Writes a record whether its caller is still there or not. Who has something to say after
    /// it waits for what is returned, if there is a task: it ends when the record is written or
    /// its failure is logged.
    pub fn record_later(self: &Arc<Self>, record: Record) -> Option<JoinHandle<()>> {
        let (Ok(runtime), Ok(place)) = (Handle::try_current(), Arc::clone(&self.left).try_acquire_owned()) else {
            tracing::error!(pid = record.whom.caller().pid, "a record that nobody waits for could not be written");
            return None;
        };
        let audit = Arc::clone(self);
        Some(runtime.spawn(async move {
            let _place = place;
            if let Err(error) = audit.record(record).await {
                tracing::error!(%error, "a record that nobody waits for could not be written");
            }
        }))
    }
}

#[cfg(test)]
mod tests;
