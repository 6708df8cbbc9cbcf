//! A place for container runtimes of a test's own: mounts, processes and cgroups that end with it.
//!
//! Everything in it runs in a mount and a pid namespace of its own, with an empty `/run`. When the
//! first process of a pid namespace ends the kernel ends all others (pid_namespaces(7)), and with the
//! last of them the mounts are gone. What is left then are empty cgroups, which are removed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// Runtimes of two tests would meet in the cgroups that all of them use.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Cgroups right below a root that runtimes make and leave.
const MADE_BY_RUNTIMES: [&str; 5] = ["docker", "default", "libpod_parent", "kubepods", "kubepods.slice"];

/// Says that it is made, then lives until it is ended.
const HOLD: &str = "mount -t tmpfs -o mode=0755 tmpfs /run; mount -t tmpfs tmpfs /dev/shm; mkdir /run/lock; \
                    [ \"$1\" = as-mounted ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup; echo made; exec cat";

/// Which cgroups runtimes find at `/sys/fs/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// Those of the machine.
    AsMounted,
    /// Version 2 alone.
    V2,
}

/// The place.
pub(crate) struct Room {
    unshare: Child,
    daemons: Vec<Child>,
    first: i32,
    folder: TempDir,
    roots: Vec<PathBuf>,
    there_before: BTreeSet<PathBuf>,
    _turn: MutexGuard<'static, ()>,
}

impl Room {
    pub(crate) async fn new(cgroups: Cgroups) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let roots = cgroup_roots();
        let there_before = made_by_runtimes(&roots).into_iter().collect();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]);
        command.args(["sh", "-ec", HOLD, "sh", if cgroups == Cgroups::V2 { "v2" } else { "as-mounted" }]);
        let mut unshare = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare runs");
        let mut said = String::new();
        let output = unshare.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut said).expect("readable");
        assert_eq!(said, "made\n", "a mount and a pid namespace with their own mounts");
        let pid = unshare.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it lives");
        let first = children.trim().parse().expect("one child");
        let folder = tempfile::Builder::new().prefix("containers-").tempdir().expect("a folder");
        Self { unshare, daemons: Vec::new(), first, folder, roots, there_before, _turn: turn }
    }

    /// Where files of the runtimes are, the same in the room as outside.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The words that run what follows them in the room.
    pub(crate) fn inside(&self) -> Vec<String> {
        ["nsenter", "--target", &self.first.to_string(), "--mount", "--pid", "--"].map(str::to_owned).into()
    }

    /// A command in the room.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let inside = self.inside();
        let mut command = Command::new(&inside[0]);
        command.args(&inside[1..]).args(words).stdin(Stdio::null());
        command
    }

    /// Runs a command in the room to its end; what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(words).output().expect("nsenter runs");
        assert!(status.success(), "{words:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("UTF-8").trim().to_owned()
    }

    /// Starts a daemon in the room; what it says goes to `NAME.log`.
    pub(crate) fn start(&mut self, name: &str, words: &[&str]) {
        let log = std::fs::File::create(self.log(name)).expect("our folder");
        let mut command = self.command(words);
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.daemons.push(command.spawn().expect("nsenter runs"));
    }

    /// Where the log of a daemon is.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.log"))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["docker", "containerd"] {
                let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(20).collect();
                eprintln!("--- end of the log of {name}, last line first ---\n{}", last.join("\n"));
            }
        }
        // The first process ends with its input. `unshare` waits for it, and it comes after all others.
        drop(self.unshare.stdin.take());
        let _ = self.unshare.wait();
        for daemon in &mut self.daemons {
            let _ = daemon.wait();
        }
        for path in made_by_runtimes(&self.roots).into_iter().rev().filter(|path| !self.there_before.contains(path)) {
            // One that another made meanwhile has a process in it, or does not need it.
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// The root of each cgroup hierarchy that is mounted.
fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("proc(5)");
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|fields| matches!(fields[2], "cgroup" | "cgroup2")).map(|fields| fields[1].into()).collect()
}

/// Cgroups that are there below the roots and have names of runtimes, each before those in it.
fn made_by_runtimes(roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<_> = roots.iter().flat_map(|root| MADE_BY_RUNTIMES.map(|name| root.join(name))).collect();
    found.retain(|path| path.is_dir());
    let mut looked_into = 0;
    while let Some(path) = found.get(looked_into) {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let below: Vec<_> = below.map(|entry| entry.path()).collect();
        found.extend(below);
        looked_into += 1;
    }
    found
}
