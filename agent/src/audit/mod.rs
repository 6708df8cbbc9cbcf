//! The record of every decision: one line each, without bearer material.
//!
//! What cannot be recorded is not issued: the caller writes the record first and
//! replies only if that succeeded. A line that failed is not kept for later; the next
//! record tries the file again, so a disk that has room again needs no hand.

mod file;
mod line;
mod record;
mod terminal;

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use file::AuditFile;
pub use record::{Caller, Record, Stages};

/// Where records go.
#[derive(Debug)]
pub struct Audit {
    sink: Sink,
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
        Ok(Self { sink: Sink::File(Mutex::new(file)) })
    }

    /// One short line per decision for a person to read, in colour if that person is at a terminal
    /// and has not set `NO_COLOR`.
    pub fn to_stderr() -> Self {
        Self { sink: Sink::Stderr { colour: terminal::takes_colour() } }
    }

    /// Writes one record; returns when the kernel has it. It is not forced to the disk: a power cut
    /// may lose the last lines, the death of this process loses none.
    ///
    /// Blocks for one `write(2)`, with one rename per kept file when the file is full.
    ///
    /// # Errors
    /// The record was not written; the decision must not take effect.
    pub fn record(&self, record: &Record) -> Result<(), AuditError> {
        match &self.sink {
            Sink::File(file) => {
                let line = line::json(record).map_err(|source| AuditError::Encode { source })?;
                // A thread that panicked while it held the lock leaves at worst an unfinished
                // line, which the next append looks for.
                file.lock().unwrap_or_else(PoisonError::into_inner).append(&line)
            }
            Sink::Stderr { colour } => terminal::write(record, *colour),
        }
    }
}

#[cfg(test)]
mod tests;
