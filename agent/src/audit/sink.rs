//! Where lines go: a file, or the terminal of a person.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use super::file::AuditFile;
use super::record::Record;
use super::{AuditError, line, terminal};

#[derive(Debug)]
pub(super) enum Sink {
    File(Mutex<AuditFile>),
    Stderr { colour: bool },
}

impl Sink {
    /// The record as it is written here.
    pub(super) fn line(&self, record: Record) -> Result<Vec<u8>, AuditError> {
        match self {
            Self::File(_) => line::json(&record).map_err(|source| AuditError::Encode { source }),
            Self::Stderr { colour } => Ok(terminal::line(&record, *colour).into_bytes()),
        }
    }

    /// Writes lines in one go where they fit: how many of them were written, from the first on, and why not the others.
    /// Blocks for one `write(2)`, with one rename per kept file when the file is full.
    pub(super) fn write_all(&self, lines: &[&[u8]]) -> (usize, Result<(), AuditError>) {
        match self {
            // A thread that panicked while it held the lock leaves at worst an unfinished
            // line, which the next append looks for.
            Self::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).append_all(lines),
            // In one write(2), so that lines of several threads do not mix.
            Self::Stderr { .. } => match io::stderr().lock().write_all(&lines.concat()) {
                Ok(()) => (lines.len(), Ok(())),
                Err(source) => (0, Err(AuditError::Stderr { source })),
            },
        }
    }
}
