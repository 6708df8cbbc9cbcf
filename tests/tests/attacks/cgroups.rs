//! Cgroups of a test's own, in the hierarchies that say what a container and a unit is: cgroup v2, and
//! that of systemd where cgroup v1 is in use.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use countersign_tests::LIMIT;

/// A slice below the root of each hierarchy; gone with all that is in it when dropped.
pub(super) struct Cgroups {
    /// The name of the slice without `.slice`, which no other test has.
    pub(super) name: String,
    slices: Vec<PathBuf>,
}

impl Cgroups {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("countersign{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let slices = roots().into_iter().map(|root| root.join(format!("{name}.slice"))).collect();
        let cgroups = Self { name, slices };
        cgroups.make("");
        cgroups
    }

    /// Makes a cgroup of root's below the slice, with those on the way.
    pub(super) fn make(&self, path: &str) {
        for slice in &self.slices {
            std::fs::create_dir_all(slice.join(path)).expect("root makes cgroups");
        }
    }

    /// Makes a cgroup and gives it to a user, as a service manager delegates one (systemd.exec(5)).
    pub(super) fn delegate(&self, path: &str, uid: u32) {
        self.make(path);
        let files = ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"];
        let files = self.slices.iter().flat_map(|slice| files.map(|file| slice.join(path).join(file)));
        for file in files.filter(|file| file.exists()) {
            std::os::unix::fs::chown(file, Some(uid), Some(uid)).expect("root gives cgroups away");
        }
    }

    /// Shell commands that make a cgroup and move the shell into it, in every hierarchy.
    pub(super) fn enter(&self, path: &str) -> String {
        let into = |slice: &PathBuf| {
            let cgroup = slice.join(path);
            format!("mkdir -p {0} && echo $$ > {0}/cgroup.procs", cgroup.display())
        };
        self.slices.iter().map(into).collect::<Vec<_>>().join(" && ")
    }
}

/// Shell commands that mount the shell's own part of each hierarchy below `folder`.
pub(super) fn mount_own(folder: &Path) -> String {
    let kinds = ["-t cgroup2", "-t cgroup -o none,name=systemd"].iter().take(roots().len()).enumerate();
    let mount = |(number, kind)| {
        let point = folder.join(format!("{number}"));
        format!("mkdir {0} && mount {kind} none {0}", point.display())
    };
    kinds.map(mount).collect::<Vec<_>>().join(" && ")
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // A process that was killed leaves its cgroup when it is gone for good.
        let start = Instant::now();
        while self.slices.iter().any(|slice| !remove(slice)) && start.elapsed() < LIMIT {
            std::thread::yield_now();
        }
    }
}

/// Removes a cgroup and those below; whether it is gone.
fn remove(cgroup: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(cgroup) else { return true };
    let mut below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|file_type| file_type.is_dir()));
    below.all(|entry| remove(&entry.path())) && std::fs::remove_dir(cgroup).is_ok()
}

/// Where those hierarchies are mounted, cgroup v2 first.
fn roots() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("proc(5)");
    let of = |found: fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            found(words[2], words[3]).then(|| PathBuf::from(words[1]))
        })
    };
    let unified = of(|kind, _| kind == "cgroup2").expect("cgroup2 is mounted");
    let systemd = of(|kind, options| kind == "cgroup" && options.split(',').any(|option| option == "name=systemd"));
    [unified].into_iter().chain(systemd).collect()
}

/// Shell commands that hide the hierarchies as they were mounted before.
pub(super) fn unmount_inherited() -> String {
    roots().iter().map(|root| format!("umount {}", root.display())).collect::<Vec<_>>().join(" && ")
}
