//! The audit sink against full disks, hostile text, several threads and failing rotation.

mod stalled;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;

use super::line::{ITEM_BYTES, LINE_BYTES, LIST_ITEMS, VALUE_BYTES};
use super::*;
use countersign_common::untrusted::is_active;
use proptest::prelude::*;

impl Audit {
    fn put(&self, record: Record) -> Result<(), AuditError> {
        let sink = &self.turns.writer.sink;
        sink.write_all(&[&sink.line(record)?]).1
    }
}

fn refused(reason: &str) -> Record {
    Record {
        time: "2026-11-21T10:00:00Z".into(),
        event: "jwt_svid",
        outcome: "refused",
        reason: reason.into(),
        ..Record::default()
    }
}

/// A record with every field filled with `text`.
fn full_of(text: &str) -> Record {
    let value = || Some(text.to_owned());
    let caller =
        Caller { pid: 1, start_time: Some(2), uid: 3, exe: Some(text.into()), sha256: value(), cgroup: value() };
    Record {
        time: text.into(),
        reason: text.into(),
        whom: Arc::new(Whom::new(caller, vec![text.into(); 100])),
        entry: value(),
        spiffe_id: value(),
        audience: vec![text.into(); 100],
        jti: value(),
        expires: value(),
        reused: true,
        ..refused("")
    }
}

fn parsed(line: &[u8]) -> serde_json::Value {
    serde_json::from_slice(line).expect("a line is JSON")
}

fn lines_of(path: &Path) -> Vec<serde_json::Value> {
    let bytes = fs::read(path).expect("the file is there");
    assert_eq!(bytes.last(), Some(&b'\n'), "{} ends inside a line", path.display());
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parsed).collect()
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("audit.log");
    Place { _directory: directory, path }
}

#[test]
fn a_record_is_one_line_of_json_in_a_file_of_its_owner_alone() {
    let at = place();
    let audit = Audit::to_file(&at.path, 1 << 20, 3).expect("opened");
    audit.put(refused("no entry matches")).expect("written");
    audit.put(refused("again")).expect("written");

    let lines = lines_of(&at.path);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["outcome"], "refused");
    assert_eq!(lines[1]["reason"], "again");
    assert_eq!(fs::metadata(&at.path).expect("there").mode() & 0o7777, 0o600);
}

#[test]
fn the_members_of_a_record_are_these_and_none_of_them_is_a_token() {
    let line = parsed(&line::json(&full_of("x")).expect("encoded"));
    let members: BTreeSet<&str> = line.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "time",
        "event",
        "outcome",
        "reason",
        "pid",
        "start_time",
        "uid",
        "exe",
        "sha256",
        "cgroup",
        "selectors",
        "entry",
        "spiffe_id",
        "audience",
        "jti",
        "expires",
        "reused",
        "duration_us",
    ];
    assert_eq!(members, BTreeSet::from(expected));
}

#[test]
fn text_of_a_caller_cannot_forge_a_line_or_act_on_a_terminal() {
    let hostile = "x\n{\"outcome\":\"issued\"}\r\u{1b}[2J\u{9b}31m\u{7f}\u{2028}\u{202e}\0\"\\";
    let bytes = line::json(&full_of(hostile)).expect("encoded");
    let text = std::str::from_utf8(&bytes).expect("UTF-8");
    assert_eq!(text.matches('\n').count(), 1, "one newline, at the end");
    assert!(!text.trim_end_matches('\n').chars().any(is_active), "{text:?}");
    let line = parsed(&bytes);
    assert_eq!(line["outcome"], "refused");
    assert_eq!(line["reason"], hostile, "nothing is lost by escaping");
    assert_eq!(line["audience"][0], hostile);
}

#[test]
fn a_path_that_is_not_utf8_is_recorded_all_the_same() {
    let exe = Some(Path::new(std::ffi::OsStr::from_bytes(b"/srv/\xff\xfe/app")).to_owned());
    let record = Record { whom: Caller { exe, ..Caller::default() }.into(), ..refused("no entry matches") };
    let line = parsed(&line::json(&record).expect("encoded"));
    assert_eq!(line["exe"], "/srv/\u{fffd}\u{fffd}/app");
}

#[test]
fn long_values_and_lists_are_cut_with_a_mark() {
    let long = "a".repeat(1 << 20);
    let line = parsed(&line::json(&full_of(&long)).expect("encoded"));
    let reason = line["reason"].as_str().expect("text");
    assert!(reason.ends_with(&format!("a...[{} bytes left out]", (1 << 20) - VALUE_BYTES)), "{reason:.80}");
    let audience = line["audience"].as_array().expect("a list");
    assert!(audience[0].as_str().expect("text").len() < ITEM_BYTES + 40);
    assert!(audience.last().expect("some").as_str().expect("text").ends_with("more left out]"));

    let short = parsed(&line::json(&full_of("b")).expect("encoded"));
    let selectors = short["selectors"].as_array().expect("a list");
    assert_eq!(selectors.len(), LIST_ITEMS + 1);
    assert_eq!(selectors[LIST_ITEMS], format!("...[{} more left out]", 100 - LIST_ITEMS));
}

#[test]
fn the_worst_line_stays_within_the_bound() {
    for worst in ["\u{1}", "\u{200b}", "\"", "\u{10ffff}"] {
        let line = line::json(&full_of(&worst.repeat(1 << 14))).expect("encoded");
        assert!(line.len() <= LINE_BYTES, "{} bytes of {worst:?}", line.len());
    }
}

#[test]
fn a_full_disk_is_an_error_each_time() {
    let audit = Audit::to_file("/dev/full", 1 << 20, 1).expect("opened");
    for _ in 0..2 {
        let error = audit.put(refused("x")).expect_err("no room");
        let AuditError::Write { path, source } = &error else { panic!("{error}") };
        assert_eq!((path.as_path(), source.kind()), (Path::new("/dev/full"), io::ErrorKind::StorageFull));
        assert!(error.to_string().contains("nothing is issued"), "{error}");
    }
}

/// A limit on the size of a file stands for a disk that fills inside a line: the kernel takes the
/// first part of the write and refuses the next (setrlimit(2), RLIMIT_FSIZE). The limit holds for
/// a whole process, so this test starts itself again in one of its own.
#[test]
fn a_disk_that_fills_inside_a_line_leaves_no_part_of_it() {
    const IN_CHILD: &str = "COUNTERSIGN_TEST_FILE_SIZE_LIMITED";
    const NAME: &str = "audit::tests::a_disk_that_fills_inside_a_line_leaves_no_part_of_it";
    if std::env::var_os(IN_CHILD).is_none() {
        let limited = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().expect("own path"))
            .args(["--exact", NAME])
            .env(IN_CHILD, "1")
            .output()
            .expect("sh starts");
        let said = String::from_utf8_lossy(&limited.stdout);
        assert!(limited.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let at = place();
    let audit = Audit::to_file(&at.path, 1 << 20, 1).expect("opened");
    let long = "z".repeat(1500);
    let written = (0..20).take_while(|_| audit.put(refused(&long)).is_ok()).count();
    assert!((2..20).contains(&written), "{written} lines fitted");
    assert_eq!(lines_of(&at.path).len(), written, "no part of the line that failed");
    // The file is still the same one and has room again once somebody makes it shorter.
    fs::File::options().write(true).open(&at.path).and_then(|file| file.set_len(0)).expect("cut");
    audit.put(refused("after")).expect("recovered");
    assert_eq!(lines_of(&at.path)[0]["reason"], "after");
}

#[test]
fn a_file_that_fails_and_comes_back_is_used_again() {
    let at = place();
    let audit = Audit::to_file(&at.path, 1 << 20, 1).expect("opened");
    audit.put(refused("before")).expect("written");
    fs::remove_file(&at.path).expect("removed");
    fs::create_dir(&at.path).expect("in the way");
    let error = audit.put(refused("lost")).expect_err("a directory takes no lines");
    assert!(matches!(error, AuditError::Open { .. }), "{error}");
    fs::remove_dir(&at.path).expect("out of the way");
    audit.put(refused("after")).expect("recovered");
    assert_eq!(lines_of(&at.path)[0]["reason"], "after");
}

#[test]
fn a_file_that_was_moved_away_is_made_anew_under_its_name() {
    let at = place();
    let audit = Audit::to_file(&at.path, 1 << 20, 1).expect("opened");
    audit.put(refused("one")).expect("written");
    let moved = at.path.with_extension("moved");
    fs::rename(&at.path, &moved).expect("moved");
    audit.put(refused("two")).expect("written");
    assert_eq!(lines_of(&moved).len(), 1);
    assert_eq!(lines_of(&at.path)[0]["reason"], "two");
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let at = place();
    let target = at.path.with_extension("target");
    fs::write(&target, "").expect("written");
    symlink(&target, &at.path).expect("linked");
    let error = Audit::to_file(&at.path, 1 << 20, 1).expect_err("a link");
    assert!(matches!(error, AuditError::Open { .. }), "{error}");
    assert_eq!(fs::metadata(&target).expect("there").len(), 0);
}

#[test]
fn an_unfinished_line_of_an_earlier_life_spoils_no_other() {
    let at = place();
    fs::write(&at.path, "{\"time\":\"2026-").expect("written");
    let audit = Audit::to_file(&at.path, 1 << 20, 1).expect("opened");
    audit.put(refused("whole")).expect("written");
    let text = fs::read_to_string(&at.path).expect("read");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(parsed(lines[1].as_bytes())["reason"], "whole");
}

#[test]
fn several_threads_lose_no_line_and_tear_none_while_files_rotate() {
    const THREADS: u64 = 8;
    const EACH: u64 = 200;
    const KEEP: u32 = 1000;
    const MAX_BYTES: u64 = 8000;
    let at = place();
    let audit = Arc::new(Audit::to_file(&at.path, MAX_BYTES, KEEP).expect("opened"));
    let writers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let audit = Arc::clone(&audit);
            std::thread::spawn(move || {
                for number in 0..EACH {
                    audit.put(refused(&format!("{thread}/{number}"))).expect("written");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().expect("no panic");
    }

    let mut files = vec![at.path.clone()];
    files.extend((1..=KEEP).map(|number| numbered(&at.path, number)).take_while(|path| path.exists()));
    assert!(files.len() > 20, "{} files: it did not rotate", files.len());
    let mut seen = BTreeSet::new();
    for file in &files {
        assert!(fs::metadata(file).expect("there").len() <= MAX_BYTES, "{} is too long", file.display());
        for line in lines_of(file) {
            assert!(seen.insert(line["reason"].as_str().expect("text").to_owned()), "{line} twice");
        }
    }
    assert_eq!(seen.len() as u64, THREADS * EACH);
}

#[test]
fn the_oldest_file_goes_and_the_others_keep_their_order() {
    let at = place();
    let audit = Audit::to_file(&at.path, 1, 2).expect("opened");
    for reason in ["1", "2", "3", "4"] {
        audit.put(refused(reason)).expect("written");
    }
    let reason = |path: &Path| lines_of(path)[0]["reason"].clone();
    assert_eq!(reason(&at.path), "4");
    assert_eq!(reason(&numbered(&at.path, 1)), "3");
    assert_eq!(reason(&numbered(&at.path, 2)), "2");
    assert!(!numbered(&at.path, 3).exists());
}

#[test]
fn a_rotation_that_fails_goes_on_in_the_same_file() {
    let at = place();
    let audit = Audit::to_file(&at.path, 1, 1).expect("opened");
    let in_the_way = numbered(&at.path, 1);
    fs::create_dir_all(in_the_way.join("not-empty")).expect("in the way");
    for reason in ["1", "2", "3"] {
        audit.put(refused(reason)).expect("written");
    }
    assert_eq!(lines_of(&at.path).len(), 3, "nothing was lost");
    fs::remove_dir_all(&in_the_way).expect("out of the way");
    audit.put(refused("4")).expect("written");
    assert_eq!(lines_of(&in_the_way).len(), 3);
    assert_eq!(lines_of(&at.path)[0]["reason"], "4");
}

#[test]
fn a_person_reads_one_short_line() {
    let mut record = full_of("orders");
    record.reason = String::new();
    record.outcome = "issued";
    record.audience = (0..6).map(|number| format!("aud{number}")).collect();
    assert_eq!(
        terminal::line(&record, false),
        "issued   jwt_svid orders for aud0 aud1 aud2 aud3 and 2 more to pid 1 uid 3 orders, entry orders, until orders (reused)\n"
    );
    assert!(terminal::line(&record, true).starts_with("\u{1b}[32missued  \u{1b}[0m jwt_svid"));
}

#[test]
fn a_person_s_terminal_takes_no_orders_from_a_caller() {
    let line = terminal::line(&full_of("x\n\u{1b}[2J\u{9b}1m\u{202e}"), false);
    assert!(line.contains("\\u001b[2J"), "{line:?}");
    assert!(!line.trim_end_matches('\n').chars().any(is_active), "{line:?}");
    let long = terminal::line(&full_of(&"y".repeat(1 << 20)), false);
    assert!(long.len() < 2048, "{} bytes", long.len());
}

proptest! {
    #[test]
    fn any_text_makes_one_line_that_parses(text in any::<String>(), items in prop::collection::vec(any::<String>(), 0..80)) {
        let mut record = full_of(&text);
        record.audience = items;
        let bytes = line::json(&record).expect("encoded");
        prop_assert!(bytes.len() <= LINE_BYTES);
        prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert!(!std::str::from_utf8(&bytes).expect("UTF-8").trim_end_matches('\n').chars().any(is_active));
        prop_assert_eq!(&parsed(&bytes)["outcome"], "refused");
    }
}
