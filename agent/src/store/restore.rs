//! A backup takes the place of the database, while no agent runs.
//!
//! The backup is put beside the database under a name of its own and read whole, as the agent
//! would read it. Only what could be used takes the place; what was there is kept beside it.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use countersign_common::entry::EntrySet;
use countersign_common::spiffe_id::TrustDomain;
use tempfile::NamedTempFile;

use super::StoreError;
use super::database::Database;
use super::file;

/// As many replaced databases are kept under names of their own.
const MOST_KEPT: u32 = 1000;

/// A backup that was read, on the way to its place.
pub struct Restoring {
    database: Database,
    unplaced: NamedTempFile,
    path: PathBuf,
    entries: EntrySet,
}

impl Restoring {
    /// Reads a backup for the database at `path`. Blocks until all of it was checked.
    ///
    /// # Errors
    /// The backup is damaged, of another trust domain or of a later format, or the directory of
    /// the database cannot be used.
    pub fn read(backup: &Path, path: &Path, trust_domain: &TrustDomain) -> Result<Self, StoreError> {
        let unreadable = |source| StoreError::File { doing: "read", path: backup.to_owned(), source };
        let failed = |source| StoreError::File { doing: "create", path: path.to_owned(), source };
        file::check_directory(file::directory_of(path))?;
        let mut from = File::open(backup).map_err(unreadable)?;
        let mut unplaced = tempfile::Builder::new()
            .prefix(".restore.")
            .suffix(".new")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(file::directory_of(path))
            .map_err(failed)?;
        copy_bytes(&mut from, unplaced.as_file_mut()).map_err(unreadable)?;
        // Messages name the file that the operator knows.
        let reopened = unplaced.reopen().map_err(failed)?;
        let database = file::open_existing(reopened, backup)?;
        let entries = database.load(trust_domain)?.entries;
        Ok(Self { database, unplaced, path: path.to_owned(), entries })
    }

    /// The entries of the backup.
    pub fn entries(&self) -> &EntrySet {
        &self.entries
    }

    /// The authority's state in the backup, as its owner sealed it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn authority_state(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.authority_state()
    }

    /// Puts another state in its place.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_authority_state(&self, sealed: &[u8]) -> Result<(), StoreError> {
        self.database.save_authority_state(sealed)
    }

    /// Gives the backup the name of the database; on disk when this returns. With `replace` a
    /// database that is there is kept under another name, which is given back.
    ///
    /// # Errors
    /// A database is there and is not to be replaced, an agent works with it, or the disk refuses.
    pub fn place(self, replace: bool) -> Result<Option<PathBuf>, StoreError> {
        let Self { database, unplaced, path, .. } = self;
        drop(database);
        let failed = |source| StoreError::File { doing: "replace", path: path.clone(), source };
        unplaced.as_file().sync_all().map_err(failed)?;
        // Held until the name is another's, so that no agent begins to work with it meanwhile.
        let in_use = match file::open_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            _ if !replace => return Err(StoreError::Exists { path }),
            Err(source) => return Err(failed(source)),
            Ok(old) => match file::open_existing(old, &path) {
                Err(error @ StoreError::InUse { .. }) => return Err(error),
                // One that cannot be used is what restoring is for.
                old => Some(old),
            },
        };
        let kept = in_use.as_ref().map(|_| keep(&path).map_err(failed)).transpose()?;
        unplaced.persist_noclobber(&path).map_err(|error| failed(error.error))?;
        File::open(file::directory_of(&path)).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(kept)
    }
}

/// Moves a database to a name that nothing has.
fn keep(path: &Path) -> io::Result<PathBuf> {
    for number in 1..=MOST_KEPT {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".replaced-{number}"));
        match fs::hard_link(path, &name) {
            Ok(()) => {
                fs::remove_file(path)?;
                return Ok(name.into());
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many replaced databases lie there; remove some"))
}

/// Copies to the end, and no further than a store may be large.
fn copy_bytes(from: &mut File, to: &mut File) -> io::Result<()> {
    /// Far more than the most entries of the greatest length take.
    const LARGEST: u64 = 16 << 30;
    let copied = io::copy(&mut from.take(LARGEST + 1), to)?;
    if copied > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any backup"));
    }
    to.flush()
}
