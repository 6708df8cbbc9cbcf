//! System calls on the paths of the store and the keys fail, one call at a time, under a real agent:
//! nothing that was answered is lost, no key is anew in silence, and what fails is told.

mod asking;
mod bed;
mod injection;
mod memory;
mod starting;
mod sweep;
mod table;

use asking::Asking;
use bed::Bed;
use injection::{Fault, Injection};
use starting::Starting;
use sweep::sweep;
use table::{During, On};

#[tokio::test]
async fn d6_each_call_of_a_first_start_fails_once() {
    if !injection::possible_or_skip() {
        return;
    }
    sweep(During::FirstStart, &mut Starting { bed: Bed::make(&[]).await }).await;
}

#[tokio::test]
async fn d6_each_call_of_a_start_after_a_kill_fails_once() {
    if !injection::possible_or_skip() {
        return;
    }
    sweep(During::Restart, &mut Starting { bed: Bed::make(&[]).await }).await;
}

#[tokio::test]
async fn d6_each_call_of_an_apply_fails_once() {
    if !injection::possible_or_skip() {
        return;
    }
    sweep(During::Apply, &mut Asking { bed: Bed::make(&[]).await }).await;
}

#[tokio::test]
async fn d6_each_call_of_a_preparation_of_keys_fails_once() {
    if !injection::possible_or_skip() {
        return;
    }
    sweep(During::Prepare, &mut Asking { bed: Bed::make(&[]).await }).await;
}

#[tokio::test]
async fn d6_each_call_of_an_activation_of_keys_fails_once() {
    if !injection::possible_or_skip() {
        return;
    }
    sweep(During::Activate, &mut Asking { bed: Bed::make(&[&["authority", "prepare"]]).await }).await;
}

#[tokio::test]
async fn d6_each_call_of_a_backup_fails_once() {
    if !injection::possible_or_skip() {
        return;
    }
    sweep(During::Backup, &mut Asking { bed: Bed::make(&[]).await }).await;
}

#[tokio::test]
async fn d6_each_call_of_an_issue_fails_once() {
    if !injection::possible_or_skip() {
        return;
    }
    sweep(During::Issue, &mut Asking { bed: Bed::make(&[]).await }).await;
}

/// What it cannot allocate ends it, as every Rust program; or it is refused before.
#[tokio::test]
async fn d6_an_agent_without_memory_loses_nothing_that_was_answered() {
    if !injection::possible_or_skip() {
        return;
    }
    let mut bed = Bed::make(&[]).await;
    let last = memory::fill(&bed);
    println!("the last change that was answered: {last}; the agent then: {:?}", bed.agent.ended());
    bed.agent.restart().await;
    let held = memory::held(&bed).map_or(0, |owner| owner.parse::<usize>().expect("a number"));
    assert!(held == last || held == last + 1, "change {held} after {last} was answered");
    bed.check_keys(false).await;
}

/// After a failed fsync the kernel shows what it has in memory, whatever the disk has (fsync(2)).
#[tokio::test]
async fn d6_after_a_failed_write_the_disk_is_asked_and_not_the_memory_of_the_kernel() {
    if !injection::possible_or_skip() {
        return;
    }
    let bed = Bed::make(&[]).await;
    let (call, error, when) = ("fdatasync", "EIO", "1".to_owned());
    let fault = Fault { call, error, when, paths: bed.paths(On::Database) };
    let injection = Injection::into(bed.agent.pid(), &fault, &bed.log_of_strace()).await;
    let applied = [(); 2].map(|()| bed.ask(&["entry", "apply", "after"]).is_done);
    assert_eq!((applied, injection.end().await), ([false, true], true));
    let log = std::fs::read_to_string(bed.log_of_strace()).expect("our file");
    let calls: Vec<&str> =
        log.lines().filter(|line| line.contains("(INJECTED)") || line.contains("fadvise64")).collect();
    assert!(matches!(calls[..], [_, asked] if asked.ends_with("POSIX_FADV_DONTNEED) = 0")), "{calls:?}");
}

#[test]
fn the_documentation_has_the_table() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md")).expect("docs/faults.md");
    let table = table::in_words();
    assert!(text.contains(&table), "docs/faults.md does not have this table:\n{table}");
}
