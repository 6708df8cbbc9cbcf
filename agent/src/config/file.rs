//! The configuration file itself: who may have written it, and reading it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use countersign_common::document::{MAX_TEXT_BYTES, Problem};

use super::Config;

/// The permission to write for everyone (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or not for us to read.
    #[error("cannot read the configuration {}: {source}; name another one with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Whoever writes the configuration decides who gets which identity.
    #[error("the configuration {} can be written by every user: run chmod o-w on it", path.display())]
    WorldWritable {
        /// The file.
        path: PathBuf,
    },
    /// The file was read, and this is wrong with it: one problem a line.
    #[error("{}", one_a_line(.0))]
    Invalid(Vec<Problem>),
}

impl Config {
    /// Reads the configuration file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, can be written by everyone, or is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        // Asked of the open file: the name may mean another file by now.
        let mode = file.metadata().map_err(unreadable)?.mode();
        if mode & WRITABLE_BY_OTHERS != 0 {
            return Err(ConfigError::WorldWritable { path: path.to_owned() });
        }
        let mut text = String::new();
        // One byte more than is read, so that a longer file is seen to be longer.
        file.take(MAX_TEXT_BYTES as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(&path.display().to_string(), &text).map_err(ConfigError::Invalid)
    }
}

fn one_a_line(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LEAST: &str = "trust_domain = \"example.org\"\n";

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn a_file_is_read_unless_everyone_may_write_it() {
        let (_directory, path) = written(LEAST, 0o664);
        assert!(Config::load(&path).is_ok());
        let (_directory, path) = written(LEAST, 0o666);
        let said = Config::load(&path).unwrap_err().to_string();
        assert!(said.ends_with("can be written by every user: run chmod o-w on it"), "{said}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let said = Config::load(Path::new("/nowhere/agent.toml")).unwrap_err().to_string();
        assert_eq!(
            said,
            "cannot read the configuration /nowhere/agent.toml: No such file or directory (os error 2); name another one with --config"
        );
    }

    #[test]
    fn all_problems_are_printed_one_a_line() {
        let (_directory, path) = written("trust_domain = \"Example\"\ndrain = \"1y\"\n", 0o600);
        let said = Config::load(&path).unwrap_err().to_string();
        let name = path.display();
        let (first, second) = said.split_once('\n').unwrap();
        assert!(first.starts_with(&format!("{name}:1: trust_domain: ")), "{said}");
        assert!(second.starts_with(&format!("{name}:2: drain: ")), "{said}");
    }

    #[test]
    fn a_file_of_any_size_is_read_only_up_to_the_limit() {
        let (_directory, path) = written("", 0o600);
        // A hole of 64 GiB: to read it whole would end in no time that a test has.
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 36).unwrap();
        let said = Config::load(&path).unwrap_err().to_string();
        assert!(said.ends_with("has 4194305 bytes; more than 4 MiB are not read: split the file"), "{said}");
    }
}
