//! The cgroup tree that a path leads through, and who may change it there.
//!
//! Two facts of the kernel decide whether a name is one that an unprivileged user could not have
//! given itself:
//!
//! - **Who may make the directory**: who may write the directory that holds it. So every
//!   directory from the root down to the one that holds the name must be root's and nobody
//!   else's to write.
//! - **Who may move a process into it**: in cgroup v2 who may write `cgroup.procs` of the nearest
//!   cgroup that is above both the old place and the new (cgroups(7)). From outside, that one
//!   is above the name, so these are the same directories, and what lies below the name may
//!   belong to anybody: who owns it can only arrange what is inside already. Cgroup v1 asks
//!   about the new place alone. There every directory down to the process must be root's.
//!
//! The tree is looked at through the cgroup file systems that are mounted for the agent. Its own
//! `mountinfo` says which these are; `/proc/PID/cgroup` and `mountinfo` both count from the
//! root of the cgroup namespace of the one who reads them. Of a process outside that namespace
//! the path begins with `/..`, once for each level up to what it has in common with the agent's
//! root. If the tree is mounted for the agent from further up, the names of the levels that
//! were passed over are those of the agent's own root, which is found there by its inode.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::AttestorError;
use super::claims::is_unified;
use super::mounts::{Mount, mounts, unescaped};
use crate::peer::{CgroupMembership, trusted_mountinfo};
use crate::weakened::Protection;

/// How many directories are looked into for the agent's own root. A machine has some thousands.
const MAX_SEARCHED: usize = 16_384;

/// Where a process is in one hierarchy.
pub(super) struct Place<'a> {
    cgroup: &'a CgroupMembership,
    /// The way down from the root.
    pub(super) names: Vec<String>,
    /// That root, where it is above the agent's cgroup namespace.
    above: Option<OwnedFd>,
}

impl Place<'_> {
    /// Whether the names count from the root of the agent's own cgroup namespace.
    pub(super) fn is_in_namespace(&self) -> bool {
        self.above.is_none()
    }
}

/// The hierarchies as they are mounted for the agent. Made anew for each process: mounts change.
#[derive(Default)]
pub(super) struct Trees {
    mountinfo: OnceCell<Vec<u8>>,
}

impl Trees {
    /// Where a membership is. Looks at the file system only for a place outside the agent's
    /// cgroup namespace.
    ///
    /// # Errors
    /// The path is none that the kernel writes, or its root cannot be seen.
    pub(super) fn place<'a>(&self, cgroup: &'a CgroupMembership) -> Result<Place<'a>, AttestorError> {
        let unknown = || AttestorError::CgroupUnknown { path: cgroup.path.clone() };
        let (levels, names) = levels_and_names(&cgroup.path).ok_or_else(unknown)?;
        let names = names.into_iter().map(str::to_owned);
        if levels == 0 {
            return Ok(Place { cgroup, names: names.collect(), above: None });
        }
        let out_of_reach = || AttestorError::CgroupOutOfReach { path: cgroup.path.clone() };
        let (height, top) = self.highest(cgroup)?.filter(|(height, _)| *height >= levels).ok_or_else(out_of_reach)?;
        let own = self.namespace_root(cgroup)?.ok_or_else(out_of_reach)?;
        let way = way_down(&top, height, &own).map_err(unreadable)?.ok_or_else(out_of_reach)?;
        let shared = way.into_iter().take(height - levels);
        Ok(Place { cgroup, names: shared.chain(names).collect(), above: Some(top) })
    }

    /// Whether no unprivileged user could have made the first `depth` names of a place, or moved
    /// a process in below them. With `ignoring_below`, who arranges what is below the last of
    /// these names does not matter.
    ///
    /// # Errors
    /// The directories cannot be seen.
    pub(super) fn is_closed(
        &self,
        place: &Place<'_>,
        depth: usize,
        ignoring_below: bool,
    ) -> Result<bool, AttestorError> {
        if Protection::CgroupName.is_out() {
            return Ok(true);
        }
        let mounted;
        let mut directory = match &place.above {
            Some(top) => top,
            None => {
                let hierarchy = || AttestorError::CgroupUnseen { hierarchy: hierarchy(place.cgroup) };
                mounted = self.namespace_root(place.cgroup)?.ok_or_else(hierarchy)?;
                &mounted
            }
        };
        let v1 = !is_unified(place.cgroup);
        let whole = v1 && !ignoring_below;
        let way = if whole { place.names.len() } else { depth };
        let mut next;
        for name in place.names.iter().take(way) {
            if !is_roots_alone(directory, v1).map_err(unreadable)? {
                return Ok(false);
            }
            next = open_directory(directory, name, OFlags::PATH).map_err(unreadable)?;
            directory = &next;
        }
        Ok(!whole || is_roots_alone(directory, v1).map_err(unreadable)?)
    }

    /// The root of the agent's cgroup namespace in that hierarchy, if it is mounted.
    fn namespace_root(&self, cgroup: &CgroupMembership) -> Result<Option<OwnedFd>, AttestorError> {
        let roots = mounts(self.mountinfo()?).filter(|mount| is_of(mount, cgroup) && mount.root == b"/");
        Ok(roots.filter_map(|mount| open_mount(&mount)).next())
    }

    /// The directory furthest up that is mounted, if one above the agent's cgroup namespace is, and how
    /// far above.
    fn highest(&self, cgroup: &CgroupMembership) -> Result<Option<(usize, OwnedFd)>, AttestorError> {
        let above = mounts(self.mountinfo()?).filter(|mount| is_of(mount, cgroup)).filter_map(|mount| {
            let (levels, names) = levels_and_names(std::str::from_utf8(mount.root).ok()?)?;
            (levels > 0 && names.is_empty()).then_some((levels, open_mount(&mount)?))
        });
        Ok(above.max_by_key(|(levels, _)| *levels))
    }

    fn mountinfo(&self) -> Result<&[u8], AttestorError> {
        if let Some(read) = self.mountinfo.get() {
            return Ok(read);
        }
        let unreadable = |source| AttestorError::Unreadable { what: "the agent's own mounts", source };
        let [own, _] = trusted_mountinfo().map_err(unreadable)?;
        Ok(self.mountinfo.get_or_init(|| own))
    }
}

/// How many levels a path of the kernel's goes up before it goes down, and the names on its way
/// down. None if the kernel would not write it.
fn levels_and_names(path: &str) -> Option<(usize, Vec<&str>)> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some((0, Vec::new()));
    }
    let levels = path.split('/').take_while(|name| *name == "..").count();
    let names: Vec<_> = path.split('/').skip(levels).collect();
    names.iter().all(|name| !matches!(*name, "" | "." | "..")).then_some((levels, names))
}

/// What people call a hierarchy.
fn hierarchy(cgroup: &CgroupMembership) -> String {
    if is_unified(cgroup) { "cgroup2".to_owned() } else { cgroup.controllers.clone() }
}

/// Whether a mount shows the hierarchy of a membership.
fn is_of(mount: &Mount<'_>, cgroup: &CgroupMembership) -> bool {
    if is_unified(cgroup) {
        return mount.file_system == b"cgroup2";
    }
    let has =
        |controller: &str| mount.options.split(|byte| *byte == b',').any(|option| option == controller.as_bytes());
    mount.file_system == b"cgroup" && cgroup.controllers.split(',').all(has)
}

/// The directory that a mount shows; none if another mount hides it.
fn open_mount(mount: &Mount<'_>) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let point = openat(CWD, OsStr::from_bytes(&unescaped(mount.point)), flags, Mode::empty()).ok()?;
    let stat = statx(&point, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    (stat.stx_mnt_id == mount.id).then_some(point)
}

fn open_directory(directory: &OwnedFd, path: &str, access: OFlags) -> Result<OwnedFd, Errno> {
    openat(directory, path, access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Whether only root may make cgroups in a directory, and move processes into it.
fn is_roots_alone(directory: &OwnedFd, v1: bool) -> Result<bool, Errno> {
    let files: &[&str] = if v1 { &["", "cgroup.procs", "tasks"] } else { &["", "cgroup.procs"] };
    for file in files {
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        let stat = statx(directory, *file, flags, StatxFlags::UID | StatxFlags::MODE)?;
        // The file systems of cgroups know no access control lists.
        if stat.stx_uid != 0 || stat.stx_mode & 0o022 != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The names from `top` down to the directory `wanted`, which lies `depth` levels below it. None if it
/// is not there, or the tree is too large to look.
fn way_down(top: &OwnedFd, depth: usize, wanted: &OwnedFd) -> Result<Option<Vec<String>>, Errno> {
    let wanted = statx(wanted, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?.stx_ino;
    let mut ways = vec![Vec::new()];
    for _ in 0..MAX_SEARCHED {
        let Some(way) = ways.pop() else { return Ok(None) };
        for (name, inode) in directories_in(top, &way)? {
            let below = [&way[..], &[name]].concat();
            match below.len() == depth {
                true if inode == wanted => return Ok(Some(below)),
                true => {}
                false => ways.push(below),
            }
        }
    }
    Ok(None)
}

/// Names and inodes of the cgroups in one that is reached from `top`. It may be gone by now.
fn directories_in(top: &OwnedFd, way: &[String]) -> Result<Vec<(String, u64)>, Errno> {
    let path = [&[".".to_owned()], way].concat().join("/");
    let directory = match open_directory(top, &path, OFlags::RDONLY) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        directory => directory?,
    };
    let mut found = Vec::new();
    for entry in Dir::new(directory)? {
        let entry = match entry {
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        // What is not UTF-8 is on nobody's way whose path was read.
        let name = entry.file_name().to_str().unwrap_or(".");
        if entry.file_type() == FileType::Directory && !matches!(name, "." | "..") {
            found.push((name.to_owned(), entry.ino()));
        }
    }
    Ok(found)
}

fn unreadable(errno: Errno) -> AttestorError {
    AttestorError::Unreadable { what: "the cgroup file system", source: io::Error::from(errno) }
}

#[cfg(test)]
mod tests;
