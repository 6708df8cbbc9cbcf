//! A process that is killed, and a disk that is full: before or after, never between, and
//! the store goes on without a hand (row D6 of the threats).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use countersign_common::entry::Entry;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{StoreError, entry_for, ids, open};

/// Tells a child process which file is meant.
const PATH: &str = "COUNTERSIGN_TEST_STORE";

/// The file, in a child process; `None` in the test run itself, where there is no part to play.
fn path_for_child() -> Option<PathBuf> {
    let path = env::var_os(PATH).map(PathBuf::from);
    if path.is_none() {
        println!("passed over: played by the children of other tests");
    }
    path
}

/// This test binary once more, running only the test `name`.
fn child(name: &str, path: &Path) -> Command {
    // A full disk is played by a limit on the size of files, whose signal is ignored.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    command.args(["--exact", &format!("store::tests::kill::{name}"), "--nocapture"]).env(PATH, path);
    command
}

/// Five entries that are always applied together.
fn generation(number: u32) -> Vec<Entry> {
    ["a", "b", "c", "d", "e"].map(|id| entry_for(id, number)).to_vec()
}

#[test]
fn child_that_applies_until_it_is_killed() {
    let Some(path) = path_for_child() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = open(&path).unwrap();
        println!("\nopened");
        loop {
            let next = u32::try_from(store.entries().borrow().revision).unwrap() + 1;
            let applied = store.apply(generation(next), true, false).await.unwrap();
            println!("\n{}", applied.revision);
        }
    });
}

/// Lets the child confirm `count` revisions, kills it, and gives the last that it confirmed.
fn kill_after(child: &mut Child, count: usize) -> Option<u64> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut confirmed: Vec<u64> = lines.by_ref().filter_map(|line| line.parse().ok()).take(count).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    confirmed.extend(lines.filter_map(|line| line.parse::<u64>().ok()));
    confirmed.last().copied()
}

#[test]
fn d6_a_kill_leaves_the_revision_before_or_after() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut revision = 0;
    for round in 0..12 {
        let mut killed = child("child_that_applies_until_it_is_killed", &path).stdout(Stdio::piped()).spawn().unwrap();
        let confirmed = kill_after(&mut killed, 1 + round % 5).unwrap();
        assert!(confirmed > revision);

        let store = open(&path).unwrap();
        let entries = store.entries().borrow().clone();
        // The one that was under way when the child died may be there or not.
        assert!([confirmed, confirmed + 1].contains(&entries.revision), "{} after {confirmed}", entries.revision);
        let read: Vec<Entry> = entries.entries.iter().map(|entry| Entry::clone(entry)).collect();
        assert_eq!(read, generation(u32::try_from(entries.revision).unwrap()));
        revision = entries.revision;
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.close());
    }
}

#[test]
fn d6_a_kill_while_the_database_is_made_leaves_none_or_a_whole_one() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let path = directory.path().join(format!("{round}.redb"));
        let mut killed = child("child_that_applies_until_it_is_killed", &path).stdout(Stdio::piped()).spawn().unwrap();
        // As soon as anything of the database is to be seen.
        let begun = |name: &std::ffi::OsStr| name.to_string_lossy().contains(&format!("{round}.redb"));
        while !fs::read_dir(directory.path()).unwrap().any(|file| begun(&file.unwrap().file_name())) {
            assert!(killed.try_wait().unwrap().is_none(), "the child ended by itself");
        }
        let confirmed = kill_after(&mut killed, 0).unwrap_or(0);
        let store = open(&path).unwrap();
        assert!([confirmed, confirmed + 1].contains(&store.entries().borrow().revision));
    }
}

#[test]
fn d6_a_full_disk_refuses_the_change_and_takes_the_next_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let output = child("child_whose_disk_is_full", &directory.path().join("store.redb")).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn child_whose_disk_is_full() {
    let Some(path) = path_for_child() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let many = || (0..20_000).map(|n| entry_for(&format!("e{n}"), 7)).collect::<Vec<_>>();
    runtime.block_on(async {
        let store = open(&path).unwrap();
        store.apply(generation(1), false, false).await.unwrap();
        store.save_authority_state(b"sealed".to_vec()).await.unwrap();
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, path.metadata().unwrap().len(), hard).unwrap();
        let refused = store.apply(many(), false, false).await.unwrap_err();
        assert!(matches!(refused, StoreError::Write { .. }), "{refused}");
        assert_eq!((store.entries().borrow().revision, ids(&store).len()), (1, 5));

        setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
        assert_eq!(store.authority_state().await.unwrap().as_deref(), Some(&b"sealed"[..]));
        let applied = store.apply(many(), false, false).await.unwrap();
        assert_eq!((applied.revision, ids(&store).len()), (2, 20_005));
        store.close().await;
        assert_eq!(ids(&open(&path).unwrap()).len(), 20_005);
    });
}
