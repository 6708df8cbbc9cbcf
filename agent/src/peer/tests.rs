//! Identifying real processes, and noticing what they become.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use tokio::net::UnixListener;

use super::children::{Child, copy_program, is_root};
use super::*;

fn why(result: Result<impl std::fmt::Debug, PeerError>) -> String {
    result.expect_err("a refusal").to_string()
}

/// A child that has connected, and the agent's end of the connection.
async fn connected(role: &str) -> (Child, UnixStream) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let role = role.to_owned();
    let child = tokio::task::spawn_blocking(move || Child::connect(&role, &socket)).await.unwrap();
    (child, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn a_peer_is_the_process_that_connected() {
    let (child, stream) = connected("connect").await;
    let peer = Arc::new(Peer::of(&stream).unwrap());
    assert_eq!(peer.pid(), child.pid());
    assert_eq!(peer.connected_as().uid, nix::unistd::geteuid().as_raw());
    let evidence = peer.evidence().unwrap();
    assert_eq!(evidence.credentials(), *peer.connected_as());
    assert_eq!(evidence.real_credentials(), *peer.connected_as());
    assert_eq!(evidence.executable().path(), std::env::current_exe().unwrap());
    assert_eq!(evidence.instance().pid, child.pid());
    evidence.recheck().unwrap();
}

#[tokio::test]
async fn a_peer_that_was_reaped_before_accept_is_refused() {
    let (mut child, stream) = connected("connect").await;
    child.reap();
    assert_eq!(why(Peer::of(&stream)), "the process has exited");
}

#[tokio::test]
async fn a_peer_that_waits_to_be_reaped_is_refused() {
    let (mut child, stream) = connected("connect").await;
    child.kill();
    assert_eq!(why(Peer::of(&stream)), "the process has exited");
}

#[tokio::test]
async fn exit_is_told_and_ends_the_evidence() {
    let (mut child, stream) = connected("connect").await;
    let peer = Arc::new(Peer::of(&stream).unwrap());
    let evidence = peer.evidence().unwrap();
    child.kill();
    peer.exited().await;
    assert!(!peer.is_alive());
    assert_eq!(why(evidence.recheck()), "the process has exited");
    child.reap();
    assert_eq!(why(evidence.recheck()), "the process has exited");
    assert_eq!(why(peer.evidence()), "the process has exited");
}

#[tokio::test]
async fn exec_over_the_connection_ends_the_fingerprint() {
    let (mut child, stream) = connected("connect, then exec").await;
    let peer = Arc::new(Peer::of(&stream).unwrap());
    let fingerprint = peer.evidence().unwrap().fingerprint().clone();
    fingerprint.recheck().unwrap();
    child.go_on();
    child.until(|| std::fs::read_link(child.proc("exe")).is_ok_and(|exe| exe.ends_with("sleep")));
    assert_eq!(why(fingerprint.recheck()), "the process changed after it connected: executable");
}

#[test]
fn a_peer_needs_a_reactor_and_says_so() {
    let pidfd = pidfd_open(std::process::id().try_into().unwrap()).unwrap();
    assert!(matches!(Peer::hold(pidfd, Credentials { uid: 0, gid: 0 }), Err(PeerError::Socket(_))));
}

#[tokio::test]
async fn a_peer_that_was_held_before_it_exited_is_gone_for_the_older_kernels_too() {
    let mut child = Child::play("stay");
    let pidfd = pidfd(child.pid(), Err(Errno::ENOPROTOOPT)).unwrap();
    assert_eq!(pid(&pidfd).unwrap(), child.pid());
    assert_eq!(pid_by_fdinfo(&pidfd).unwrap(), child.pid());
    child.reap();
    assert_eq!(why(pid(&pidfd)), "the process has exited");
    assert_eq!(why(pid_by_fdinfo(&pidfd)), "the process has exited");
    assert!(sys::info_of(pidfd.as_fd()).is_err());
}

#[test]
fn a_pid_that_is_a_threads_by_now_is_no_peer_for_the_older_kernels() {
    let thread = std::thread::spawn(|| pidfd(nix::unistd::gettid().as_raw(), Err(Errno::ENOPROTOOPT)));
    assert_eq!(why(thread.join().unwrap()), "the process has exited");
}

#[test]
fn the_kernels_refusals_are_told_apart() {
    for (answer, said) in [
        (Errno::ESRCH, "the process has exited"),
        (Errno::EINVAL, "the process has exited"),
        (
            Errno::EMFILE,
            "cannot hold the process at the other end of the connection: Too many open files (os error 24)",
        ),
    ] {
        assert_eq!(why(pidfd(1, Err(answer))), said);
    }
    assert!(matches!(pidfd(0, Err(Errno::ENOPROTOOPT)), Err(PeerError::OutsidePidNamespace)));
}

#[test]
fn exec_between_evidence_and_recheck_is_a_change() {
    let mut child = Child::play("exec on go");
    let evidence = child.peer().evidence().unwrap();
    child.go_on();
    child.until(|| std::fs::read_link(child.proc("exe")).is_ok_and(|exe| exe.ends_with("sleep")));
    assert_eq!(why(evidence.recheck()), "the process changed after it connected: executable");
}

#[test]
fn dropped_privilege_between_evidence_and_recheck_is_a_change() {
    if is_root() {
        let mut child = Child::play("drop privilege on go");
        let peer = child.peer();
        let evidence = peer.evidence().unwrap();
        child.go_on();
        child.says("dropped");
        assert_eq!(why(evidence.recheck()), "the process changed after it connected: credentials");
        assert_eq!(why(peer.evidence()), "the process changed after it connected: credentials");
    }
}

#[test]
fn a_group_more_between_evidence_and_recheck_is_a_change() {
    if is_root() {
        let mut child = Child::play("add a group on go");
        let evidence = child.peer().evidence().unwrap();
        child.go_on();
        child.says("added");
        assert_eq!(why(evidence.recheck()), "the process changed after it connected: credentials");
        assert_eq!(child.peer().evidence().unwrap().supplementary_groups(), [4242]);
    }
}

#[test]
fn another_cgroup_between_evidence_and_recheck_is_a_change() {
    let Some(cgroup) = OwnCgroup::make() else { return };
    let child = Child::play("stay");
    let evidence = child.peer().evidence().unwrap();
    cgroup.take_in(&child);
    assert_eq!(why(evidence.recheck()), "the process changed after it connected: cgroup");
    let now = child.peer().evidence().unwrap();
    let v2 = now.cgroups().iter().find(|cgroup| cgroup.hierarchy == 0).unwrap();
    assert!(v2.path.ends_with(&cgroup.name), "{v2:?}");
}

#[test]
fn a_set_uid_program_is_who_the_kernel_decides_by() {
    if is_root() {
        let child = Child::play("run as a set-uid program would");
        let evidence = child.peer().evidence().unwrap();
        assert_eq!((evidence.credentials().uid, evidence.real_credentials().uid), (0, 1001));
        // Whoever connected as the user and became the program since is not the one who asks.
        let before = Peer::of_process(child.pid(), 1001, 0);
        assert_eq!(why(before.evidence()), "the process changed after it connected: credentials");
    }
}

#[test]
fn p14_a_process_whose_first_thread_is_gone_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("leaderless");
    compile(
        "#include <pthread.h>\n#include <unistd.h>\n\
         static void *stay(void *none) { for (;;) pause(); return none; }\n\
         int main(void) { pthread_t it; pthread_create(&it, 0, stay, 0); pthread_exit(0); }\n",
        &program,
    );
    let child = Child::start(&mut Command::new(program));
    let peer = child.peer();
    child.until(|| std::fs::read_to_string(child.proc("stat")).unwrap().contains(") Z "));
    assert!(peer.is_alive(), "its other thread lives");
    assert_eq!(
        why(peer.evidence()),
        format!("the first thread of process {} has exited; its other threads cannot be attested", child.pid())
    );
}

#[test]
fn an_image_that_was_removed_is_known_by_its_links_not_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let named = directory.path().join("sleep (deleted)");
    copy_program(Path::new("/bin/sleep"), &named);
    let child = Child::run(&named);
    let evidence = child.peer().evidence().unwrap();
    assert!(!evidence.executable().deleted());
    assert_eq!(evidence.executable().path(), named);
    assert!(evidence.executable().is_file_at_its_path().unwrap());

    std::fs::remove_file(&named).unwrap();
    let evidence = child.peer().evidence().unwrap();
    assert!(evidence.executable().deleted());
    assert_eq!(evidence.executable().path(), named);
    assert!(!evidence.executable().is_file_at_its_path().unwrap());
    assert!(!evidence.executable().is_known_to_be_at_its_path());
    // The image is still there to be read.
    let image = std::io::read_to_string(evidence.executable().open().unwrap()).map_err(|error| error.kind());
    assert_eq!(image.unwrap_err(), std::io::ErrorKind::InvalidData);
}

#[test]
fn a_file_put_in_place_of_the_image_is_not_the_image() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("program");
    copy_program(Path::new("/bin/sleep"), &program);
    let child = Child::run(&program);
    let other = directory.path().join("other");
    copy_program(Path::new("/bin/sleep"), &other);
    std::fs::rename(&other, &program).unwrap();
    let evidence = child.peer().evidence().unwrap();
    assert!(!evidence.executable().is_file_at_its_path().unwrap());
    assert!(!evidence.executable().is_known_to_be_at_its_path());
}

#[test]
fn a_path_through_a_symbolic_link_is_not_the_image_s() {
    let directory = tempfile::tempdir().unwrap();
    let (program, moved) = (directory.path().join("program"), directory.path().join("moved"));
    copy_program(Path::new("/bin/sleep"), &program);
    let child = Child::run(&program);
    let before = child.peer().evidence().unwrap();
    std::fs::rename(&program, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &program).unwrap();
    // The kernel has followed the link before and remembers where it leads.
    assert!(std::fs::exists(&program).unwrap());
    assert!(!before.executable().is_file_at_its_path().unwrap());
    assert!(!before.executable().is_known_to_be_at_its_path());
    assert!(child.peer().evidence().unwrap().executable().is_file_at_its_path().unwrap());
}

fn compile(source: &str, program: &Path) {
    use std::io::Write as _;
    let mut cc = Command::new("cc")
        .args(["-pthread", "-xc", "-", "-o"])
        .arg(program)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    cc.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    assert!(cc.wait().unwrap().success());
}

/// A cgroup of the test's own, removed with it; its members must be gone by then.
struct OwnCgroup {
    name: String,
    directory: std::path::PathBuf,
}

impl OwnCgroup {
    /// None where the tests may not make one.
    fn make() -> Option<Self> {
        let name = format!("countersign-test-{}", std::process::id());
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            let directory = Path::new(root).join(&name);
            if Path::new(root).join("cgroup.controllers").exists() && std::fs::create_dir(&directory).is_ok() {
                return Some(Self { name, directory });
            }
        }
        assert!(std::env::var_os("CI").is_none(), "this test needs a cgroup v2 that it may write");
        println!("passed over: no cgroup v2 that may be written");
        None
    }

    fn take_in(&self, child: &Child) {
        std::fs::write(self.directory.join("cgroup.procs"), child.pid().to_string()).unwrap();
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.directory);
    }
}
