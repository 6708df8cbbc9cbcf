//! Files that others may not read or replace: opened, judged, read.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// What is wrong with a file.
#[derive(Debug)]
pub(super) enum Fault {
    /// It cannot be opened or read.
    Unreadable(std::io::Error),
    /// A directory, a device, a pipe.
    NotAFile,
    /// Somebody else could replace it: whose it is.
    Owner(u32),
    /// Others may do what they may not: its permission bits.
    Mode(u32),
    /// It is longer than it may be.
    Length,
}

/// Opens a file that belongs to root or to this user, and has no permission bits but `allowed`.
pub(super) fn open(path: &Path, allowed: u32) -> Result<File, Fault> {
    // O_NONBLOCK: a pipe in the file's place must not hang the start.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(Fault::Unreadable)?;
    // The open file is judged, not the path: nothing can be swapped in between.
    let metadata = file.metadata().map_err(Fault::Unreadable)?;
    judge(&metadata, allowed, nix::unistd::geteuid().as_raw())?;
    Ok(file)
}

pub(super) fn judge(metadata: &Metadata, allowed: u32, own_uid: u32) -> Result<(), Fault> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    if uid != 0 && uid != own_uid {
        return Err(Fault::Owner(uid));
    }
    if mode & !allowed != 0 {
        return Err(Fault::Mode(mode));
    }
    Ok(())
}

/// Reads a whole file of at most `most` bytes; no copy of it is left behind.
pub(super) fn read(path: &Path, allowed: u32, most: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let file = open(path, allowed)?;
    // One byte more than there may be, so that a longer file shows; of full size from the start,
    // so that growing leaves no copies.
    let mut bytes = Zeroizing::new(vec![0; most + 1]);
    let mut length = 0;
    let mut file = file.take(bytes.len() as u64);
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest).map_err(Fault::Unreadable)? {
            0 => break,
            count => length += count,
        }
    }
    if length > most {
        return Err(Fault::Length);
    }
    bytes.truncate(length);
    Ok(bytes)
}
