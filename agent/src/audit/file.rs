//! The audit file: appended by whole lines, rotated by size, made anew if it is gone.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use super::AuditError;

/// One open audit file.
///
/// Invariant: while `unfinished` is false, the file ends with a newline or is empty.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    /// None after a failure; the next append opens it again.
    file: Option<Open>,
    unfinished: bool,
    rotation_failing: bool,
}

/// A file, and which one it is. As long as it is open, no other one gets its numbers.
#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
}

impl AuditFile {
    pub(super) fn open(path: PathBuf, max_bytes: u64, keep: u32) -> Result<Self, AuditError> {
        let mut audit =
            Self { path, max_bytes, keep: keep.max(1), file: None, unfinished: false, rotation_failing: false };
        audit.reopen()?;
        Ok(audit)
    }

    /// Appends lines, in one go if the file has room for all of them and else one by one: how many were appended, and
    /// why not the others.
    pub(super) fn append_all(&mut self, lines: &[&[u8]]) -> (usize, Result<(), AuditError>) {
        if let [_, _, ..] = lines {
            let all = lines.concat();
            if self.current_length().is_ok_and(|length| length.saturating_add(all.len() as u64) <= self.max_bytes) {
                let appended = self.append(&all);
                return (if appended.is_ok() { lines.len() } else { 0 }, appended);
            }
        }
        for (before, line) in lines.iter().enumerate() {
            if let Err(error) = self.append(line) {
                return (before, Err(error));
            }
        }
        (lines.len(), Ok(()))
    }

    /// Appends `line` (which ends with a newline) in one write, or leaves no part of it behind.
    fn append(&mut self, line: &[u8]) -> Result<(), AuditError> {
        let mut length = self.current_length()?;
        let room = self.max_bytes.saturating_sub(line.len() as u64);
        if length > 0 && length > room && self.rotate() {
            self.file = None;
            length = self.current_length()?;
        }
        let Some(Open { file, .. }) = &mut self.file else {
            return Err(self.write_error(io::Error::from(ErrorKind::NotFound)));
        };
        let own_line;
        let bytes = if self.unfinished {
            // What an earlier write left is closed off, so that it spoils no line but its own.
            own_line = [b"\n", line].concat();
            own_line.as_slice()
        } else {
            line
        };
        match write_whole(file, bytes) {
            Ok(()) => {
                self.unfinished = false;
                Ok(())
            }
            Err((written, source)) => {
                if written > 0 && file.set_len(length).is_err() {
                    self.unfinished = true;
                }
                Err(self.write_error(source))
            }
        }
    }

    /// The length of the file under our name, which is open when this returns.
    ///
    /// The name is looked at before each line: a file that somebody moved or removed would
    /// otherwise go on taking lines that nobody can find.
    fn current_length(&mut self) -> Result<u64, AuditError> {
        if let Some(open) = &self.file
            && let Ok(named) = fs::symlink_metadata(&self.path)
            && (named.dev(), named.ino()) == (open.device, open.inode)
        {
            return Ok(named.len());
        }
        self.reopen()
    }

    fn reopen(&mut self) -> Result<u64, AuditError> {
        self.file = None;
        let (open, length, unfinished) =
            open_for_append(&self.path).map_err(|source| AuditError::Open { path: self.path.clone(), source })?;
        self.file = Some(open);
        self.unfinished = unfinished;
        Ok(length)
    }

    /// Moves the full file out of the way; false if that failed.
    ///
    /// Failure keeps the file in use, beyond its size: a file that is too long is mended by an
    /// operator, a decision without a record by nobody. Nothing is overwritten on the way to a
    /// failure, however often it is tried: only names below the first free one are moved.
    fn rotate(&mut self) -> bool {
        let result = self.shift();
        match &result {
            Ok(()) => self.rotation_failing = false,
            Err(error) if !self.rotation_failing => {
                self.rotation_failing = true;
                tracing::error!(
                    file = %self.path.display(), %error,
                    "cannot rotate the audit file; it grows beyond its size until this is mended"
                );
            }
            Err(_) => {}
        }
        result.is_ok()
    }

    fn shift(&self) -> io::Result<()> {
        let mut free = 1;
        while free < self.keep && exists(&self.numbered(free))? {
            free += 1;
        }
        for number in (1..free).rev() {
            fs::rename(self.numbered(number), self.numbered(number + 1))?;
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    fn write_error(&self, source: io::Error) -> AuditError {
        AuditError::Write { path: self.path.clone(), source }
    }
}

/// Opens without following a link in the last component, and without waiting for a reader if
/// somebody put a FIFO there (open(2): O_NOFOLLOW, O_NONBLOCK). The standard library sets O_CLOEXEC.
fn open_for_append(path: &std::path::Path) -> io::Result<(Open, u64, bool)> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let found = file.metadata()?;
    let length = found.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok((Open { file, device: found.dev(), inode: found.ino() }, length, last != [b'\n']))
}

/// One write(2), tried again only if a signal came before any byte was taken. An error carries how
/// many bytes the file took; they are not a line.
fn write_whole(file: &mut File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    loop {
        match file.write(bytes) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(written) => return Err((written, io::Error::from(ErrorKind::StorageFull))),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err((0, error)),
        }
    }
}

fn exists(path: &std::path::Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
