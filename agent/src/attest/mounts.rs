//! Whether the bytes of an image are what the kernel runs, or what its file server says.
//!
//! Without any privilege a user may mount file systems of its own in a user namespace, among
//! them FUSE, whose server the user runs. Such a server can show the agent another program
//! than the kernel maps, and can give a file the device, inode and times of one that the agent
//! hashed before. So a hash is only taken, and a remembered one only believed, for an image on a
//! file system that is mounted for the agent or for the first process of its pid namespace, and
//! that is not FUSE, which a user may mount there too with the help of `fusermount`.

use super::AttestorError;
use crate::peer::{Evidence, HeldFile, trusted_mountinfo};

/// Checks that no workload serves the image. Reads files of `/proc` only.
///
/// # Errors
/// The file system may be a workload's own, or this cannot be found out.
pub(super) fn check(evidence: &Evidence) -> Result<(), AttestorError> {
    Mounts::of(evidence).check_mount(evidence.executable().file())
}

/// The mounts of the machine and those of one process, read when they are first asked for.
pub(super) struct Mounts<'a> {
    evidence: &'a Evidence,
    trusted: Option<[Vec<u8>; 2]>,
    own: Option<Vec<u8>>,
}

impl<'a> Mounts<'a> {
    pub(super) fn of(evidence: &'a Evidence) -> Self {
        Self { evidence, trusted: None, own: None }
    }

    /// Checks that no workload serves a file, without a look at any mount where a block device is
    /// behind it: users mount none.
    ///
    /// # Errors
    /// As [`check`].
    pub(super) fn check(&mut self, file: &HeldFile) -> Result<(), AttestorError> {
        if file.is_on_block_device() { Ok(()) } else { self.check_mount(file) }
    }

    fn check_mount(&mut self, file: &HeldFile) -> Result<(), AttestorError> {
        let unreadable = |source| AttestorError::Unreadable { what: "the mounts of the executable", source };
        let mount = file.mount_id().map_err(unreadable)?;
        let trusted = match self.trusted.take() {
            Some(trusted) => trusted,
            None => trusted_mountinfo().map_err(unreadable)?,
        };
        let trusted = &*self.trusted.insert(trusted);
        // The process may have opened the file in a mount namespace that it left since, or in its
        // own. Numbers of mounts are given once in the whole kernel, so no two lists can disagree.
        let device = match trusted.iter().find_map(|mounts| device_of(mounts, mount)) {
            Some(device) => Some(device),
            None => {
                let own = match self.own.take() {
                    Some(own) => own,
                    None => self.evidence.mountinfo()?,
                };
                device_of(self.own.insert(own), mount)
            }
        };
        verdict(device.and_then(|device| trusted.iter().find_map(|mounts| type_of(mounts, device))))
    }
}

/// What the type of the file system in the trusted lists means; none if it is in neither.
fn verdict(file_system: Option<&[u8]>) -> Result<(), AttestorError> {
    match file_system {
        None => Err(AttestorError::ForeignFileSystem("a file system that is not mounted for the agent")),
        Some(name) if name.starts_with(b"fuse") => Err(AttestorError::ForeignFileSystem("a FUSE file system")),
        Some(_) => Ok(()),
    }
}

/// One line of `mountinfo` (proc(5)). Blanks and line breaks in names are escaped by the kernel.
pub(super) struct Mount<'a> {
    pub(super) id: u64,
    device: &'a [u8],
    /// Which directory of its file system is mounted; still escaped.
    pub(super) root: &'a [u8],
    /// Where; still escaped.
    pub(super) point: &'a [u8],
    pub(super) file_system: &'a [u8],
    /// Options of the file system as a whole, with commas between them.
    pub(super) options: &'a [u8],
}

/// The mounts of a `mountinfo` file.
pub(super) fn mounts(mountinfo: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        // Fields 3 to 5; then, after any number of optional fields and a lone dash, the type.
        let [device, root, point] = [fields.nth(1)?, fields.next()?, fields.next()?];
        let mut fields = fields.skip_while(|field| *field != b"-");
        let file_system = fields.nth(1)?;
        let options = fields.nth(1).unwrap_or_default();
        Some(Mount { id, device, root, point, file_system, options })
    })
}

/// A name as it was before the kernel escaped it: a backslash and three octal digits are a byte.
pub(super) fn unescaped(name: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::with_capacity(name.len()), name);
    loop {
        let byte;
        (byte, rest) = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after)
            }
            [first, after @ ..] => (*first, after),
            [] => return plain,
        };
        plain.push(byte);
    }
}

/// Number of the device that is mounted by the mount with number `id`.
pub(super) fn device_of(mountinfo: &[u8], id: u64) -> Option<&[u8]> {
    mounts(mountinfo).find(|mount| mount.id == id).map(|mount| mount.device)
}

/// Type of the file system on `device`.
pub(super) fn type_of<'a>(mountinfo: &'a [u8], device: &[u8]) -> Option<&'a [u8]> {
    mounts(mountinfo).find(|mount| mount.device == device).map(|mount| mount.file_system)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOUNTINFO: &[u8] = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw\n\
        40 36 0:55 / /home/u/a\\040-\\040b rw - fuse.sshfs x rw\n41 36 0:56 / /tmp rw - tmpfs tmpfs rw\n";

    #[test]
    fn mounts_are_found_by_number_and_by_device() {
        assert_eq!(device_of(MOUNTINFO, 36), Some(&b"98:0"[..]));
        assert_eq!(device_of(MOUNTINFO, 3), None);
        assert_eq!(type_of(MOUNTINFO, b"0:56"), Some(&b"tmpfs"[..]));
        assert_eq!(type_of(MOUNTINFO, b"98:0"), Some(&b"ext3"[..]));
        assert_eq!(type_of(MOUNTINFO, b"0:5"), None);
    }

    #[test]
    fn a_mount_says_what_is_mounted_where() {
        let line = b"104 96 0:38 /../.. /host/a\\040b ro,relatime master:9 - cgroup none rw,xattr,name=systemd\n";
        let mount = mounts(line).next().unwrap();
        assert_eq!((mount.id, mount.root, &unescaped(mount.point)[..]), (104, &b"/../.."[..], &b"/host/a b"[..]));
        assert_eq!((mount.file_system, mount.options), (&b"cgroup"[..], &b"rw,xattr,name=systemd"[..]));
        assert_eq!(unescaped(br"\134\377\400\9\04"), b"\\\xff\\400\\9\\04");
    }

    #[test]
    fn what_a_user_may_serve_is_not_believed() {
        verdict(Some(b"ext4")).unwrap();
        for (name, said) in [
            (None, "a file system that is not mounted for the agent"),
            (type_of(MOUNTINFO, b"0:55"), "a FUSE file system"),
            (Some(&b"fuse"[..]), "a FUSE file system"),
        ] {
            assert!(matches!(verdict(name), Err(AttestorError::ForeignFileSystem(why)) if why == said));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = (device_of(&bytes, 1), type_of(&bytes, b"0:1"), unescaped(&bytes));
        }
    }
}
