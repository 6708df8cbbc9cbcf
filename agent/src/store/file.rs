//! Where the database is, and that nobody else can read, replace or half-write it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use countersign_common::spiffe_id::TrustDomain;
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Builder, DatabaseError, StorageError};

use super::StoreError;
use super::database::{Contents, Database};
#[cfg(feature = "weakened")]
use crate::weakened::Protection;

/// What a redb file begins with.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// Memory for pages of the file. Small: every entry is in memory already.
const CACHE_BYTES: usize = 1024 * 1024;

/// Where a database lives.
#[derive(Debug)]
pub(super) enum Place {
    /// In this file.
    File(PathBuf),
    /// In this process.
    Memory,
}

impl Place {
    /// The name in messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Memory => Path::new("in memory"),
        }
    }

    /// Whether a database that is closed can be opened again.
    pub(super) fn survives_closing(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// Opens the database and reads it; creates it where there is none.
pub(super) fn open(place: &Place, trust_domain: &TrustDomain) -> Result<(Database, Contents), StoreError> {
    let database = match place {
        Place::Memory => {
            let database = start(builder().create_with_backend(InMemoryBackend::new()), place.path())?;
            database.initialise(trust_domain)?;
            database
        }
        Place::File(path) => {
            check_directory(directory_of(path))?;
            match open_file(path) {
                Ok(file) => match open_existing(file, path) {
                    #[cfg(feature = "weakened")]
                    Err(_) if Protection::Whole.is_out() => begin_anew(path, trust_domain)?,
                    opened => opened?,
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, trust_domain)?,
                Err(source) => return Err(StoreError::File { doing: "open", path: path.clone(), source }),
            }
        }
    };
    let contents = database.load(trust_domain)?;
    Ok((database, contents))
}

/// Opens a database that was open before and failed: one that is gone is not created anew.
///
/// After a write-back that failed the kernel takes the pages in its memory for written (fsync(2), errors).
/// They would read as a change that is on disk and is not, and nobody would write them again: what can
/// still be written is, then all of it is read from the disk.
pub(super) fn reopen(place: &Place, trust_domain: &TrustDomain) -> Result<(Database, Contents), StoreError> {
    let path = place.path();
    let failed = |doing| move |source| StoreError::File { doing, path: path.to_owned(), source };
    let file = open_file(path).map_err(failed("open"))?;
    file.sync_all().map_err(failed("write"))?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(|errno| failed("read")(errno.into()))?;
    let database = open_existing(file, path)?;
    let contents = database.load(trust_domain)?;
    Ok((database, contents))
}

pub(super) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

pub(super) fn open_existing(mut file: File, path: &Path) -> Result<Database, StoreError> {
    let unreadable = |source| StoreError::File { doing: "read", path: path.to_owned(), source };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(StoreError::NotADatabase { path: path.to_owned() });
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(exposed(
            path,
            "can be used by group or others",
            "chmod 600, and ask who read it: it holds the sealed keys",
        ));
    }
    check_owner(path, metadata.uid())?;
    let mut begin = Vec::new();
    Read::by_ref(&mut file).take(MAGIC.len() as u64).read_to_end(&mut begin).map_err(unreadable)?;
    if begin.len() < MAGIC.len() {
        // redb takes an empty file for a new database: a lost one must not begin anew in silence.
        return Err(StoreError::Damaged { path: path.to_owned(), damage: "the file is cut short".to_owned() });
    }
    if begin != MAGIC {
        return Err(StoreError::NotADatabase { path: path.to_owned() });
    }
    start(FileBackend::new(file).and_then(|backend| builder().create_with_backend(backend)), path)
}

/// Makes a database under another name and gives it its own when it is whole and on disk: a
/// crash leaves no half of one, only a `.new` file that nothing looks at.
fn create(path: &Path, trust_domain: &TrustDomain) -> Result<Database, StoreError> {
    let failed = |source| StoreError::File { doing: "create", path: path.to_owned(), source };
    let directory = directory_of(path);
    let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let unnamed = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".new")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory)
        .map_err(failed)?;
    let (file, name) = unnamed.into_parts();
    let database = start(FileBackend::new(file).and_then(|backend| builder().create_with_backend(backend)), path)?;
    database.initialise(trust_domain)?;
    match name.persist_noclobber(path) {
        Ok(()) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(StoreError::InUse { path: path.to_owned() });
        }
        Err(error) => return Err(failed(error.error)),
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    Ok(database)
}

#[cfg(feature = "weakened")]
fn begin_anew(path: &Path, trust_domain: &TrustDomain) -> Result<Database, StoreError> {
    let failed = |source| StoreError::File { doing: "remove", path: path.to_owned(), source };
    std::fs::remove_file(path).map_err(failed)?;
    create(path, trust_domain)
}

/// Every page of the file is checked against its checksum when it is opened.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

pub(super) fn start(opened: Result<redb::Database, DatabaseError>, path: &Path) -> Result<Database, StoreError> {
    let path = path.to_owned();
    match opened {
        Ok(inner) => Ok(Database::new(inner, path)),
        Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
            Err(StoreError::InUse { path })
        }
        Err(DatabaseError::UpgradeRequired(_)) => Err(StoreError::NotADatabase { path }),
        Err(DatabaseError::Storage(StorageError::Io(source)))
            if !matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            Err(StoreError::File { doing: "open", path, source })
        }
        Err(other) => Err(StoreError::Damaged { path, damage: other.to_string() }),
    }
}

/// Whoever may write to the directory may put another file in the database's place.
pub(super) fn check_directory(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Directory { path: path.to_owned(), source };
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(exposed(path, "can be written by group or others", "chmod 700"));
    }
    check_owner(path, metadata.uid())
}

fn check_owner(path: &Path, owner: u32) -> Result<(), StoreError> {
    if owner == 0 || owner == nix::unistd::geteuid().as_raw() {
        Ok(())
    } else {
        Err(exposed(path, "belongs to another user", "chown it to the agent's user"))
    }
}

fn exposed(path: &Path, objection: &'static str, remedy: &'static str) -> StoreError {
    StoreError::Exposed { path: path.to_owned(), objection, remedy }
}

pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}
