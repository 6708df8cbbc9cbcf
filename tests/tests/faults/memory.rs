//! The kernel gives the agent no more memory.

use std::process::Command;

use crate::bed::Bed;

/// Changes that are asked for, at most, until one cannot be made.
const MOST: usize = 40;
/// Entries of one change.
const MANY: usize = 3000;

/// Changes are asked for until the agent cannot make one; the number of the last one that it answered.
pub(crate) fn fill(bed: &Bed) -> usize {
    // Not a page more to write to than it has (RLIMIT_DATA). What its allocator has reserved and does not use
    // yet is none of these, and does not help it.
    let status = std::fs::read_to_string(format!("/proc/{}/status", bed.agent.pid())).expect("the agent lives");
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:")?.trim().strip_suffix(" kB"));
    let kibibytes: u64 = data.and_then(|data| data.parse().ok()).expect("proc(5)");
    let limit = format!("--data={}", kibibytes * 1024);
    let limited = Command::new("prlimit").args(["--pid", &bed.agent.pid().to_string(), &limit]).status();
    assert!(limited.expect("prlimit(1) is installed").success());
    for number in 1..=MOST {
        let file = bed.agent.folder().join("many");
        std::fs::write(&file, entries(number)).expect("our folder");
        let answered = bed.ask(&["entry", "apply", "many"]);
        if !answered.is_done {
            println!("change {number}: {}", answered.said);
            return number - 1;
        }
    }
    panic!("{MOST} changes, and memory for all of them");
}

/// More of them with each change, and all of one change.
fn entries(change: usize) -> String {
    let path = "n".repeat(1000);
    let one = |n| {
        format!(
            "---\nid: m{n}\nspiffe_id: spiffe://example.org/m{n}\nselectors: [\"unix:path:/{path}\"]\nowner: \"{change}\"\n"
        )
    };
    (0..MANY).map(one).collect()
}

/// The change that the entries of `fill` are of, if any are there.
pub(crate) fn held(bed: &Bed) -> Option<String> {
    let listed = bed.json(&["entry", "list", "-o", "json"]);
    let many = listed.as_array().expect("a list").iter().filter(|entry| entry["id"].to_string().starts_with("\"m"));
    let mut owners: Vec<String> = many.filter_map(|entry| entry["owner"].as_str().map(str::to_owned)).collect();
    owners.retain(|owner| owner != "before");
    let count = owners.len();
    owners.dedup();
    assert!(matches!((owners.len(), count), (0, 0) | (1, MANY)), "{owners:?} of {count}");
    owners.pop()
}
