//! Rules that one source at a time keeps or breaks.

use std::collections::BTreeSet;

use super::language::{Token, tokens};
use super::source::Source;

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;

/// Words that say nothing about a thing.
const BANNED: [&str; 8] = ["util", "utils", "helper", "helpers", "manager", "handler", "handlers", "misc"];

/// Names of other people's that hold such a word: nix::sys::signal, and two crates beside hyper.
const GIVEN: [&str; 3] = ["SigHandler", "http_body_util", "hyper_util"];

const UNSAFE_FILE: &str = "agent/src/peer/sys.rs";
const NAMES_FILE: &str = "agent/src/telemetry/names.rs";

/// The first line is a `//!` sentence.
pub(super) fn header(source: &Source) -> Vec<String> {
    let says = source.text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
    if says.len() > 10 { Vec::new() } else { vec![source.at(1, "begin with `//!` and what the file is for")] }
}

/// `unsafe`, and leave to use it, in one file.
pub(super) fn unsafe_code(source: &Source) -> Vec<String> {
    if source.path == UNSAFE_FILE {
        return Vec::new();
    }
    let tokens = tokens(&source.text);
    let mut broken = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        // In an attribute, not the name of a function.
        let is_leave = token.text == "unsafe_code" && at > 0 && matches!(tokens[at - 1].text.as_str(), "(" | ",");
        if token.text == "unsafe" || is_leave {
            broken.push(source.at(token.line, format!("unsafe code belongs in {UNSAFE_FILE}")));
        }
    }
    broken
}

/// No word of [`BANNED`] in the name of a file, a module or anything else.
pub(super) fn names(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    for part in source.path.trim_end_matches(".rs").split('/') {
        if is_banned(part) {
            broken.push(source.at(1, format!("the name `{part}` says nothing")));
        }
    }
    for token in tokens(&source.text) {
        if is_banned(&token.text) && !GIVEN.contains(&token.text.as_str()) {
            broken.push(source.at(token.line, format!("the name `{}` says nothing", token.text)));
        }
    }
    broken
}

fn is_banned(name: &str) -> bool {
    let mut words = String::new();
    for character in name.chars() {
        if character.is_uppercase() && words.ends_with(char::is_lowercase) {
            words.push('_');
        }
        words.push(character);
    }
    let words = words.to_lowercase();
    words.split(['_', '-', '.']).any(|word| BANNED.contains(&word))
}

/// Files and functions have an end in sight.
pub(super) fn length(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    let lines = source.text.lines().count();
    if lines > MAX_FILE_LINES {
        broken.push(source.at(lines, format!("{lines} lines; a file has at most {MAX_FILE_LINES}")));
    }
    let tokens = tokens(&source.text);
    for (at, token) in tokens.iter().enumerate() {
        if token.text == "fn"
            && let Some(end) = end_of_body(&tokens[at..])
            && end - token.line >= MAX_FUNCTION_LINES
        {
            let lines = end - token.line + 1;
            broken.push(source.at(token.line, format!("{lines} lines; a function has at most {MAX_FUNCTION_LINES}")));
        }
    }
    broken
}

/// The line of the brace that closes the function whose `fn` comes first; None if it has no body.
fn end_of_body(tokens: &[Token]) -> Option<usize> {
    let (mut depth, mut nested) = (0_usize, 0_usize);
    for token in tokens {
        match token.text.as_str() {
            "(" | "[" => nested += 1,
            ")" | "]" => nested = nested.checked_sub(1)?,
            ";" if depth == 0 && nested == 0 => return None,
            "{" => depth += 1,
            "}" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && nested == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

/// A test that is ignored holds nothing; one that sleeps is slow on each machine and wrong on some.
pub(super) fn tests_that_rest(source: &Source) -> Vec<String> {
    let tokens = tokens(&source.text);
    let mut broken = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_attribute = at >= 2 && tokens[at - 1].text == "[" && tokens[at - 2].text == "#";
        if token.text == "ignore" && is_attribute {
            broken.push(source.at(token.line, "a test runs, or says why it cannot"));
        }
        if matches!(token.text.as_str(), "sleep" | "sleep_until") && (source.is_test || token.in_tests) {
            broken.push(source.at(token.line, "wait for a value, with a limit"));
        }
    }
    broken
}

/// Shipped code keeps its state in values that somebody owns.
pub(super) fn statics(source: &Source) -> Vec<String> {
    if source.is_test {
        return Vec::new();
    }
    let tokens = tokens(&source.text);
    let broken = tokens.iter().filter(|token| token.text == "static" && !token.in_tests);
    broken.map(|token| source.at(token.line, "no crate-wide state: give it an owner")).collect()
}

/// The constants of `telemetry::names::field`.
pub(super) fn listed_fields(sources: &[Source]) -> BTreeSet<String> {
    let names = sources.iter().find(|source| source.path == NAMES_FILE).map_or("", |source| &source.text);
    let fields = names.split_once("pub mod field").map_or("", |(_, fields)| fields);
    fields.lines().filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// Fields of events in shipped code: `name = value`, `%name`, `?name`, `name` before the message.
pub(super) fn log_fields(source: &Source, listed: &BTreeSet<String>) -> Vec<String> {
    let tokens = tokens(&source.text);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut broken = Vec::new();
    for at in 0..tokens.len() {
        let is_event = matches!(text(at), "error" | "warn" | "info" | "debug" | "trace") && text(at + 1) == "!";
        if !is_event || tokens[at].in_tests || source.is_test {
            continue;
        }
        for field in fields(&tokens[at + 2..]).into_iter().filter(|field| !listed.contains(&field.text)) {
            broken.push(source.at(field.line, format!("`{}` is not in {NAMES_FILE}", field.text)));
        }
    }
    broken
}

/// The names of the fields of an event, whose opening parenthesis comes first.
fn fields(event: &[Token]) -> Vec<&Token> {
    let text = |at: usize| event.get(at).map_or("", |token| token.text.as_str());
    let (mut depth, mut fields) = (0_usize, Vec::new());
    for (at, token) in event.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        let ends = depth == 0 || depth == 1 && token.text == "\"\"" && text(at - 1) != "=";
        if ends {
            break;
        }
        let begins = depth == 1 && matches!(text(at), "(" | ",");
        let name = at + if matches!(text(at + 1), "%" | "?") { 2 } else { 1 };
        if begins && (name == at + 2 || matches!(text(name + 1), "=" | ",")) {
            fields.extend(event.get(name).filter(|token| token.text != "\"\""));
        }
    }
    fields
}

/// Homes of nobody: a user that a suite makes itself, samples of what the kernel prints.
const EXAMPLES: [&str; 2] = ["/home/orders", "/home/u/"];

/// A path that exists on one machine only, such as somebody's home.
pub(super) fn machine_paths(source: &Source) -> Vec<String> {
    // Put together here, so that this file keeps its own rule.
    let places = ["work", "root", "home", "Users", "mnt"].map(|place| format!("/{place}/"));
    let goes_on = |before: char| before.is_alphanumeric() || "_-.}*/$".contains(before);
    let mut broken = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        for place in &places {
            let is_meant = |at: usize| {
                !line[..at].ends_with(goes_on) && !EXAMPLES.iter().any(|example| line[at..].starts_with(example))
            };
            if line.match_indices(place.as_str()).any(|(at, _)| is_meant(at)) {
                broken.push(source.at(number + 1, format!("`{place}...` is a place on one machine")));
            }
        }
    }
    broken
}
