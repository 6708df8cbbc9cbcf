//! System calls of a running agent that fail, or at which it is killed: strace(1), `--inject`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use countersign_tests::{skip, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::table::KILLED;

/// Which call of an agent meets which fault.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The system call.
    pub(crate) call: &'static str,
    /// Its error by name, or [`KILLED`].
    pub(crate) error: &'static str,
    /// Which of the calls of each thread: `3` the third, `1+` all.
    pub(crate) when: String,
    /// Calls that concern these files; every call if there are none.
    pub(crate) paths: Vec<PathBuf>,
}

impl Fault {
    fn words(&self, log: &Path) -> Vec<String> {
        let what = if self.error == KILLED { "signal=KILL".to_owned() } else { format!("error={}", self.error) };
        let mut words = vec!["-f".to_owned(), "-o".to_owned(), log.display().to_string()];
        words.push(format!("--trace={},fadvise64", self.call));
        words.push(format!("--inject={}:{what}:when={}", self.call, self.when));
        words.extend(self.paths.iter().flat_map(|path| ["-P".to_owned(), path.display().to_string()]));
        words
    }

    /// Words before the command of an agent that is to meet this fault as it starts. The agent stays our
    /// child (`-D`), and strace can be told to let go of it (`-I2`).
    pub(crate) fn before_command(&self, log: &Path) -> Vec<String> {
        // cargo's list of folders with libraries would have the linker open a file in each of them.
        let mut words = ["env", "--unset=LD_LIBRARY_PATH", "strace", "-D", "-I2"].map(str::to_owned).to_vec();
        words.extend(self.words(log));
        words
    }
}

/// Whether a running agent can be watched here; the test is skipped if not (ptrace(2), `ptrace_scope`).
pub(crate) fn possible_or_skip() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let may_attach = nix::unistd::geteuid().is_root() || matches!(scope.trim(), "" | "0");
    let is_installed = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !(may_attach && is_installed) {
        skip("needs strace, and leave to watch processes");
    }
    may_attach && is_installed
}

/// Whether a call met the fault, by the log of strace.
pub(crate) fn was_met(log: &Path) -> bool {
    std::fs::read_to_string(log).unwrap_or_default().contains("(INJECTED)")
}

/// Takes the fault away that an agent met as it started.
pub(crate) async fn take_away(pid: u32) {
    let tracer = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent lives");
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).expect("proc(5)");
        tracer.trim().parse::<i32>().expect("a pid")
    };
    let strace = tracer();
    assert_ne!(strace, 0, "nobody watches the agent");
    kill(Pid::from_raw(strace), Signal::SIGTERM).expect("strace lives");
    until("strace to let go", || (tracer() == 0).then_some(())).await;
}

/// A fault that a running agent meets until this is ended.
pub(crate) struct Injection {
    strace: Child,
    log: PathBuf,
}

impl Injection {
    /// Returns when every thread of the agent is watched.
    pub(crate) async fn into(pid: u32, fault: &Fault, log: &Path) -> Self {
        let _ = std::fs::remove_file(log);
        let mut command = Command::new("strace");
        command.args(fault.words(log)).args(["-p", &pid.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut strace = command.spawn().expect("strace(1) is installed");
        let tracer = format!("TracerPid:\t{}\n", strace.id());
        let tasks = format!("/proc/{pid}/task");
        let all_watched = || {
            assert!(strace.try_wait().expect("our child").is_none(), "strace ended: {fault:?}");
            let is_watched = |task: std::fs::DirEntry| {
                // A thread that has ended meets nothing any more.
                std::fs::read_to_string(task.path().join("status")).map_or(true, |status| status.contains(&tracer))
            };
            std::fs::read_dir(&tasks).expect("the agent lives").flatten().all(is_watched).then_some(())
        };
        until("strace to watch all threads", all_watched).await;
        Self { strace, log: log.to_owned() }
    }

    /// Takes the fault away; whether a call met it.
    pub(crate) async fn end(mut self) -> bool {
        // It may have ended with the agent.
        let _ = kill(Pid::from_raw(i32::try_from(self.strace.id()).expect("a pid")), Signal::SIGINT);
        until("strace to let go", || self.strace.try_wait().expect("our child")).await;
        was_met(&self.log)
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // After `end` there is nothing left to end.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}
