//! Cgroups of a test's own (cgroups(7)); root only.

use std::path::{Path, PathBuf};

/// A cgroup in the v2 hierarchy; removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    path: String,
}

impl Cgroup {
    /// Makes one below the root, named after `name` and this process.
    ///
    /// # Panics
    /// There is no v2 hierarchy, or it is not ours to change.
    pub fn make(name: &str) -> Self {
        let is_there = |root: &&str| Path::new(root).join("cgroup.procs").exists();
        let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter().find(is_there);
        let root = root.expect("a cgroup2 hierarchy at /sys/fs/cgroup or /sys/fs/cgroup/unified");
        let name = format!("{name}-{}", std::process::id());
        let folder = Path::new(root).join(&name);
        std::fs::create_dir(&folder).expect("root may make cgroups");
        Self { folder, path: format!("/{name}") }
    }

    /// Where a process writes its pid to move in.
    pub fn procs(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// As `/proc/PID/cgroup` shows it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Moves a process in.
    pub fn take(&self, pid: u32) {
        std::fs::write(self.procs(), pid.to_string()).expect("root may move processes");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that is still ending keeps it; it goes with the machine then.
        let _ = std::fs::remove_dir(&self.folder);
    }
}
