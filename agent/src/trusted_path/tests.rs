//! Directories and links of every owner and mode, and ways through real ones.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const US: u32 = 1000;
const OURS: Owners = Owners::RootAndThisUser;

fn fault(uid: u32, gid: u32, mode: u32, is_last: bool) -> Option<Fault> {
    Found { uid, gid, mode, is_link: false, is_last }.fault(OURS, US)
}

#[test]
fn only_root_and_this_user_may_own_a_directory() {
    assert_eq!(fault(0, 0, 0o755, false), None);
    assert_eq!(fault(US, US, 0o755, true), None);
    assert_eq!(fault(1001, 0, 0o700, false), Some(Fault::Owner { uid: 1001, owners: OURS }));
}

#[test]
fn nobody_else_may_write_except_below_a_sticky_bit() {
    let writable = Some(Fault::Writable);
    assert_eq!(fault(US, US, 0o775, false), writable, "by a group");
    assert_eq!(fault(US, 0, 0o775, true), None, "by the group of root");
    assert_eq!(fault(0, 0, 0o757, false), writable, "by everybody");
    assert_eq!(fault(0, 0, 0o1777, false), None, "as /tmp, on the way");
    assert_eq!(fault(0, 0, 0o1777, true), writable, "as /tmp, with the name in it");
}

#[test]
fn a_link_counts_by_its_owner() {
    let link = Found { uid: US, gid: US, mode: 0o777, is_link: true, is_last: false };
    assert_eq!(link.fault(OURS, US), None);
    let theirs = Found { uid: 1001, ..link };
    assert_eq!(theirs.fault(OURS, US), Some(Fault::Owner { uid: 1001, owners: OURS }));
}

#[test]
fn where_root_alone_is_trusted_neither_the_agents_user_nor_the_group_of_root_is() {
    let directory = Found { uid: 0, gid: 0, mode: 0o755, is_link: false, is_last: true };
    assert_eq!(directory.fault(Owners::Root, US), None);
    let ours = Found { uid: US, ..directory };
    assert_eq!(ours.fault(Owners::Root, US), Some(Fault::Owner { uid: US, owners: Owners::Root }));
    // These are also the bits of a directory that a list opens to one user.
    assert_eq!(Found { mode: 0o775, ..directory }.fault(Owners::Root, US), Some(Fault::Writable));
    assert_eq!(Found { mode: 0o1777, is_last: false, ..directory }.fault(Owners::Root, US), None);
}

/// A directory of this user's with `real/inner` in it.
fn directories() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    fs::create_dir_all(path.join("real/inner")).unwrap();
    (directory, path)
}

fn open_to_everybody(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn untrusted(walked: Result<PathBuf, PathError>) -> PathBuf {
    match walked {
        Err(PathError::Untrusted { path, fault: Fault::Writable }) => path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_way_is_walked_as_the_kernel_walks_it() {
    let (_directory, path) = directories();
    symlink(path.join("real"), path.join("absolute")).unwrap();
    symlink("real/./inner", path.join("relative")).unwrap();
    symlink("absolute/../relative/..", path.join("twisted")).unwrap();
    for way in ["real", "absolute/inner", "relative", "relative/..", "twisted/inner", "twisted/.", "."] {
        let way = path.join(way);
        assert_eq!(walk(&way, OURS).unwrap(), way.canonicalize().unwrap(), "{}", way.display());
    }
}

/// Neither the path as it was given nor the one without links passes through the open directory:
/// only the way between them does.
#[test]
fn a_link_in_a_directory_that_others_write_is_seen() {
    let (_directory, path) = directories();
    fs::create_dir(path.join("open")).unwrap();
    symlink(path.join("real"), path.join("open/second")).unwrap();
    symlink(path.join("open/second"), path.join("first")).unwrap();
    assert_eq!(walk(&path.join("first/inner"), OURS).unwrap(), path.join("real/inner"));
    open_to_everybody(&path.join("open"), 0o777);
    assert_eq!(untrusted(walk(&path.join("first/inner"), OURS)), path.join("open"));
}

#[test]
fn the_last_directory_is_checked_however_it_is_reached() {
    let (_directory, path) = directories();
    symlink("real/inner/..", path.join("link")).unwrap();
    // Good enough on the way.
    open_to_everybody(&path.join("real"), 0o1777);
    assert_eq!(walk(&path.join("link/inner"), OURS).unwrap(), path.join("real/inner"));
    for way in ["real", "link", "real/inner/.."] {
        assert_eq!(untrusted(walk(&path.join(way), OURS)), path.join("real"), "{way}");
    }
}

#[test]
fn a_way_that_has_no_end_or_ends_elsewhere_is_refused() {
    let (_directory, path) = directories();
    symlink("round", path.join("round")).unwrap();
    fs::write(path.join("file"), "").unwrap();
    for (way, error) in [("round", libc::ELOOP), ("file", libc::ENOTDIR), ("missing/inner", libc::ENOENT)] {
        let Err(PathError::Unreadable { source, .. }) = walk(&path.join(way), OURS) else { panic!("{way}") };
        assert_eq!(source.raw_os_error(), Some(error), "{way}");
    }
}
