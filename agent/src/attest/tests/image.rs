//! What the image is: rules and selectors of real processes.

use std::os::unix::fs::{PermissionsExt as _, chown};

use countersign_common::entry::ImageRule;

use super::*;
use crate::attest::image_rules::Verdict;

/// Users of the tests' own; nobody else's.
const WORKLOAD: u32 = 61001;
const OTHER: u32 = 61002;

fn verdict(attestation: &Attestation, rule: ImageRule) -> &Verdict {
    attestation.image(rule).unwrap()
}

fn why(attestation: &Attestation, rule: ImageRule) -> String {
    match verdict(attestation, rule) {
        Verdict::Broken(why) => why.clone(),
        other => panic!("{rule}: {other:?}"),
    }
}

async fn attest(peer: &Arc<Peer>) -> Attestation {
    attestors().attest(peer, everything).await.unwrap()
}

/// A program in a folder that everybody may enter, and a process of another user that runs it.
fn run_as(program: &Program, uid: u32) -> (Child, Arc<Peer>) {
    std::fs::set_permissions(program.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let child = Child::start(Command::new(&program.path).arg("600").uid(uid).gid(uid));
    child.until(|| child.waits_in(&program.path));
    let peer = Peer::of_process(child.pid(), uid, uid);
    (child, peer)
}

#[tokio::test]
async fn an_ordinary_program_of_the_machine_keeps_every_rule() {
    let machines = std::fs::canonicalize("/bin/sleep").unwrap();
    let child = Child::run(&machines);
    let attestation = attest(&child.peer()).await;
    for rule in ImageRule::ALL {
        assert_eq!(verdict(&attestation, rule), &Verdict::Kept, "{rule}");
    }
    for (kind, told) in [
        (SelectorKind::ProcessTraced, "false"),
        (SelectorKind::ProcessExeDeleted, "false"),
        (SelectorKind::ProcessLibraries, "trusted"),
        (SelectorKind::ProcessPathInNamespace, machines.to_str().unwrap()),
    ] {
        assert_eq!(values(&attestation, kind), [told]);
    }
}

#[tokio::test]
async fn foreign_code_is_looked_for_only_where_an_entry_may_name_the_image() {
    let attestation = attestors().attest(&Peer::of_this_process(), nothing).await.unwrap();
    assert_eq!(attestation.image(ImageRule::ForeignCode), None);
    assert_eq!(verdict(&attestation, ImageRule::Traced), &Verdict::Kept);
    for kind in [SelectorKind::UnixPath, SelectorKind::UnixSha256] {
        let only = |_: &BTreeSet<Selector>, _: &BTreeSet<SelectorKind>| BTreeSet::from([kind]);
        let attestation = attestors().attest(&Peer::of_this_process(), only).await.unwrap();
        assert!(attestation.image(ImageRule::ForeignCode).is_some(), "{kind}");
    }
}

#[tokio::test]
async fn an_image_without_a_name_breaks_its_rule_and_memory_another() {
    let program = Program::named("program");
    let child = Child::run(&program.path);
    std::fs::remove_file(&program.path).unwrap();
    let attestation = attest(&child.peer()).await;
    assert_eq!(why(&attestation, ImageRule::Deleted), "the file of the executable has no name any more");
    assert_eq!(verdict(&attestation, ImageRule::Memfd), &Verdict::Kept);
    assert_eq!(values(&attestation, SelectorKind::ProcessExeDeleted), ["true"]);

    // A directory may be called so; the file in it is a file like others.
    let named = program.directory.path().canonicalize().unwrap().join("memfd:x");
    copy_program(Path::new("/bin/sleep"), &named);
    let attestation = attest(&Child::run(&named).peer()).await;
    assert_eq!(verdict(&attestation, ImageRule::Memfd), &Verdict::Kept);
    assert_eq!(verdict(&attestation, ImageRule::Deleted), &Verdict::Kept);
}

#[tokio::test]
async fn whoever_may_write_the_image_or_replace_it_is_noticed() {
    if !is_root() {
        return;
    }
    let program = Program::named("program");
    let (directory, path) = (program.path.parent().unwrap(), &program.path);
    let (_child, peer) = run_as(&program, WORKLOAD);
    let set = |path: &Path, uid: u32, mode: u32| {
        chown(path, Some(uid), Some(0)).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (owner, mode, of_directory, mode_of_directory, said) in [
        (0, 0o755, 0, 0o755, None),
        (OTHER, 0o755, OTHER, 0o755, None),
        (
            WORKLOAD,
            0o555,
            0,
            0o755,
            Some(format!("the executable {path:?} belongs to uid 61001, which the process has")),
        ),
        (0, 0o757, 0, 0o755, Some(format!("the executable {path:?} may be written by everybody"))),
        (
            0,
            0o755,
            WORKLOAD,
            0o555,
            Some(format!("the directory {directory:?} of the executable belongs to uid 61001, which the process has")),
        ),
        (
            0,
            0o755,
            0,
            0o777,
            Some(format!("the directory {directory:?} of the executable may be written by everybody")),
        ),
        // As the one for temporary files, in which it lies.
        (0, 0o755, 0, 0o1777, None),
    ] {
        set(path, owner, mode);
        set(directory, of_directory, mode_of_directory);
        let attestation = attestors().attest(&peer, nothing).await.unwrap();
        let judged = match verdict(&attestation, ImageRule::WritableExecutable) {
            Verdict::Kept => None,
            Verdict::Broken(why) => Some(why.clone()),
            Verdict::Unjudged(why) => panic!("{why}"),
        };
        assert_eq!(judged, said, "{owner} {mode:o} {of_directory} {mode_of_directory:o}");
    }
    // Without a directory on the way that could be asked.
    set(path, 0, 0o755);
    std::fs::hard_link(path, directory.join("other")).unwrap();
    std::fs::remove_file(path).unwrap();
    let attestation = attestors().attest(&peer, nothing).await.unwrap();
    assert!(why(&attestation, ImageRule::WritableExecutable).contains("is not at"));
}

#[tokio::test]
async fn the_way_to_an_image_in_another_mount_namespace_is_found_there() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().canonicalize().unwrap();
    for (mode, broken) in [("755", false), ("777", true)] {
        let script = format!(
            "mount -t tmpfs -o mode={mode} none \"$1\"; cp /bin/sleep \"$1/program\"; \
             exec setpriv --reuid=61001 --regid=61001 --clear-groups \"$1/program\" 600"
        );
        let child = in_own_mount_namespace(&script, &[&directory], &directory.join("program"));
        let peer = Peer::of_process(child.pid(), WORKLOAD, WORKLOAD);
        let attestation = attestors().attest(&peer, nothing).await.unwrap();
        let judged = verdict(&attestation, ImageRule::WritableExecutable);
        assert_eq!(matches!(judged, Verdict::Broken(_)), broken, "{judged:?}");
        assert_eq!(*judged == Verdict::Kept, !broken, "{judged:?}");
    }
}

#[tokio::test]
async fn a_process_is_told_as_its_parents_child() {
    let program = Program::named("shell");
    copy_program(Path::new("/bin/sh"), &program.path);
    // The last command is not the shell's own end: it stays the parent.
    let parent = Child::start(Command::new(&program.path).args(["-c", "sleep 600; true"]));
    let children = parent.proc(&format!("task/{}/children", parent.pid()));
    let mut pid = None;
    parent.until(|| {
        pid = std::fs::read_to_string(&children).unwrap().trim().parse().ok();
        let runs = |pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe != program.path);
        pid.is_some_and(|pid: i32| runs(pid) && waits(pid))
    });
    let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let all = |_: &BTreeSet<Selector>, _: &BTreeSet<SelectorKind>| SelectorKind::ALL.into();
    let attestation = attestors().attest(&Peer::of_process(pid.unwrap(), ids.0, ids.1), all).await.unwrap();
    assert_eq!(values(&attestation, SelectorKind::ProcessParentPath), [program.path.to_str().unwrap()]);
    let bytes = std::fs::read(&program.path).unwrap();
    assert_eq!(values(&attestation, SelectorKind::ProcessParentSha256), [hexadecimal(&bytes)]);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.unwrap()), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn privileges_are_told_and_those_of_a_namespace_of_ones_own_are_not() {
    if !is_root() {
        return;
    }
    let machines = std::fs::canonicalize("/bin/sleep").unwrap();
    let run = |under: &str| {
        let child = Child::start(Command::new("sh").args(["-c", &format!("exec {under} {} 600", machines.display())]));
        child.until(|| child.waits_in(&machines));
        child
    };
    let few = run("setpriv --no-new-privs --bounding-set=-all,+chown --inh-caps=-all");
    let attestation = attest(&few.peer()).await;
    assert_eq!(values(&attestation, SelectorKind::ProcessCap), ["CAP_CHOWN"]);
    assert_eq!(values(&attestation, SelectorKind::ProcessNoNewPrivs), ["true"]);
    assert_eq!(values(&attestation, SelectorKind::ProcessSeccomp), ["disabled"]);

    let own = run("unshare --user --map-root-user");
    let attestation = attest(&own.peer()).await;
    assert_eq!(values(&attestation, SelectorKind::ProcessCap), [""; 0]);
    assert!(attestation.told().contains(&SelectorKind::ProcessCap));
    assert_eq!(values(&attestation, SelectorKind::ProcessNoNewPrivs), ["false"]);
}

#[tokio::test]
async fn a_user_who_does_not_own_what_it_loads_trusts_no_library_of_others() {
    if !is_root() {
        return;
    }
    let program = Program::named("program");
    let (_child, peer) = run_as(&program, WORKLOAD);
    assert_eq!(values(&attest(&peer).await, SelectorKind::ProcessLibraries), ["trusted"]);
    // The image itself is asked by `process:libraries`, and not by the rule.
    chown(&program.path, Some(OTHER), Some(OTHER)).unwrap();
    let attestation = attest(&peer).await;
    assert_eq!(values(&attestation, SelectorKind::ProcessLibraries), [""; 0]);
    assert_eq!(verdict(&attestation, ImageRule::ForeignCode), &Verdict::Kept);
}

/// Traces one thread, and says so.
const TRACER: &str = r#"
#include <stdlib.h>
#include <sys/ptrace.h>
#include <unistd.h>

int main(int count, char **words) {
    if (count != 2 || ptrace(PTRACE_SEIZE, atoi(words[1]), 0, 0)) return 1;
    write(1, "traced\n", 7);
    pause();
    return 0;
}
"#;

#[tokio::test]
async fn a_tracer_of_any_thread_is_noticed() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (code, built) = (directory.path().join("tracer.c"), directory.path().join("tracer"));
    std::fs::write(&code, TRACER).unwrap();
    assert!(Command::new("cc").arg("-o").arg(&built).arg(&code).status().unwrap().success());
    // This program once more: the test harness has it run its tests in threads of their own.
    let child = Child::play("stay");
    let threads = std::fs::read_dir(child.proc("task")).unwrap().map(|thread| thread.unwrap().file_name());
    let other = threads.map(|thread| thread.into_string().unwrap()).find(|thread| *thread != child.pid().to_string());
    let mut tracer = Child::start(Command::new(&built).arg(other.expect("a second thread")));
    tracer.says("traced");
    let attestation = attest(&child.peer()).await;
    assert_eq!(why(&attestation, ImageRule::Traced), format!("process {} traces it", tracer.pid()));
    assert_eq!(values(&attestation, SelectorKind::ProcessTraced), ["true"]);
}
