//! Who may write a file, by what its inode says.

use std::collections::BTreeSet;
use std::io;

use crate::peer::{Evidence, HeldFile, Ownership, Patience};

/// Only owners may take names away (inode(7), the sticky bit of a directory).
const STICKY_DIRECTORY: u16 = 0o041_000;
const WRITABLE_BY_GROUP: u16 = 0o020;
const WRITABLE_BY_OTHERS: u16 = 0o002;

/// The ids by which a process may write files.
///
/// Root may write everything, so what root's own ids allow says nothing and is left out: to a
/// process that is root alone, only what everybody may write counts.
#[derive(Debug, Default)]
pub(super) struct Writer {
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
}

/// What the mode says.
#[derive(Debug, PartialEq, Eq)]
enum ByMode {
    May(String),
    MayNot,
    /// The bits of the group are those of the widest entry of an access control list, if there
    /// is one (acl(5)).
    AskTheList,
}

impl Writer {
    pub(super) fn of(evidence: &Evidence) -> Self {
        Self::with(
            &evidence.all_uids(),
            evidence.all_gids().into_iter().chain(evidence.supplementary_groups().iter().copied()),
        )
    }

    fn with(uids: &[u32], gids: impl IntoIterator<Item = u32>) -> Self {
        let uids: BTreeSet<u32> = uids.iter().copied().filter(|uid| *uid != 0).collect();
        let gids = if uids.is_empty() { BTreeSet::new() } else { gids.into_iter().collect() };
        Self { uids, gids }
    }

    /// Why the process may write `file`, or if it is a directory, put another file in the place of
    /// one in it; nothing if it may not.
    ///
    /// # Errors
    /// The file system does not answer, or would have to be asked and there is no patience.
    pub(super) fn may_write(&self, file: &HeldFile, patience: Patience) -> io::Result<Option<String>> {
        if !file.is_on_block_device() {
            if patience == Patience::None {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            if file.is_on_fuse()? {
                return Ok(Some("lies on FUSE, whose server may be the workload's own".to_owned()));
            }
        }
        match self.by_mode(file.ownership()) {
            ByMode::May(why) => Ok(Some(why)),
            ByMode::MayNot => Ok(None),
            ByMode::AskTheList if patience == Patience::None => Err(io::ErrorKind::WouldBlock.into()),
            ByMode::AskTheList => Ok(file
                .has_acl()?
                .then(|| "has an access control list by which more than its owner may write it".to_owned())),
        }
    }

    fn by_mode(&self, Ownership { uid, gid, mode }: Ownership) -> ByMode {
        // An owner may give itself every right.
        if self.uids.contains(&uid) {
            return ByMode::May(format!("belongs to uid {uid}, which the process has"));
        }
        if mode & STICKY_DIRECTORY == STICKY_DIRECTORY {
            return ByMode::MayNot;
        }
        if mode & WRITABLE_BY_OTHERS != 0 {
            return ByMode::May("may be written by everybody".to_owned());
        }
        if mode & WRITABLE_BY_GROUP == 0 || self.uids.is_empty() {
            ByMode::MayNot
        } else if self.gids.contains(&gid) {
            ByMode::May(format!("may be written by its group {gid}, which the process has"))
        } else {
            ByMode::AskTheList
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::peer::children::is_root;

    fn said(writer: &Writer, uid: u32, gid: u32, mode: u16) -> &'static str {
        match writer.by_mode(Ownership { uid, gid, mode }) {
            ByMode::May(why) if why.starts_with("belongs") => "owner",
            ByMode::May(why) if why.contains("everybody") => "everybody",
            ByMode::May(_) => "group",
            ByMode::MayNot => "no",
            ByMode::AskTheList => "list",
        }
    }

    #[test]
    fn owner_group_and_others_are_told_apart() {
        let orders = Writer::with(&[1001, 1001, 0, 1001], [100, 50]);
        for (uid, gid, mode, expected) in [
            (0, 0, 0o100_755, "no"),
            (1001, 0, 0o100_500, "owner"),
            (1001, 0, 0o041_755, "owner"),
            (1002, 0, 0o100_755, "no"),
            (1002, 50, 0o100_775, "group"),
            (1002, 51, 0o100_775, "list"),
            (0, 0, 0o100_757, "everybody"),
            (0, 0, 0o040_777, "everybody"),
            // /tmp: nobody takes another's name away.
            (0, 50, 0o041_777, "no"),
            // On a file the bit means nothing.
            (0, 0, 0o101_777, "everybody"),
        ] {
            assert_eq!(said(&orders, uid, gid, mode), expected, "{uid} {gid} {mode:o}");
        }
    }

    #[test]
    fn roots_own_rights_say_nothing() {
        let root = Writer::with(&[0; 4], [0, 50]);
        for (uid, mode, expected) in
            [(0, 0o100_755, "no"), (0, 0o100_775, "no"), (1001, 0o100_755, "no"), (0, 0o100_777, "everybody")]
        {
            assert_eq!(said(&root, uid, 50, mode), expected, "{uid} {mode:o}");
        }
        // Whoever started a set-uid program of root's is not root.
        assert_eq!(said(&Writer::with(&[1001, 0, 0, 0], [100]), 1001, 0, 0o100_755), "owner");
    }

    #[test]
    fn an_access_control_list_is_not_overlooked() {
        if !is_root() {
            return;
        }
        // On the file system of the sources: the one for temporary files may have no lists.
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let orders = Writer::with(&[61001; 4], [61001]);
        let may_write = || {
            let held = HeldFile::at(&file);
            (orders.by_mode(held.ownership()), orders.may_write(&held, Patience::Endless).unwrap().is_some())
        };
        assert!(Command::new("chmod").arg("664").arg(&file).status().unwrap().success());
        assert_eq!(may_write(), (ByMode::AskTheList, false), "a group that the process is not in, and no list");
        set_acl(&file, 61001);
        let (by_mode, may) = may_write();
        assert!(by_mode == ByMode::AskTheList && may);
    }

    /// Gives `uid` the right to write (linux/posix_acl_xattr.h): the list in the kernel's own form.
    fn set_acl(file: &Path, uid: u32) {
        const NOBODY: u32 = u32::MAX;
        let entries =
            [(0x01_u16, 6_u16, NOBODY), (0x02, 6, uid), (0x04, 4, NOBODY), (0x10, 6, NOBODY), (0x20, 4, NOBODY)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            list.extend(tag.to_le_bytes().into_iter().chain(rights.to_le_bytes()).chain(id.to_le_bytes()));
        }
        rustix::fs::setxattr(file, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty()).unwrap();
    }
}
