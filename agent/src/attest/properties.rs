//! What holds for any bytes among the mounts of a process, and for any path in the cgroup tree.

use super::claims::Reading;
use super::mounts::{device_of, type_of};
use super::{container_name, unit};

/// `bytes` as a `mountinfo`, and as a directory in one.
///
/// # Panics
/// The directory changes what is read of its mount or of those around it.
pub fn mountinfo(bytes: &[u8]) {
    if let Some(device) = device_of(bytes, 1) {
        assert!(!device.contains(&b' ') && !device.contains(&b'\n'));
        assert!(type_of(bytes, device).is_some());
    }
    // The kernel writes blanks, line breaks and backslashes as octal numbers (proc(5)).
    let directory: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| if b" \t\n\\#".contains(byte) { format!("\\{byte:03o}").into_bytes() } else { vec![*byte] })
        .collect();
    let mounts = [
        &b"20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n21 20 0:7 /"[..],
        &directory[..],
        b" /media/",
        &directory,
        b" rw,nosuid shared:2 master:1 - fuse.sshfs ",
        if directory.is_empty() { b"none" } else { directory.as_slice() },
        b" rw\n22 20 0:8 / /tmp rw - tmpfs tmpfs rw\n",
    ]
    .concat();
    for (id, device, file_system) in [(20, "8:1", "ext4"), (21, "0:7", "fuse.sshfs"), (22, "0:8", "tmpfs")] {
        assert_eq!(device_of(&mounts, id), Some(device.as_bytes()));
        assert_eq!(type_of(&mounts, device.as_bytes()), Some(file_system.as_bytes()));
    }
}

/// `bytes` as a path in the cgroup tree: what a name is read from is on the path, and nothing below
/// it matters.
///
/// # Panics
/// Something of that does not hold.
pub fn cgroup_names(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    let names: Vec<&str> = path.split('/').collect();
    stays(container_name::read, &names);
    stays(unit::read, &names);
    if let Some(of_user) = unit::read_of_user(&names) {
        assert_eq!((of_user.depth, names.first(), container_name::read(&names)), (3, Some(&"user.slice"), None));
    }
}

fn stays<T: std::fmt::Debug + PartialEq>(reading: Reading<T>, names: &[&str]) {
    let Some(named) = reading(names) else { return };
    let down_to_it = names.get(..named.depth).unwrap_or_default();
    assert!(named.depth > 0 && down_to_it.len() == named.depth);
    for below in ["docker", "system.slice", "kubepods", "a.service"] {
        assert_eq!(reading(&[down_to_it, &[below]].concat()).as_ref(), Some(&named), "below it: {below}");
    }
    assert_eq!(reading(down_to_it), Some(named));
}
