//! The record of every decision: one line each, without bearer material.
//!
//! What cannot be recorded is not issued: the caller writes the record first and
//! replies only if that succeeded. A line that failed is not kept for later; the next
//! record tries the file again, so a disk that has room again needs no hand.

mod file;
mod line;
mod record;
mod terminal;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;

use file::AuditFile;
pub use record::{Caller, Record, Stages, Whom};

/// How long one record may take, the wait for those before it included.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// A write that takes longer than this has the disk taken for slow.
const QUICK: Duration = Duration::from_millis(10);

/// How long a disk is taken for slow.
const SLOW_FOR: Duration = Duration::from_millis(100);

/// How often it is looked whether somebody else has written, before another thread is woken for it: some
/// ten microseconds, twice as long as a quick write takes.
const LOOKS: u32 = 500;

/// How many records of callers that went away may wait; more are left to the log.
const MAX_LEFT: usize = 1024;

/// Where records go.
#[derive(Debug)]
pub struct Audit {
    sink: Arc<Sink>,
    /// One writes at a time, so that a disk that hangs keeps one thread and no more.
    turn: Arc<Semaphore>,
    left: Arc<Semaphore>,
    slow_until: Arc<Mutex<Option<Instant>>>,
}

#[derive(Debug)]
enum Sink {
    File(Mutex<AuditFile>),
    Stderr { colour: bool },
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
        let (turn, left) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(MAX_LEFT)));
        Self { sink: Arc::new(sink), turn, left, slow_until: Arc::default() }
    }

    /// Writes one record; returns when the kernel has it. It is not forced to the disk: a power cut
    /// may lose the last lines, the death of this process loses none.
    ///
    /// A write takes as long as the disk does, which any local user can keep busy. As long as writes are quick each is
    /// done at once, since to wake another thread for it takes longer than it does itself. After one that was not, they are done on a
    /// thread of their own, while others are served; so a disk that hangs stops one thread of the runtime at most,
    /// which has two or more. Given up, a record may still be written later.
    ///
    /// # Errors
    /// The record was not written, or not in time; the decision must not take effect.
    pub async fn record(&self, record: Record) -> Result<(), AuditError> {
        let entry = self.sink.entry(record)?;
        if let Some(_turn) = self.quick_turn() {
            return write_timed(&self.sink, &entry, &self.slow_until);
        }
        let written = async {
            let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| AuditError::GivenUp)?;
            let (sink, slow_until) = (Arc::clone(&self.sink), Arc::clone(&self.slow_until));
            let write = move || {
                let _turn = turn;
                write_timed(&sink, &entry, &slow_until)
            };
            tokio::task::spawn_blocking(write).await.unwrap_or(Err(AuditError::GivenUp))
        };
        tokio::time::timeout(WRITE_LIMIT, written).await.unwrap_or(Err(AuditError::Late))
    }

    /// The turn to write at once; none while somebody else writes, the disk is slow, a person may keep the
    /// terminal from taking a line, or the runtime has no other thread.
    fn quick_turn(&self) -> Option<SemaphorePermit<'_>> {
        let has_others =
            Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        let is_quick = || lock(&self.slow_until).is_none_or(|until| until <= Instant::now());
        let may_write = has_others && matches!(*self.sink, Sink::File(_)) && is_quick();
        let turn = |_| {
            std::hint::spin_loop();
            self.turn.try_acquire().ok()
        };
        if may_write { (0..LOOKS).find_map(turn) } else { None }
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

fn write_timed(sink: &Sink, entry: &[u8], slow_until: &Mutex<Option<Instant>>) -> Result<(), AuditError> {
    let begin = Instant::now();
    let written = sink.write(entry);
    if begin.elapsed() > QUICK {
        *lock(slow_until) = Some(Instant::now() + SLOW_FOR);
    }
    written
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    /// The record as it is written here.
    fn entry(&self, record: Record) -> Result<Vec<u8>, AuditError> {
        match self {
            Self::File(_) => line::json(&record).map_err(|source| AuditError::Encode { source }),
            Self::Stderr { colour } => Ok(terminal::line(&record, *colour).into_bytes()),
        }
    }

    /// Blocks for one `write(2)`, with one rename per kept file when the file is full.
    fn write(&self, entry: &[u8]) -> Result<(), AuditError> {
        match self {
            // A thread that panicked while it held the lock leaves at worst an unfinished
            // line, which the next append looks for.
            Self::File(file) => lock(file).append(entry),
            // In one write(2), so that lines of several threads do not mix.
            Self::Stderr { .. } => io::stderr().lock().write_all(entry).map_err(|source| AuditError::Stderr { source }),
        }
    }
}

#[cfg(test)]
mod tests;
