//! Real cgroups of root's and of others.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::*;
use crate::peer::children::is_root;

/// A user who is not root.
const SOMEBODY: u32 = 61002;

/// Cgroups of the test's own in one hierarchy: a slice, and below it a scope with a cgroup in it.
struct Cgroups {
    membership: CgroupMembership,
    slice: PathBuf,
}

impl Cgroups {
    /// None if the hierarchy is not mounted on this machine.
    fn new(hierarchy: u32, controllers: &str, test: &str) -> Option<Self> {
        let slice = format!("countersign{}{test}.slice", std::process::id());
        let path = format!("/{slice}/a.scope/below");
        let membership = CgroupMembership { hierarchy, controllers: controllers.to_owned(), path };
        let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap();
        let root = mounts(&mountinfo).find(|mount| is_of(mount, &membership) && mount.root == b"/")?;
        let slice = Path::new(OsStr::from_bytes(&unescaped(root.point))).join(slice);
        std::fs::create_dir_all(slice.join("a.scope/below")).unwrap();
        Some(Self { membership, slice })
    }

    fn give(&self, path: &str, uid: u32) {
        chown(self.slice.join(path), Some(uid), None).unwrap();
    }

    fn set_mode(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.slice.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Whether the scope's name counts, and whether it does where what is below does not matter.
    fn closed(&self) -> (bool, bool) {
        let trees = Trees::default();
        let place = trees.place(&self.membership).unwrap();
        (trees.is_closed(&place, 2, false).unwrap(), trees.is_closed(&place, 2, true).unwrap())
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for path in ["a.scope/below", "a.scope", ""] {
            let _ = std::fs::remove_dir(self.slice.join(path));
        }
    }
}

/// Who owns which of the paths, and what follows for a name of `a.scope` in v2, and in v1.
const OWNERS: [(&str, [bool; 2]); 6] = [
    // Who owns the slice makes scopes in it.
    (".", [false, false]),
    // Who may write this file moves processes from one scope of the slice to another.
    ("cgroup.procs", [false, false]),
    // A scope that was delegated keeps the name that it was given; in v1 others can get in.
    ("a.scope", [true, false]),
    ("a.scope/cgroup.procs", [true, false]),
    ("a.scope/below", [true, false]),
    ("a.scope/below/cgroup.procs", [true, false]),
];

#[test]
fn p13_a_name_in_cgroup_v2_counts_where_root_alone_could_make_it_and_fill_it() {
    if is_root() {
        let cgroups = Cgroups::new(0, "", "v2").expect("cgroup2 is mounted");
        holds(&cgroups, 0);
    }
}

#[test]
fn p13_a_name_in_cgroup_v1_counts_where_all_down_to_the_process_is_roots_too() {
    if is_root()
        && let Some(cgroups) = Cgroups::new(9, "name=systemd", "v1")
    {
        holds(&cgroups, 1);
        cgroups.give("a.scope/below/tasks", SOMEBODY);
        assert_eq!(cgroups.closed(), (false, true));
    }
}

fn holds(cgroups: &Cgroups, version: usize) {
    assert_eq!(cgroups.closed(), (true, true));
    for (path, counts) in OWNERS {
        cgroups.give(path, SOMEBODY);
        // A name of somebody's own choice below is all the same; one beside or above is not.
        assert_eq!(cgroups.closed(), (counts[version], counts[0]), "{path}");
        cgroups.give(path, 0);
    }
    for (path, open, shut) in [(".", 0o775, 0o755), (".", 0o757, 0o755), ("cgroup.procs", 0o664, 0o644)] {
        cgroups.set_mode(path, open);
        assert_eq!(cgroups.closed(), (false, false), "{path}");
        cgroups.set_mode(path, shut);
    }
    assert_eq!(cgroups.closed(), (true, true));
}

#[test]
fn what_cannot_be_seen_is_an_error() {
    let closed = |hierarchy, controllers: &str, path: &str| {
        let (controllers, path) = (controllers.to_owned(), path.to_owned());
        let trees = Trees::default();
        trees.is_closed(&trees.place(&CgroupMembership { hierarchy, controllers, path })?, 2, false)
    };
    assert!(closed(0, "", "/countersign-none/a").is_err(), "no such directory");
    let unseen = closed(99, "name=countersign-none", "/countersign-none/a");
    assert!(matches!(unseen, Err(AttestorError::CgroupUnseen { .. })));
    // Nothing above the agent's namespace is mounted for this test.
    for path in ["/..", "/../..", "/../countersign-none/a"] {
        assert!(matches!(closed(0, "", path), Err(AttestorError::CgroupOutOfReach { .. })), "{path}");
    }
    for path in ["", "a", "/a/", "//a", "/a/../b", "/./a", "/../a/.."] {
        assert!(matches!(closed(0, "", path), Err(AttestorError::CgroupUnknown { .. })), "{path}");
    }
}

#[test]
fn a_way_is_found_by_the_directory_at_its_end() {
    let machine = tempfile::tempdir().unwrap();
    for path in ["a/b/c", "a/d", "docker/one", "docker/two/x"] {
        std::fs::create_dir_all(machine.path().join(path)).unwrap();
    }
    let open = |path: &str| OwnedFd::from(std::fs::File::open(machine.path().join(path)).unwrap());
    let found = |depth, path| way_down(&open("."), depth, &open(path)).unwrap().map(|way| way.join("/"));
    assert_eq!(found(2, "docker/two").as_deref(), Some("docker/two"));
    assert_eq!(found(3, "a/b/c").as_deref(), Some("a/b/c"));
    assert_eq!(found(2, "a/b/c"), None, "it is elsewhere");
    assert_eq!(found(4, "a/b/c"), None);
}
