//! Real processes for the tests of this room and of those above it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use super::countersign::Countersign;
use super::{Credentials, Peer, pidfd_open};

/// How long a child may take to do anything at all.
const LIMIT: Duration = Duration::from_secs(30);

/// Names the part that this test binary plays when it is run as a child.
const ROLE: &str = "COUNTERSIGN_TEST_ROLE";

/// Where the child shall connect.
const SOCKET: &str = "COUNTERSIGN_TEST_SOCKET";

impl Peer {
    /// The peer that process `pid` is when it connects with these credentials.
    pub(crate) fn of_process(pid: i32, uid: u32, gid: u32) -> Arc<Self> {
        // Sync tests have no reactor of their own, and a pidfd is registered with one.
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        let _on = RUNTIME
            .get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
            .enter();
        let peer = Self::hold(pidfd_open(pid).unwrap(), Credentials { uid, gid }).unwrap();
        Arc::new(Self { countersign: Countersign::not_needed(), ..peer })
    }

    /// This test as a peer that has yet to prove that it is the one that asks.
    pub(crate) fn unproven() -> Arc<Self> {
        let peer = Arc::into_inner(Self::of_this_process()).unwrap();
        Arc::new(Self { countersign: Countersign::new(), ..peer })
    }

    /// The peer that this test is when it connects to itself.
    pub(crate) fn of_this_process() -> Arc<Self> {
        let pid = i32::try_from(std::process::id()).unwrap();
        Self::of_process(pid, nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
    }
}

/// Whether a process waits for time or input (proc(5), `wchan`), and so is through with exec.
pub(crate) fn waits(pid: i32) -> bool {
    let waits_in = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    waits_in.contains("sleep") || waits_in.contains("pipe")
}

/// A child that does one step for each line that it is told, and says when it is done. Ended
/// and reaped when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Child {
    /// Starts `command` with its input and output in the test's hands.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (to, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = to.send(line);
            }
        });
        Self { process, input, lines }
    }

    /// Starts this test binary in a role of [`role`], which says "ready" when it is.
    pub(crate) fn play(role: &str) -> Self {
        let mut child = Self::start(&mut player(role));
        child.says("ready");
        child
    }

    /// As [`Child::play`], with a socket to connect to.
    pub(crate) fn connect(role: &str, socket: &Path) -> Self {
        let mut child = Self::start(player(role).env(SOCKET, socket));
        child.says("ready");
        child
    }

    /// Starts `program`, which shall run until it is ended and needs no input.
    pub(crate) fn run(program: &Path) -> Self {
        let child = Self::start(Command::new(program).arg("600"));
        let image = std::fs::canonicalize(program).unwrap();
        child.until(|| child.waits_in(&image));
        child
    }

    /// Whether it runs `image` and waits there for time or input: until then it may still be on
    /// its way through exec, which no process is that has connected.
    pub(crate) fn waits_in(&self, image: &Path) -> bool {
        std::fs::read_link(self.proc("exe")).is_ok_and(|exe| exe == image) && waits(self.pid())
    }

    /// Tells it to do its next step.
    pub(crate) fn go_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }

    /// Waits until it has said `word`.
    pub(crate) fn says(&mut self, word: &str) {
        while self.lines.recv_timeout(LIMIT).expect("the child says what it does") != word {}
    }

    /// Waits until something is so.
    pub(crate) fn until(&self, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < LIMIT, "waited in vain");
            std::thread::yield_now();
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id().try_into().unwrap()
    }

    /// The peer that it is, having connected as the user who runs the tests.
    pub(crate) fn peer(&self) -> Arc<Peer> {
        Peer::of_process(self.pid(), nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
    }

    /// A path below its directory in /proc.
    pub(crate) fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid()))
    }

    /// Ends it and leaves it to be reaped.
    pub(crate) fn kill(&mut self) {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        self.process.kill().unwrap();
        // `stat` shows a zombie as soon as the first thread is one; the process lives until the
        // last has exited, and only then there is something to wait for.
        let pid = nix::unistd::Pid::from_raw(self.pid());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    }

    /// Ends it and reaps it: its pid is free.
    pub(crate) fn reap(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn player(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "peer::children::role", "--nocapture"]).env(ROLE, role);
    command
}

/// Copies a program so that it can be run at once. Done by another process: were this one to
/// have the copy open for writing, a child that another test starts at that moment would hold
/// it open too, and running it would fail.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// Whether the tests run as root. Those that need it are passed over elsewhere, but not where
/// all tests must run.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "this test needs root");
    if !root {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Past the test harness, which keeps to itself what `println!` says in a test that passes.
        let _ = writeln!(std::io::stderr(), "skipped: {test} needs root");
    }
    root
}

fn say(word: &str) {
    println!("\n{word}");
}

fn wait_for_go() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    match role.as_str() {
        "stay" => say("ready"),
        "exec on go" => {
            say("ready");
            wait_for_go();
            panic!("{}", Command::new("sleep").arg("600").exec());
        }
        "exec the same on go" => {
            say("ready");
            wait_for_go();
            panic!("{}", player("stay").exec());
        }
        "drop privilege on go" => {
            say("ready");
            wait_for_go();
            let (uid, gid) = (nix::unistd::Uid::from_raw(1001), nix::unistd::Gid::from_raw(1001));
            nix::unistd::setresgid(gid, gid, gid).unwrap();
            nix::unistd::setresuid(uid, uid, uid).unwrap();
            say("dropped");
        }
        "add a group on go" => {
            say("ready");
            wait_for_go();
            nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(4242)]).unwrap();
            say("added");
        }
        "run as a set-uid program would" => {
            let (user, root) = (nix::unistd::Uid::from_raw(1001), nix::unistd::Uid::from_raw(0));
            nix::unistd::setresuid(user, root, root).unwrap();
            say("ready");
        }
        "connect" => {
            let _held = connect();
            say("ready");
            wait_for_go();
        }
        "connect, then exec" => {
            let stream = std::os::fd::OwnedFd::from(connect());
            say("ready");
            wait_for_go();
            panic!("{}", Command::new("sleep").arg("600").stdin(stream).exec());
        }
        role => panic!("no such role: {role}"),
    }
    wait_for_go();
}

fn connect() -> std::os::unix::net::UnixStream {
    std::os::unix::net::UnixStream::connect(std::env::var_os(SOCKET).unwrap()).unwrap()
}
