//! The folder of `dev`: which one, whose it must be, and that one `dev` at a time uses it.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::app::AppError;

/// Bits of a mode by which others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A folder that only this user can write, held by this process until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The folder itself, locked: the kernel lets go however the process ends.
    _held: File,
}

impl Folder {
    /// Takes the folder that was asked for, or one of this user's own: made with its final mode,
    /// or found to be ours. In a world-writable `/tmp` another user could have made it first,
    /// and would then own our sockets.
    pub(super) fn take(asked: Option<PathBuf>) -> Result<Self, AppError> {
        let dir = asked.unwrap_or_else(|| by_default(std::env::var_os("XDG_RUNTIME_DIR"), std::env::temp_dir()));
        make(&dir)?;
        check(&dir)?;
        // Paths are printed for other terminals, which have another working directory.
        let path = dir.canonicalize().map_err(AppError::system(format!("cannot resolve {}", dir.display())))?;
        let held = File::open(&path).map_err(AppError::system(format!("cannot open {}", path.display())))?;
        match held.try_lock() {
            Ok(()) => Ok(Self { path, _held: held }),
            Err(TryLockError::WouldBlock) => Err(AppError::Folder(format!(
                "another `countersign dev` runs in {}; stop it (Ctrl-C), or give this one another folder with --dir",
                path.display()
            ))),
            Err(TryLockError::Error(source)) => {
                Err(AppError::System { doing: format!("cannot lock {}", path.display()), source })
            }
        }
    }

    /// Where it is, as an absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The runtime directory of this user's session, or else a folder below `temporary`. A shell that
/// was opened by `su` has the variable of somebody else's session, and the XDG Base Directory
/// Specification has a relative path ignored.
fn by_default(runtime: Option<OsString>, temporary: PathBuf) -> PathBuf {
    let uid = geteuid().as_raw();
    let ours = |dir: &PathBuf| dir.is_absolute() && dir.metadata().is_ok_and(|found| found.uid() == uid);
    match runtime.map(PathBuf::from).filter(ours) {
        Some(runtime) => runtime.join("countersign-dev"),
        None => temporary.join(format!("countersign-dev-{uid}")),
    }
}

fn make(dir: &Path) -> Result<(), AppError> {
    // Others may pass through: the example entry may be changed to describe another user's process.
    match DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(AppError::Folder(format!(
            "cannot make the folder {}: {error}; name one that you can make, or that is yours, with --dir",
            dir.display()
        ))),
        _ => Ok(()),
    }
}

fn check(dir: &Path) -> Result<(), AppError> {
    let found =
        std::fs::symlink_metadata(dir).map_err(AppError::system(format!("cannot look at {}", dir.display())))?;
    let fault = match () {
        () if !found.is_dir() => "it is not a folder".to_owned(),
        () if found.uid() != geteuid().as_raw() => format!("it belongs to uid {}", found.uid()),
        () if found.mode() & WRITABLE_BY_OTHERS != 0 => format!("its mode is {:04o}", found.mode() & 0o7777),
        () => return Ok(()),
    };
    Err(AppError::Folder(format!(
        "{} is not a folder that only you can write ({fault}); name another one with --dir",
        dir.display()
    )))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("dev");
        assert!(Folder::take(Some(dir.clone())).is_ok());
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        let refused = Folder::take(Some(dir)).unwrap_err().to_string();
        assert!(refused.contains("0777") && refused.contains("--dir"), "{refused}");
        let link = outer.path().join("link");
        std::os::unix::fs::symlink(outer.path(), &link).unwrap();
        assert!(Folder::take(Some(link)).is_err());
    }

    #[test]
    fn one_at_a_time_has_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let dir = Some(outer.path().join("dev"));
        let first = Folder::take(dir.clone()).unwrap();
        let refused = Folder::take(dir.clone()).unwrap_err().to_string();
        assert!(refused.contains("another `countersign dev`"), "{refused}");
        drop(first);
        assert!(Folder::take(dir).is_ok());
    }

    #[test]
    fn a_runtime_directory_of_somebody_else_is_not_used() {
        let ours = tempfile::tempdir().unwrap();
        let used = by_default(Some(ours.path().into()), "/tmp".into());
        assert_eq!(used, ours.path().join("countersign-dev"));
        let temporary = PathBuf::from("/tmp").join(format!("countersign-dev-{}", geteuid()));
        for runtime in [None, Some(""), Some("relative"), Some("."), Some("/nonexistent"), Some("/proc/self/mem/x")] {
            assert_eq!(by_default(runtime.map(OsString::from), "/tmp".into()), temporary, "{runtime:?}");
        }
    }
}
