//! A copy of the database as of one revision, made while the agent works.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use redb::backends::FileBackend;

use super::StoreError;
use super::database::Database;
use super::file::{self, Place};

/// A copy in a file without a name in the database's directory, to be read from its start. It
/// is a database of the same format: keys in it are sealed as they are in the original.
pub(super) fn copy(database: &Database, place: &Place) -> Result<File, StoreError> {
    let Place::File(path) = place else { return Err(StoreError::NothingKept) };
    let failed = |source| StoreError::File { doing: "copy", path: path.clone(), source };
    let mut file = tempfile::tempfile_in(file::directory_of(path)).map_err(failed)?;
    let backend = file.try_clone().map_err(failed).map(FileBackend::new)?;
    let copy = file::start(backend.and_then(|backend| file::builder().create_with_backend(backend)), path)?;
    database.copy_into(&copy)?;
    drop(copy);
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(file)
}
