//! What is injected where, and what is seen then: the table of `docs/faults.md`.

use std::fmt;

/// In the place of an error: the agent is killed at the call, which is not carried out.
pub(crate) const KILLED: &str = "SIGKILL";

/// What the agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum During {
    FirstStart,
    Restart,
    Apply,
    Prepare,
    Activate,
    Backup,
    Issue,
}

/// What the call concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Database,
    Directory,
    SealingKey,
    Audit,
    Sockets,
    Anything,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seen {
    /// Done, as if nothing had been.
    Done,
    /// Whoever asked is told that it is not done, and why; the agent goes on.
    Refused,
    /// The agent does not start, or ends, and says why.
    Ended,
    /// The agent was killed, or the program ended itself.
    Killed,
}

/// One kind of call, and what it comes to when it fails with any of these errors.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) during: During,
    pub(crate) on: On,
    pub(crate) call: &'static str,
    pub(crate) errors: &'static [&'static str],
    pub(crate) seen: &'static [Seen],
}

/// The rows of one time in the agent's life.
pub(crate) fn rows(during: During) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.during == during)
}

/// The table as it stands in the documentation.
pub(crate) fn in_words() -> String {
    let head = "| during | on | call | error | seen |\n|---|---|---|---|---|\n".to_owned();
    ROWS.iter().fold(head, |table, row| {
        let seen: Vec<String> = row.seen.iter().map(ToString::to_string).collect();
        let (errors, seen) = (row.errors.join(", "), seen.join("; "));
        table + &format!("| {} | {} | `{}` | {errors} | {seen} |\n", row.during, row.on, row.call)
    })
}

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstStart => "first start",
            Self::Restart => "start after a kill",
            Self::Apply => "`entry apply`",
            Self::Prepare => "`authority prepare`",
            Self::Activate => "`authority activate`",
            Self::Backup => "`backup`",
            Self::Issue => "an SVID",
        })
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Database => "database",
            Self::Directory => "its directory",
            Self::SealingKey => "sealing key",
            Self::Audit => "audit file",
            Self::Sockets => "sockets and their directories",
            Self::Anything => "anything",
        })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Ended => "ends and says why",
            Self::Killed => "dies",
        })
    }
}

const fn row(
    during: During,
    on: On,
    call: &'static str,
    errors: &'static [&'static str],
    seen: &'static [Seen],
) -> Row {
    Row { during, on, call, errors, seen }
}

use During::{Activate, Apply, Backup, FirstStart, Issue, Prepare, Restart};
use On::{Anything, Audit, Database, Directory, SealingKey, Sockets};
use Seen::{Done, Ended, Killed, Refused};

const ROWS: &[Row] = &[
    row(FirstStart, Anything, "openat", &["EMFILE", "ENOSPC", "EIO"], &[Done, Ended, Killed]),
    row(FirstStart, Anything, "renameat2", &["EIO", "ENOSPC", "EROFS"], &[Ended]),
    row(FirstStart, Anything, "pwrite64", &["EIO", "ENOSPC"], &[Ended]),
    row(FirstStart, Anything, "pwrite64", &[KILLED], &[Killed]),
    row(FirstStart, Anything, "fdatasync", &["EIO", "ENOSPC"], &[Ended]),
    row(FirstStart, Anything, "fsync", &["EIO", "ENOSPC"], &[Ended]),
    row(FirstStart, Anything, "ftruncate", &["ENOSPC", "EIO"], &[Ended]),
    row(FirstStart, Anything, "fchmod", &["EIO", "EROFS"], &[Ended]),
    row(FirstStart, Anything, "chmod", &["EIO", "EROFS"], &[Ended]),
    row(FirstStart, Anything, "mkdir", &["ENOSPC", "EROFS", "EIO"], &[Ended]),
    row(FirstStart, Anything, "socket", &["EMFILE", "ENOMEM"], &[Ended]),
    row(FirstStart, Anything, "bind", &["ENOSPC", "EROFS", "ENOMEM"], &[Ended]),
    row(FirstStart, Anything, "listen", &["ENOMEM"], &[Ended]),
    row(FirstStart, Anything, "epoll_create1", &["EMFILE"], &[Ended]),
    row(FirstStart, Anything, "eventfd2", &["EMFILE"], &[Ended]),
    row(FirstStart, Anything, "clone3", &["EAGAIN"], &[Done, Ended, Killed]),
    row(FirstStart, Anything, "getrandom", &["EINTR"], &[Done]),
    row(FirstStart, Anything, "mmap", &["ENOMEM"], &[Done, Ended, Killed]),
    row(FirstStart, Anything, "brk", &["ENOMEM"], &[Done, Killed]),
    row(Restart, Directory, "statx", &["EIO", "ENOMEM"], &[Ended]),
    row(Restart, SealingKey, "openat", &["EIO", "EMFILE", "ENOMEM"], &[Ended]),
    row(Restart, SealingKey, "statx", &["EIO"], &[Ended]),
    row(Restart, SealingKey, "read", &["EIO"], &[Ended]),
    row(Restart, SealingKey, "read", &["EINTR"], &[Done]),
    row(Restart, Database, "openat", &["EIO", "EMFILE", "ENOMEM", "EROFS"], &[Ended]),
    row(Restart, Database, "openat", &["EINTR"], &[Done]),
    row(Restart, Database, "statx", &["EIO", "ENOMEM"], &[Ended]),
    row(Restart, Database, "read", &["EIO"], &[Ended]),
    row(Restart, Database, "flock", &["ENOLCK"], &[Done]),
    row(Restart, Database, "fcntl", &["ENOLCK"], &[Done, Ended]),
    row(Restart, Database, "pread64", &["EIO"], &[Ended]),
    row(Restart, Database, "pread64", &["EINTR"], &[Done]),
    row(Restart, Database, "pwrite64", &["EIO", "ENOSPC", "EROFS"], &[Ended]),
    row(Restart, Database, "pwrite64", &["EINTR"], &[Done]),
    row(Restart, Database, "pwrite64", &[KILLED], &[Killed]),
    row(Restart, Database, "fdatasync", &["EIO", "ENOSPC"], &[Ended]),
    row(Restart, Database, "fdatasync", &["EINTR"], &[Done]),
    row(Restart, Database, "fdatasync", &[KILLED], &[Killed]),
    row(Restart, Audit, "openat", &["EIO", "EMFILE", "ENOSPC", "EROFS"], &[Ended]),
    row(Restart, Audit, "statx", &["EIO"], &[Ended]),
    row(Restart, Audit, "pread64", &["EIO"], &[Ended]),
    row(Restart, Sockets, "openat", &["EMFILE", "EIO"], &[Ended]),
    row(Restart, Sockets, "flock", &["ENOLCK"], &[Ended]),
    row(Restart, Sockets, "unlink", &["EIO", "EROFS"], &[Ended]),
    row(Apply, Database, "pread64", &["EIO"], &[Refused]),
    row(Apply, Database, "pread64", &["EINTR"], &[Done]),
    row(Apply, Database, "pwrite64", &["EIO", "ENOSPC", "EROFS"], &[Refused]),
    row(Apply, Database, "pwrite64", &["EINTR"], &[Done]),
    row(Apply, Database, "pwrite64", &[KILLED], &[Killed]),
    row(Apply, Database, "fdatasync", &["EIO", "ENOSPC"], &[Refused]),
    row(Apply, Database, "fdatasync", &["EINTR"], &[Done]),
    row(Apply, Database, "fdatasync", &[KILLED], &[Killed]),
    row(Apply, Database, "ftruncate", &["EIO", "ENOSPC"], &[Refused]),
    row(Apply, Audit, "write", &["EIO", "ENOSPC"], &[Refused]),
    row(Apply, Anything, "accept4", &["EMFILE", "ENFILE"], &[Done]),
    row(Prepare, Database, "pread64", &["EIO"], &[Refused]),
    row(Prepare, Database, "pwrite64", &["EIO", "ENOSPC"], &[Refused]),
    row(Prepare, Database, "pwrite64", &[KILLED], &[Killed]),
    row(Prepare, Database, "fdatasync", &["EIO", "ENOSPC"], &[Refused]),
    row(Prepare, Database, "fdatasync", &[KILLED], &[Killed]),
    row(Prepare, Anything, "getrandom", &["EINTR"], &[Done]),
    row(Prepare, Anything, "clone3", &["EAGAIN"], &[Done, Refused]),
    row(Activate, Database, "pwrite64", &["EIO", "ENOSPC"], &[Refused]),
    row(Activate, Database, "pwrite64", &[KILLED], &[Killed]),
    row(Activate, Database, "fdatasync", &["EIO", "ENOSPC"], &[Refused]),
    row(Activate, Database, "fdatasync", &[KILLED], &[Killed]),
    row(Backup, Directory, "openat", &["EMFILE", "ENOSPC", "EROFS", "EIO"], &[Refused]),
    row(Backup, Anything, "pwrite64", &["EIO", "ENOSPC"], &[Done, Refused]),
    row(Backup, Anything, "fdatasync", &["EIO", "ENOSPC"], &[Done, Refused]),
    row(Backup, Anything, "ftruncate", &["ENOSPC", "EIO"], &[Refused]),
    row(Issue, Audit, "write", &["EIO", "ENOSPC", "EROFS"], &[Refused]),
    row(Issue, Audit, "write", &["EINTR"], &[Done]),
    row(Issue, Audit, "statx", &["EIO"], &[Done, Refused]),
];
