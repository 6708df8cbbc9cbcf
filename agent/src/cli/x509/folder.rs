//! The directory that an SVID is kept in for programs that read files.
//!
//! Every file lives in a generation, a directory that is filled and then never changed. All names
//! that programs use go through one link, so that all of them change in one rename(2):
//!
//! ```text
//! svid.pem          -> ..data/svid.pem
//! svid_and_key.pem  -> ..data/svid_and_key.pem      and so on
//! ..data            -> ..svid-Xq71Zk                the current generation
//! ..svid-Xq71Zk/svid.pem
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use super::files::{Content, NAMES, NamedFile};
use crate::cli::outcome::CliError;
use crate::trusted_path::{Owners, walk};

/// The one link that every name goes through.
const DATA: &str = "..data";
/// Where the link is made before it takes the place of the other.
const NEXT_DATA: &str = "..data-next";
/// How the name of a generation begins.
const GENERATION: &str = "..svid-";
/// Held by the one process that writes here.
const LOCK: &str = "..lock";

const PUBLIC_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;
const SETGID: u32 = 0o2000;

/// A directory that nobody else may change, held by this process.
pub(super) struct Folder {
    path: PathBuf,
    key_mode: u32,
    _lock: Flock<File>,
}

impl Folder {
    /// Takes the directory `path`. The way to it is walked and checked, as is what is in it: names
    /// that are not ours are refused, and what an earlier run left behind is removed. Files that
    /// hold a key get `key_mode`.
    ///
    /// # Errors
    /// There is no such directory, others may change it or where it is, another process writes to
    /// it, or it holds somebody else's files of our names.
    pub(super) fn take(path: &Path, key_mode: u32) -> Result<Self, CliError> {
        let absolute = std::path::absolute(path).map_err(|error| CliError::usage(error.to_string()))?;
        let path = walk(&absolute, Owners::RootAndThisUser).map_err(|error| {
            CliError::refused(format!("cannot keep a key in {}: {error}; it must exist", absolute.display()))
        })?;
        for name in NAMES {
            let place = path.join(name);
            if place.symlink_metadata().is_ok() && !leads_through_data(&place, name) {
                return Err(CliError::refused(format!(
                    "{} is there already and was not made by `x509 fetch --write`; move it away, or give another directory",
                    place.display()
                )));
            }
        }
        let lock = lock(&path.join(LOCK))?;
        let folder = Self { path, key_mode, _lock: lock };
        folder.remove_old()?;
        Ok(folder)
    }

    /// Replaces all files at once: whoever opens a name gets the old content before, the new one
    /// after, and after an error still the old one. Whether there ever were others, which somebody
    /// may be using.
    ///
    /// # Errors
    /// The files could not be brought to the disk; the message says whether anything has changed.
    pub(super) fn replace(&self, files: &[NamedFile]) -> Result<bool, CliError> {
        // Names stay when files are withdrawn.
        let replaced = self.path.join(NAMES[0]).symlink_metadata().is_ok();
        let refused =
            |error, then| CliError::refused(format!("cannot write to {}: {error}; {then}", self.path.display()));
        let written = self.fill(files).and_then(|generation| self.publish(generation));
        written.map_err(|error| refused(error, "nothing is changed there"))?;
        sync(&self.path)
            .map_err(|error| refused(error, "the new SVID is in use, but a power failure may undo that"))?;
        Ok(replaced)
    }

    /// Takes all files away at once; that they are gone already is fine.
    ///
    /// # Errors
    /// They are still there, some or all.
    pub(super) fn withdraw(&self) -> Result<(), CliError> {
        let gone = absent_is_fine(fs::remove_file(self.path.join(DATA))).and_then(|()| sync(&self.path));
        gone.map_err(|error| {
            CliError::refused(format!("cannot withdraw the SVID in {}: {error}", self.path.display()))
        })?;
        self.remove_old()
    }

    /// Removes every generation but the current one, and what an interrupted run left.
    ///
    /// # Errors
    /// One could not be removed; it holds a key that is no longer in use.
    pub(super) fn remove_old(&self) -> Result<(), CliError> {
        let removed = (|| {
            absent_is_fine(fs::remove_file(self.path.join(NEXT_DATA)))?;
            let current = fs::read_link(self.path.join(DATA)).unwrap_or_default();
            for entry in fs::read_dir(&self.path)? {
                let name = entry?.file_name();
                if name.as_encoded_bytes().starts_with(GENERATION.as_bytes()) && name != current.as_os_str() {
                    fs::remove_dir_all(self.path.join(name))?;
                }
            }
            Ok(())
        })();
        removed.map_err(|error: io::Error| {
            CliError::refused(format!(
                "cannot remove an earlier generation in {}: {error}; remove what begins with {GENERATION} by hand, \
                 except where {DATA} points",
                self.path.display()
            ))
        })
    }

    /// A new generation with all of it on the disk. It is removed again if it is not published.
    fn fill(&self, files: &[NamedFile]) -> io::Result<TempDir> {
        let generation = tempfile::Builder::new().prefix(GENERATION).rand_bytes(12).tempdir_in(&self.path)?;
        let federated = generation.path().join("federated");
        DirBuilder::new().mode(0o700).create(&federated)?;
        for NamedFile { name, content } in files {
            let (bytes, mode) = match content {
                Content::Public(text) => (text.as_bytes(), PUBLIC_MODE),
                Content::Key(key) => (key.expose(), self.key_mode),
            };
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(generation.path().join(name))?;
            file.write_all(bytes)?;
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()?;
        }
        for directory in [&federated, generation.path()] {
            // A directory of a group (setgid) hands its group down, and so must stay one.
            let group = directory.metadata()?.mode() & SETGID;
            fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE | group))?;
            sync(directory)?;
        }
        Ok(generation)
    }

    /// Makes `generation` the current one, and the names that lead to it if they are not there.
    fn publish(&self, generation: TempDir) -> io::Result<()> {
        let next = self.path.join(NEXT_DATA);
        let name = generation.path().file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        absent_is_fine(fs::remove_file(&next))?;
        symlink(name, &next)?;
        for name in NAMES {
            let place = self.path.join(name);
            if !leads_through_data(&place, name) {
                symlink(Path::new(DATA).join(name), place)?;
            }
        }
        fs::rename(&next, self.path.join(DATA))?;
        let _in_use = generation.keep();
        Ok(())
    }
}

fn leads_through_data(place: &Path, name: &str) -> bool {
    fs::read_link(place).is_ok_and(|target| target == Path::new(DATA).join(name))
}

/// Not the directory itself: whoever may read that could lock it, and keep us out.
fn lock(path: &Path) -> Result<Flock<File>, CliError> {
    let refused = |error: &dyn std::fmt::Display| CliError::refused(format!("cannot lock {}: {error}", path.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(|error| refused(&error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => refused(&"another `x509 fetch --write` keeps this directory"),
        error => refused(&error),
    })
}

/// Brings the names in a directory to the disk.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
