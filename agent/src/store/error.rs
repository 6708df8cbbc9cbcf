//! Why a record could not be read or written, and what an operator can do about it.

use std::io;
use std::path::PathBuf;

use countersign_common::entry::EntryId;
use countersign_common::spiffe_id::TrustDomain;

use super::foreign::BundleRefusal;
use super::plan::MAX_ENTRIES;

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such entry.
    #[error("no entry has the id {0}; see: countersign entry list")]
    NoSuchEntry(EntryId),
    /// One request, two entries of one name.
    #[error("two of the entries have the id {0}; each id stands once in an apply")]
    DuplicateEntry(EntryId),
    /// More entries than a store holds.
    #[error("there would be {count} entries; an agent holds at most {MAX_ENTRIES}")]
    TooManyEntries {
        /// How many there would be.
        count: usize,
    },
    /// The bundle of another trust domain is not set, shown or deleted.
    #[error(transparent)]
    Bundle(#[from] BundleRefusal),
    /// The directory of the database is not there.
    #[error("the database's directory {} cannot be used: {source}; create it, owned by the agent's user, mode 0700", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody else could read or replace the database.
    #[error("{} {objection}; {remedy}", path.display())]
    Exposed {
        /// The file or its directory.
        path: PathBuf,
        /// What is wrong with it.
        objection: &'static str,
        /// What would be right.
        remedy: &'static str,
    },
    /// Another process has the database open.
    #[error("the database {} is in use by another process; stop the other agent, or give this one a database of its own", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The kernel refuses the file.
    #[error("cannot {doing} the database {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file, but not one of ours.
    #[error("{} is not a database of Countersign; set the path of the store to another file", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// One of ours, and not whole.
    #[error("the database {} is damaged: {damage}; restore it from a backup, or move it away to begin with no \
        entries and new keys (tokens signed by the lost keys stop being accepted)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        damage: String,
    },
    /// The database of another trust domain.
    #[error("the database {} is of trust domain {found}, and the agent is configured for {wanted}; \
        correct trust_domain, or give this agent a database of its own", path.display())]
    OtherTrustDomain {
        /// The file.
        path: PathBuf,
        /// Whose database it is.
        found: String,
        /// Whose it should be.
        wanted: TrustDomain,
    },
    /// Written by a later release.
    #[error("the database {} has format {found}, and this release knows formats up to {known}; \
        run the release that wrote it, or a later one", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// The latest format that is known here.
        known: u32,
    },
    /// The change did not become durable for certain. The database is opened again for the next request.
    #[error("cannot write the database {}: {reason}; the change is not confirmed: see that the disk has room and \
        is healthy, then ask again", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the database said.
        reason: String,
    },
    /// A store in memory has nothing to be backed up.
    #[error("this agent keeps nothing: its entries are a file, and its keys end with it")]
    NothingKept,
    /// There is a database where a backup is to go.
    #[error("there is a database at {} already; with --replace it is kept beside, under another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The writer is gone.
    #[error("the store is closed: the agent is stopping, or the store's thread has failed (then restart the agent)")]
    Closed,
}
