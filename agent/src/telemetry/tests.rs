//! What the log looks like to its readers.

use std::io::Write;
use std::sync::{Arc, Mutex};

use countersign_common::untrusted::is_active;

use super::*;

/// A place to write that the test can read.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn said(filter: &str, format: Format, timestamps: bool, events: impl FnOnce()) -> String {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let log = log(filter, format, timestamps, move || writer.clone()).expect("a good filter");
    tracing::dispatcher::with_default(&log, events);
    let bytes = buffer.0.lock().expect("no panic").clone();
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn text_is_level_target_message_fields() {
    let said = said("info", Format::Text, false, || tracing::info!(revision = 7, "entries committed"));
    assert_eq!(said, " INFO countersign_agent::telemetry::tests: entries committed revision=7\n");
}

#[test]
fn the_http_library_has_nothing_to_say_of_a_countersign_unless_it_is_asked() {
    let warn = || tracing::warn!(target: "h2::proto::ping_pong", "recv PING ack that we never sent");
    for quiet in ["", "info", "h2=debug", "trace"] {
        assert_eq!(said(quiet, Format::Text, false, warn), "", "{quiet}");
    }
    assert_ne!(said("h2::proto::ping_pong=warn", Format::Text, false, warn), "");
    assert_ne!(said("warn", Format::Text, false, || tracing::warn!(target: "h2::server", "else")), "");
}

#[test]
fn json_is_one_object_per_event() {
    let said = said("info", Format::Json, false, || tracing::warn!(pid = 4, "refused\nhere"));
    let event: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(event["level"], "WARN");
    assert_eq!(event["fields"]["pid"], 4);
    assert_eq!(event["fields"]["message"], "refused\nhere");
    assert!(event.get("timestamp").is_none());
}

#[test]
fn a_value_cannot_begin_a_line_or_act_on_a_terminal() {
    let hostile = "x\n ERROR countersign_agent::store: lost\r\u{b}\u{1b}[2J\u{9b}31m";
    for (format, timestamps) in [(Format::Text, false), (Format::Text, true), (Format::Json, false)] {
        let said = said("info", format, timestamps, || {
            tracing::info!(exe = hostile, shown = %hostile, "message {hostile}");
        });
        assert!(!said.strip_suffix('\n').expect("one line").chars().any(is_active), "{said:?}");
        if format == Format::Json {
            let event: serde_json::Value = serde_json::from_str(&said).expect("JSON");
            assert_eq!(event["fields"]["shown"], hostile);
        }
    }
}

#[test]
fn a_filter_selects_by_target() {
    let filter = format!("off,{}=debug", names::target::STORE);
    let said = said(&filter, Format::Text, false, || {
        tracing::error!("not of the store");
        tracing::debug!(target: names::target::STORE, "opened");
    });
    assert_eq!(said, "DEBUG countersign_agent::store: opened\n");
}

#[test]
fn a_bad_filter_is_refused_with_an_example() {
    let error = check_filter("countersign_agent=loud").expect_err("no such level").to_string();
    assert!(error.starts_with("log filter \"countersign_agent=loud\": "), "{error}");
    assert!(error.ends_with("(\"info,countersign_agent::policy=debug\")"), "{error}");
    check_filter("warn,countersign_agent::peer=trace").expect("good");
}

#[test]
fn every_target_is_a_module_of_this_crate() {
    for target in names::target::ALL {
        let room = target.strip_prefix("countersign_agent::").expect("a module of ours");
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room);
        assert!(source.is_dir() || source.with_extension("rs").is_file(), "no room {room}");
    }
}

#[test]
fn the_journal_is_known_by_its_file() {
    let here = Some((8, 1234));
    assert!(is_journal(Some("8:1234"), here));
    for (stream, stderr) in
        [(None, here), (Some("8:1"), here), (Some("8"), here), (Some("a:b"), None), (Some("8:1234"), None)]
    {
        assert!(!is_journal(stream, stderr), "{stream:?}");
    }
}
