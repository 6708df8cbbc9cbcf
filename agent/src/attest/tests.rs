//! Attesting real processes.

mod again;
mod image;
mod kept;

use std::future::Future;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use countersign_common::clock::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::admission::HashLimits;
use crate::peer::Evidence;
use crate::peer::children::{Child, copy_program, is_root, waits};

const CHEAP: [SelectorKind; 4] =
    [SelectorKind::UnixUid, SelectorKind::UnixGid, SelectorKind::UnixSupplementaryGid, SelectorKind::CgroupPath];

/// A clock that stands still.
struct At(u64);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0)
    }
}

/// Long after every file was changed.
const LATER: u64 = 1 << 40;

/// A budget that nobody uses up.
fn plenty() -> Arc<HashBudget> {
    Arc::new(HashBudget::new(HashLimits { burst: 1 << 40, per_second: 1 << 40 }))
}

/// More bytes than any program here has, the tests themselves included.
const ENOUGH: u64 = 1 << 30;

fn attestors() -> Attestors {
    attestors_with(ENOUGH, LATER)
}

fn attestors_with(max_executable_bytes: u64, now: u64) -> Attestors {
    Attestors::new(Limits { max_executable_bytes, parallel_hashes: 1 }, plenty(), Daemons::default(), Arc::new(At(now)))
}

/// All kinds but one: the digest of the parent, which is the test itself, and is counted if taken.
fn everything(_: &BTreeSet<Selector>, _: &BTreeSet<SelectorKind>) -> BTreeSet<SelectorKind> {
    SelectorKind::ALL.into_iter().filter(|kind| *kind != SelectorKind::ProcessParentSha256).collect()
}

fn nothing(_: &BTreeSet<Selector>, _: &BTreeSet<SelectorKind>) -> BTreeSet<SelectorKind> {
    BTreeSet::new()
}

fn values(attestation: &Attestation, kind: SelectorKind) -> Vec<&str> {
    attestation.selectors().iter().filter(|selector| selector.kind() == kind).map(Selector::value).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A program of the test's own, and a process that runs it.
struct Program {
    directory: TempDir,
    path: PathBuf,
}

impl Program {
    fn named(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap().join(name);
        copy_program(Path::new("/bin/sleep"), &path);
        Self { directory, path }
    }

    /// Puts another program in its place, as an upgrade does.
    fn replace(&self) {
        let new = self.directory.path().join("new");
        copy_program(Path::new("/bin/cat"), &new);
        std::fs::rename(new, &self.path).unwrap();
    }
}

#[test]
fn every_kind_is_told_by_one_attestor_and_the_cheap_ones_cost_nothing() {
    let attestors = attestors();
    let mut kinds: Vec<_> = attestors.attestors.iter().flat_map(|attestor| attestor.kinds()).copied().collect();
    kinds.sort_unstable();
    assert_eq!(kinds, BTreeSet::from(SelectorKind::ALL).into_iter().collect::<Vec<_>>());
    let cheap = attestors.attestors.iter().filter(|attestor| attestor.cost() == Cost::Nothing);
    assert_eq!(cheap.flat_map(|attestor| attestor.kinds()).copied().collect::<Vec<_>>(), CHEAP);
}

#[tokio::test]
async fn what_no_entry_turns_on_is_not_told() {
    let attestors = attestors();
    let attestation = attestors.attest(&Peer::of_this_process(), nothing).await.unwrap();
    assert_eq!(*attestation.told(), BTreeSet::from(CHEAP));
    assert!(attestation.selectors().iter().all(|selector| CHEAP.contains(&selector.kind())));
    assert!(attestation.unavailable().is_empty());
    assert_eq!(attestors.hashes_taken(), 0);
    assert_eq!(values(&attestation, SelectorKind::UnixUid), [nix::unistd::geteuid().to_string()]);
}

#[tokio::test]
async fn what_entries_turn_on_is_told_of_the_running_image() {
    let attestors = attestors();
    let program = Program::named("program");
    let child = Child::run(&program.path);
    let attestation = attestors.attest(&child.peer(), everything).await.unwrap();
    assert_eq!(*attestation.told(), everything(&BTreeSet::new(), &BTreeSet::new()));
    assert_eq!(values(&attestation, SelectorKind::UnixPath), [program.path.to_str().unwrap()]);
    let bytes = std::fs::read("/bin/sleep").unwrap();
    assert_eq!(values(&attestation, SelectorKind::UnixSha256), [hexadecimal(&bytes)]);
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
    assert_eq!(values(&attestation, SelectorKind::UnixUser), [user.name]);
    assert_eq!(attestation.executable(), program.path);
    assert_eq!(attestation.instance().pid, child.pid());
    attestation.recheck().unwrap();
}

#[tokio::test]
async fn dear_kinds_are_asked_for_with_the_cheaper_ones_told() {
    let asked = std::sync::Mutex::new(Vec::new());
    let note = |_: &BTreeSet<Selector>, told: &BTreeSet<SelectorKind>| {
        asked.lock().unwrap().push(told.clone());
        BTreeSet::from([SelectorKind::UnixPath, SelectorKind::UnixUid])
    };
    let attestors = attestors();
    let attestation = attestors.attest(&Peer::of_this_process(), note).await.unwrap();
    let mut with_path = BTreeSet::from(CHEAP);
    with_path.insert(SelectorKind::UnixPath);
    assert_eq!(*asked.lock().unwrap(), [BTreeSet::from(CHEAP), with_path.clone()]);
    assert_eq!(*attestation.told(), with_path);
    assert_eq!(attestors.hashes_taken(), 0);
}

#[tokio::test]
async fn a_program_replaced_on_disk_keeps_its_hash_and_loses_its_path() {
    let program = Program::named("program");
    let child = Child::run(&program.path);
    program.replace();
    let attestation = attestors().attest(&child.peer(), everything).await.unwrap();
    assert_eq!(values(&attestation, SelectorKind::UnixPath), [""; 0]);
    assert!(attestation.told().contains(&SelectorKind::UnixPath), "it is known that there is none");
    let bytes = std::fs::read("/bin/sleep").unwrap();
    assert_eq!(values(&attestation, SelectorKind::UnixSha256), [hexadecimal(&bytes)]);
}

#[tokio::test]
async fn a_path_that_no_entry_can_name_yields_no_selector() {
    let program = Program::named("line\nbreak");
    let child = Child::run(&program.path);
    let attestation = attestors().attest(&child.peer(), everything).await.unwrap();
    assert_eq!(values(&attestation, SelectorKind::UnixPath), [""; 0]);
    assert_eq!(values(&attestation, SelectorKind::UnixSha256).len(), 1);
}

#[tokio::test]
async fn an_executable_over_the_bound_is_not_hashed_and_not_passed_over_in_silence() {
    let program = Program::named("sparse");
    assert!(Command::new("truncate").arg("-s1T").arg(&program.path).status().unwrap().success());
    let child = Child::run(&program.path);
    let attestors = attestors();
    let attestation = attestors.attest(&child.peer(), everything).await.unwrap();
    assert_eq!(*attestation.unavailable(), BTreeSet::from([SelectorKind::UnixSha256]));
    assert!(!attestation.told().contains(&SelectorKind::UnixSha256));
    assert_eq!(values(&attestation, SelectorKind::UnixSha256), [""; 0]);
    assert_eq!(values(&attestation, SelectorKind::UnixPath).len(), 1);
    assert_eq!(attestors.hashes_taken(), 0);
}

#[tokio::test]
async fn two_callers_hash_one_file_once() {
    let program = Program::named("program");
    let (one, two) = (Child::run(&program.path), Child::run(&program.path));
    both_hash_once(&one.peer(), &two.peer()).await;
}

#[tokio::test]
async fn two_users_hash_one_file_once() {
    if is_root() {
        let program = Program::named("program");
        let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(program.directory.path(), anybody).unwrap();
        let one = Child::run(&program.path);
        let two = Child::start(Command::new(&program.path).arg("600").uid(1001).gid(1001));
        two.until(|| two.waits_in(&program.path));
        both_hash_once(&one.peer(), &Peer::of_process(two.pid(), 1001, 1001)).await;
    }
}

async fn both_hash_once(one: &Arc<Peer>, two: &Arc<Peer>) {
    let limits = Limits { max_executable_bytes: ENOUGH, parallel_hashes: 2 };
    let attestors = Attestors::new(limits, plenty(), Daemons::default(), Arc::new(At(LATER)));
    let (one, two) = tokio::join!(attestors.attest(one, everything), attestors.attest(two, everything));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(values(&one, SelectorKind::UnixSha256).len(), 1);
    assert_eq!(values(&one, SelectorKind::UnixSha256), values(&two, SelectorKind::UnixSha256));
    assert_ne!(one.instance(), two.instance());
    assert_eq!(attestors.hashes_taken(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_image_beyond_the_budget_of_its_user_is_not_hashed() {
    let (one, two) = (Program::named("one"), Program::named("two"));
    let (first, second) = (Child::run(&one.path), Child::run(&two.path));
    // A whole budget may be spent at once, and comes back in a century.
    let budget = Arc::new(HashBudget::new(HashLimits { burst: 1 << 16, per_second: 1 }));
    let limits = Limits { max_executable_bytes: ENOUGH, parallel_hashes: 1 };
    let attestors = Attestors::new(limits, Arc::clone(&budget), Daemons::default(), Arc::new(At(LATER)));
    let told = attestors.attest(&first.peer(), everything).await.unwrap();
    assert_eq!(values(&told, SelectorKind::UnixSha256).len(), 1);
    let refused = attestors.attest(&second.peer(), everything).await.unwrap();
    let expected = BTreeSet::from([SelectorKind::UnixSha256]);
    assert_eq!(refused.unavailable().intersection(&expected).count(), 1);
    let again = attestors.attest(&first.peer(), everything).await.unwrap();
    assert_eq!(values(&again, SelectorKind::UnixSha256).len(), 1, "what is remembered costs nothing");
    assert_eq!(attestors.hashes_taken(), 1);
}

#[tokio::test]
async fn a_file_changed_a_moment_ago_is_hashed_for_each_caller() {
    let program = Program::named("program");
    let child = Child::run(&program.path);
    let changed = child.peer().evidence().unwrap().executable().identity().ctime_ns / 1_000_000_000;
    let changed = u64::try_from(changed).unwrap();
    for (now, hashes) in [(changed, 2), (changed + 2, 2), (changed + 3, 1), (0, 2)] {
        let attestors = attestors_with(ENOUGH, now);
        attestors.attest(&child.peer(), everything).await.unwrap();
        attestors.attest(&child.peer(), everything).await.unwrap();
        assert_eq!(attestors.hashes_taken(), hashes, "{} seconds after the change", now.wrapping_sub(changed));
    }
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_the_slot_to_the_next() {
    let program = Program::named("program");
    let child = Child::run(&program.path);
    let peer = child.peer();
    for now in [LATER, 0] {
        let attestors = attestors_with(ENOUGH, now);
        for polls in 1..8 {
            let mut caller = Box::pin(attestors.attest(&peer, everything));
            for _ in 0..polls {
                let once = std::future::poll_fn(|context| std::task::Poll::Ready(caller.as_mut().poll(context)));
                if once.await.is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let attestation = attestors.attest(&peer, everything).await.unwrap();
        assert_eq!(values(&attestation, SelectorKind::UnixSha256).len(), 1);
    }
}

#[tokio::test]
async fn a_process_that_exits_or_execs_meanwhile_is_not_attested() {
    let attestors = attestors();
    let mut child = Child::play("exec on go");
    let peer = child.peer();
    let child_execs = std::sync::Mutex::new(&mut child);
    let exec = |_: &BTreeSet<Selector>, _: &BTreeSet<SelectorKind>| {
        let mut child = child_execs.lock().unwrap();
        child.go_on();
        child.until(|| std::fs::read_link(child.proc("exe")).is_ok_and(|exe| exe.ends_with("sleep")));
        BTreeSet::new()
    };
    let refusal = attestors.attest(&peer, exec).await.unwrap_err();
    assert_eq!(refusal.to_string(), "the process changed after it connected: executable");

    let attestation = attestors.attest(&child.peer(), nothing).await.unwrap();
    let peer = child.peer();
    let child_exits = std::sync::Mutex::new(&mut child);
    let exit = |_: &BTreeSet<Selector>, _: &BTreeSet<SelectorKind>| {
        child_exits.lock().unwrap().reap();
        everything(&BTreeSet::new(), &BTreeSet::new())
    };
    let refusal = attestors.attest(&peer, exit).await.unwrap_err();
    assert_eq!(refusal.to_string(), "the process has exited");
    assert_eq!(attestation.recheck().unwrap_err().to_string(), "the process has exited");
}

/// Cannot tell.
struct Failing;

#[async_trait]
impl WorkloadAttestor for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[SelectorKind::UnixUser, SelectorKind::UnixGroup]
    }

    fn cost(&self) -> Cost {
        Cost::Question
    }

    async fn attest(&self, _: &Arc<Evidence>, _: &BTreeSet<SelectorKind>) -> Result<Vec<Selector>, AttestorError> {
        Err(AttestorError::GivenUp)
    }
}

#[tokio::test]
async fn an_attestor_that_fails_makes_its_wanted_kinds_unavailable_and_no_others() {
    let mut attestors = attestors();
    attestors.attestors[2] = Box::new(Failing);
    let wanted = |_: &BTreeSet<Selector>, _: &BTreeSet<SelectorKind>| {
        BTreeSet::from([SelectorKind::UnixUser, SelectorKind::UnixSha256])
    };
    let attestation = attestors.attest(&Peer::of_this_process(), wanted).await.unwrap();
    assert_eq!(*attestation.unavailable(), BTreeSet::from([SelectorKind::UnixUser]));
    assert!(attestation.told().is_disjoint(attestation.unavailable()));
    assert!(attestation.told().contains(&SelectorKind::UnixSha256));
}

/// A process that runs `script` in a mount namespace of its own.
fn in_own_mount_namespace(script: &str, arguments: &[&Path], image: &Path) -> Child {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"]).args(arguments);
    let child = Child::start(&mut command);
    child.until(|| child.waits_in(image));
    child
}

#[tokio::test]
async fn p8_a_path_of_another_mount_namespace_is_no_path() {
    if is_root() {
        let (victim, own) = (Program::named("victim"), Program::named("own"));
        own.replace();
        let script = "mount --bind \"$1\" \"$2\"; exec \"$2\" -";
        let child = in_own_mount_namespace(script, &[&own.path, &victim.path], &victim.path);
        let attestation = attestors().attest(&child.peer(), everything).await.unwrap();
        assert_eq!(attestation.executable(), victim.path, "so it seems");
        assert_eq!(values(&attestation, SelectorKind::UnixPath), [""; 0]);
        let bytes = std::fs::read("/bin/cat").unwrap();
        assert_eq!(values(&attestation, SelectorKind::UnixSha256), [hexadecimal(&bytes)]);
    }
}

#[tokio::test]
async fn p8_a_path_that_is_a_link_in_the_agents_eyes_is_no_path() {
    if is_root() {
        let program = Program::named("program");
        let here = program.path.parent().unwrap();
        let view = tempfile::tempdir().unwrap();
        let view = view.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(here, view.join("alias")).unwrap();
        let script = "mount -t tmpfs none \"$2\"; mkdir \"$2/alias\"; mount --bind \"$1\" \"$2/alias\"; \
                      exec \"$2/alias/program\" 600";
        let image = view.join("alias/program");
        let child = in_own_mount_namespace(script, &[here, &view], &image);
        assert!(image.exists(), "the agent finds the very same file there, by a link");
        let attestation = attestors().attest(&child.peer(), everything).await.unwrap();
        assert_eq!(attestation.executable(), image);
        assert_eq!(values(&attestation, SelectorKind::UnixPath), [""; 0]);
    }
}

#[tokio::test]
async fn an_image_on_a_file_system_that_a_workload_mounted_is_not_hashed() {
    if is_root() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().canonicalize().unwrap();
        let script = "mount -t tmpfs none \"$1\"; cp /bin/sleep \"$1/program\"; exec \"$1/program\" 600";
        let child = in_own_mount_namespace(script, &[&directory], &directory.join("program"));
        let attestors = attestors();
        let attestation = attestors.attest(&child.peer(), everything).await.unwrap();
        assert_eq!(*attestation.unavailable(), BTreeSet::from([SelectorKind::UnixSha256]));
        assert_eq!(values(&attestation, SelectorKind::UnixPath), [""; 0]);
        assert_eq!(attestors.hashes_taken(), 0);
    }
}
