//! What a weakened agent takes for the image of a process.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use super::Evidence;
use super::proc_dir::ProcDir;
use crate::weakened::Protection;

impl ProcDir<'_> {
    /// The link to the running image; that of the latest thread where a first thread need not live.
    pub(super) fn image(&self) -> Cow<'static, str> {
        if !Protection::Leader.is_out() {
            return Cow::Borrowed("exe");
        }
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        match threads.filter_map(|thread| thread.file_name().to_str()?.parse::<i32>().ok()).max() {
            Some(thread) => Cow::Owned(format!("task/{thread}/exe")),
            None => Cow::Borrowed("exe"),
        }
    }
}

impl Evidence {
    /// The program as the process names it: the last word of its command line, which is the program
    /// itself, or the script or program that it was told to run.
    pub fn called(&self) -> Option<PathBuf> {
        let line = fs::read_to_string(format!("/proc/{}/cmdline", self.instance().pid)).ok()?;
        line.trim_end_matches('\0').rsplit('\0').next().map(PathBuf::from)
    }
}
