//! Disks of a test's own, that fill up and fail for real; root only.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Gives this thread, and what it starts from now on, mounts of its own: what is mounted here is
/// seen by nobody else, and is gone with them.
///
/// # Panics
/// Not run by root.
pub fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("root may");
}

/// An ext4 file system of 16 MiB in a file.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    /// Makes one in `folder` and mounts it there. To be called after [`own_mounts`].
    ///
    /// # Panics
    /// The machine has no loop devices, or lacks mkfs.ext4(8).
    pub fn make(folder: &Path) -> Self {
        let disk = Self { image: folder.join("image"), place: folder.join("disk") };
        File::create(&disk.image).and_then(|image| image.set_len(16 << 20)).expect("our folder");
        std::fs::create_dir(&disk.place).expect("our folder");
        run("mkfs.ext4", &["-q", "-m", "0", &disk.image.display().to_string()]);
        disk.mount();
        disk
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Fills it to the last block; the file that does it.
    pub fn fill(&self) -> PathBuf {
        let filler = self.place.join("filler");
        let mut file = File::create(&filler).expect("room for a name");
        for size in [1 << 20, 4096, 1] {
            while file.write(&vec![1; size]).is_ok_and(|written| written == size) {}
        }
        filler
    }

    /// Brings what was written so far to the disk, as the machine does by itself before long.
    pub fn sync(&self) {
        run("sync", &["--file-system", &self.place.display().to_string()]);
    }

    /// The kernel finds a fault in it and lets nobody write any more (ext4(5), `errors=remount-ro`).
    pub fn fail(&self) {
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").expect("proc(5)");
        let place = format!(" {} ", self.place.display());
        let device = mounts.lines().find(|line| line.contains(&place)).and_then(|line| line.split(' ').next());
        let device = device.and_then(|device| device.strip_prefix("/dev/")).expect("it is mounted");
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a fault").expect("root may");
    }

    /// Takes it out and puts it in again, whole. Nobody may be using it.
    pub fn mend(&self) {
        run("umount", &[&self.place.display().to_string()]);
        self.mount();
    }

    fn mount(&self) {
        let [image, place] = [&self.image, &self.place].map(|path| path.display().to_string());
        run("mount", &["-o", "loop,errors=remount-ro", &image, &place]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still runs on it keeps it until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.place).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.expect("it is installed").success(), "{program} {arguments:?}");
}
