//! An agent under callgrind: instructions between two moments of a running process.

use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::BudgetError;

/// The first valgrind whose knowledge of system calls was tried: 3.19 knows neither openat2(2) nor
/// pidfd_open(2), and fails what it does not know.
pub(crate) const LEAST: &str = "3.24";
/// How many threads the agent works with, whatever the machine has: the counts are to be the same.
const WORKERS: &str = "TOKIO_WORKER_THREADS=2";
/// How long valgrind may take to do as it is told.
const LIMIT: Duration = Duration::from_secs(60);
/// The line of a dump with what was executed since the one before.
const TOTAL: &str = "totals: ";

/// Where callgrind listens and writes.
#[derive(Debug)]
pub(crate) struct Callgrind {
    folder: TempDir,
    dumps: u32,
}

impl Callgrind {
    /// Of a process that is yet to be started under [`Self::command`].
    pub(crate) fn new() -> Result<Self, BudgetError> {
        let folder = tempfile::Builder::new().prefix("callgrind-").tempdir();
        Ok(Self { folder: folder.map_err(BudgetError::system("make a folder"))?, dumps: 0 })
    }

    /// What to put before the command that is counted. It counts nothing until [`Self::begin`], and
    /// runs several times as fast until then.
    pub(crate) fn command(&self) -> Vec<String> {
        let log = self.folder.path().join("log");
        [
            "env".to_owned(),
            WORKERS.to_owned(),
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            "--instr-atstart=no".to_owned(),
            // Threads take turns in the order in which they ask.
            "--fair-sched=yes".to_owned(),
            format!("--log-file={}", log.display()),
            format!("--callgrind-out-file={}", self.dump_file().display()),
            self.listens(),
        ]
        .to_vec()
    }

    /// Counts from now on.
    pub(crate) async fn begin(&self, pid: u32) -> Result<(), BudgetError> {
        self.tell(pid, &["instrumentation", "on"]).await
    }

    /// Forgets what was counted so far.
    pub(crate) async fn forget(&self, pid: u32) -> Result<(), BudgetError> {
        self.tell(pid, &["zero"]).await
    }

    /// Instructions in user space, of all threads, since it was told to begin, to forget, or to say.
    pub(crate) async fn count(&mut self, pid: u32) -> Result<u64, BudgetError> {
        self.tell(pid, &["dump"]).await?;
        self.dumps += 1;
        let file = PathBuf::from(format!("{}.{}", self.dump_file().display(), self.dumps));
        let text = std::fs::read_to_string(file).map_err(BudgetError::system("read what callgrind counted"))?;
        total(&text).ok_or(BudgetError::NoCount)
    }

    fn dump_file(&self) -> PathBuf {
        self.folder.path().join("counts")
    }

    fn listens(&self) -> String {
        format!("--vgdb-prefix={}", self.folder.path().join("vgdb").display())
    }

    /// A word to callgrind (its manual, "monitor commands"); it is done when this returns.
    async fn tell(&self, pid: u32, words: &[&str]) -> Result<(), BudgetError> {
        let mut vgdb = Command::new("vgdb");
        vgdb.arg(self.listens()).arg(format!("--pid={pid}")).args(words).stdin(Stdio::null()).kill_on_drop(true);
        let ended = timeout(LIMIT, vgdb.output()).await.map_err(|_| BudgetError::Late)?;
        let ended = ended.map_err(BudgetError::system("run vgdb"))?;
        if ended.status.success() {
            return Ok(());
        }
        Err(BudgetError::Vgdb(String::from_utf8_lossy(&ended.stderr).trim().to_owned(), self.log()))
    }

    fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }
}

/// Which valgrind there is.
///
/// # Errors
/// None, or one that is too old.
pub(crate) fn version() -> Result<String, BudgetError> {
    let asked = Program::new("valgrind").arg("--version").output();
    let said = asked.map_err(|_| BudgetError::NoValgrind("absent".to_owned()))?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    if numbers(&said) >= numbers(LEAST) { Ok(said) } else { Err(BudgetError::NoValgrind(said)) }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split(|character: char| !character.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

fn total(dump: &str) -> Option<u64> {
    dump.lines().rev().find_map(|line| line.strip_prefix(TOTAL))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(numbers("valgrind-3.24.0") >= numbers(LEAST));
        assert!(numbers("valgrind-4.1") >= numbers(LEAST));
        assert!(numbers("valgrind-3.19.0") < numbers(LEAST));
        assert!(numbers("valgrind-3.9.0") < numbers(LEAST));
        assert!(numbers("") < numbers(LEAST));
    }

    #[test]
    fn the_total_of_a_dump_is_its_last_word() {
        let dump = "version: 1\ncreator: callgrind-3.19.0\npart: 2\n\nevents: Ir\nfn=(1)\n0 12\n\ntotals: 8215\n";
        assert_eq!(total(dump), Some(8215));
        assert_eq!(total("events: Ir\n"), None);
    }
}
