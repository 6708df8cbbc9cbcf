//! Decisions as lines for the person who runs `countersign dev`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use countersign_common::untrusted::{inert, shortened};

use super::Record;
use super::line::kept;

/// Bytes of one value that are shown.
const VALUE_BYTES: usize = 160;
/// Audiences that are shown.
const AUDIENCES: usize = 4;

/// Whether colour on standard error helps: a terminal, and no wish against it (no-color.org).
pub(super) fn takes_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty())
}

/// One line: what was decided, for whom, why.
pub(super) fn line(record: &Record, colour: bool) -> String {
    let mut line = String::with_capacity(256);
    outcome(&mut line, record.outcome, colour);
    word(&mut line, " ", record.event);
    if let Some(id) = &record.spiffe_id {
        word(&mut line, " ", id);
    }
    if !record.audience.is_empty() {
        word(&mut line, " for ", &audiences(&record.audience));
    }
    let toward = match record.outcome {
        "issued" | "served" | "refused" => "to",
        _ => "by",
    };
    let caller = record.whom.caller();
    // Writing to a String does not fail.
    let _ = write!(line, " {toward} pid {} uid {}", caller.pid, caller.uid);
    if let Some(exe) = &caller.exe {
        word(&mut line, " ", &exe.to_string_lossy());
    }
    if let Some(entry) = &record.entry {
        word(&mut line, ", entry ", entry);
    }
    if let Some(expires) = &record.expires {
        word(&mut line, ", until ", expires);
    }
    if record.replaces.is_some() {
        line.push_str(" (renewed)");
    }
    if record.reused {
        line.push_str(" (reused)");
    }
    if !record.reason.is_empty() {
        word(&mut line, ": ", &record.reason);
    }
    line.push('\n');
    line
}

fn outcome(line: &mut String, outcome: &str, colour: bool) {
    let paint = match outcome {
        "refused" => "\x1b[31m",
        "issued" => "\x1b[32m",
        _ => "\x1b[33m",
    };
    if colour {
        line.push_str(paint);
    }
    let _ = write!(line, "{outcome:8}");
    if colour {
        line.push_str("\x1b[0m");
    }
}

fn audiences(asked_for: &[String]) -> String {
    let shown = kept(asked_for);
    let mut text = shown.iter().take(AUDIENCES).map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
    if asked_for.len() > AUDIENCES {
        let _ = write!(text, " and {} more", asked_for.len() - AUDIENCES);
    }
    text
}

/// Text from outside: short, and without a character that acts on the terminal.
fn word(line: &mut String, before: &str, value: &str) {
    line.push_str(before);
    line.push_str(&inert(&shortened(value, VALUE_BYTES)));
}
