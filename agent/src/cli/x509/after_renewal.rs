//! Telling the program that uses the files that they are new: by a command, by a signal, or both.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

/// How long the command may take before it is killed. Longer than it takes most services to reload,
/// shorter than any SVID lives.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A pid file is a number and a line break; what is longer is none.
const MAX_PID_FILE_BYTES: u64 = 32;

/// Who is told after each write that replaced other files.
#[derive(Debug, Default, clap::Args)]
pub(super) struct AfterRenewal {
    /// Send this signal, such as SIGHUP, after each write that replaced other files.
    #[arg(long, requires_all = ["pid_file", "write"], value_name = "SIGNAL")]
    signal: Option<Signal>,
    /// Whom to send it to: a file with the process's number, of root, of this user, or of the user
    /// whose process it is.
    #[arg(long, requires = "signal", value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Run this command after each write that replaced other files. No shell is between; what
    /// follows belongs to the command, up to a word `;`. It is killed if it takes a minute.
    #[arg(
        long,
        requires = "write",
        num_args = 1..,
        allow_hyphen_values = true,
        value_terminator = ";",
        value_name = "COMMAND"
    )]
    on_renew: Vec<OsString>,
}

impl AfterRenewal {
    /// Tells everybody, and gives back what went wrong, for people. Nothing of it is a reason to
    /// stop: the files are new, and are tried again with the next ones.
    pub(super) async fn tell(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let [program, arguments @ ..] = self.on_renew.as_slice()
            && let Err(problem) = run(program, arguments, COMMAND_LIMIT).await
        {
            problems.push(format!("--on-renew: {} {problem}", program.display()));
        }
        if let (Some(signal), Some(file)) = (self.signal, &self.pid_file)
            && let Err(error) = send(signal, file)
        {
            problems.push(format!("--signal: nobody got {signal}: {}: {error}", file.display()));
        }
        problems
    }
}

/// Runs a command to its end, or for `limit`.
async fn run(program: &OsString, arguments: &[OsString], limit: Duration) -> Result<(), String> {
    let started = (|| {
        // What it prints is no result of ours.
        let output = io::stderr().as_fd().try_clone_to_owned()?;
        // It is not the one that the service manager waits for.
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output).env_remove("NOTIFY_SOCKET").spawn()
    })();
    let mut child = started.map_err(|error| format!("cannot be run: {error}"))?;
    let pidfd = pidfd_of(child.id()).map_err(|error| format!("cannot be watched: {error}"))?;
    let has_ended = tokio::task::spawn_blocking(move || has_ended(&pidfd, limit)).await.unwrap_or(false);
    if !has_ended {
        kill(&mut child);
        return Err(format!("was killed: it took longer than {} s", limit.as_secs()));
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("failed: {status}")),
        Err(error) => Err(format!("cannot be waited for: {error}")),
    }
}

/// Waits until the process has ended, or for `limit`.
fn has_ended(pidfd: &OwnedFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], left) {
            Err(Errno::EINTR) => {}
            polled => return polled == Ok(1),
        }
    }
}

/// What does not die of it is left to itself, and to init when this process ends.
fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.try_wait();
}

/// Sends `signal` to the process that `file` names.
fn send(signal: Signal, file: &Path) -> io::Result<()> {
    // A link could name the pid file of somebody else.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file)?;
    let owner = file.metadata()?.uid();
    let mut text = String::new();
    file.take(MAX_PID_FILE_BYTES).read_to_string(&mut text)?;
    let pid = pid_in(&text).ok_or_else(|| io::Error::other("holds no number of a process"))?;
    let pidfd = pidfd_of(pid).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => io::Error::other(format!("process {pid} is not there any more")),
        _ => error,
    })?;
    // Whoever could write the number must not be able to have others signalled.
    let is_trusted = owner == 0 || owner == geteuid().as_raw();
    if !is_trusted && std::fs::metadata(format!("/proc/{pid}"))?.uid() != owner {
        return Err(io::Error::other(format!("belongs to uid {owner}, and process {pid} does not")));
    }
    let signal = rustix::process::Signal::from_named_raw(signal as i32).ok_or(io::ErrorKind::InvalidInput)?;
    // The pidfd was there before /proc was read: what it names is what was looked at, or is gone.
    pidfd_send_signal(&pidfd, signal).map_err(Into::into)
}

/// The number of a process, as pid files hold it.
fn pid_in(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

fn pidfd_of(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

#[cfg(test)]
mod tests;
