//! Who may import whom.

use std::collections::BTreeSet;

use super::language::{paths, tokens};
use super::source::Source;

/// The rooms of the agent, from the top. A room imports rooms of rows below its own, never one of
/// the same row.
const RANKS: [&[&str]; 13] = [
    &["main", "fuzzing"],
    &["cli"],
    &["app"],
    &["config"],
    &["endpoint", "workload_api", "admin_api"],
    &["identity"],
    &["svid"],
    &["authority"],
    &["policy"],
    &["attest", "registry"],
    &["store"],
    &["admission"],
    &["peer", "trusted_path"],
];

/// Rooms that every room may import, and that import none.
const SERVICES: [&str; 5] = ["audit", "drain", "telemetry", "health", "weakened"];

/// Rooms that import only the vocabulary, though a row above others.
const IMPORT_NOTHING: [&str; 1] = ["config"];

/// Rooms that may speak protobuf.
const ON_A_WIRE: [&str; 4] = ["workload_api", "admin_api", "cli", "app"];

const OURS: [&str; 2] = ["countersign_common", "countersign_agent"];

/// The table in words, for a person whose import was refused.
pub(super) fn table() -> String {
    let rows: Vec<String> = RANKS.iter().map(|row| row.join(", ")).collect();
    format!("ranks: {}; services: {}", rows.join(" > "), SERVICES.join(", "))
}

/// Imports against the table.
pub(super) fn imports(source: &Source) -> Vec<String> {
    let Some(room) = room_of(&source.path) else { return Vec::new() };
    let module = module_of(&source.path);
    paths(&tokens(&source.text), &module, &OURS)
        .iter()
        .filter(|path| path.segments[0] != "countersign_common")
        .filter_map(|path| {
            let other = path.segments.get(1)?;
            (!may_import(&room, other))
                .then(|| source.at(path.line, format!("`{room}` imports `{other}`; {}", table())))
        })
        .collect()
}

/// Types that were made from a .proto file, outside the rooms that send them.
pub(super) fn protobuf(source: &Source) -> Vec<String> {
    let allowed = match source.path.split('/').next() {
        Some("agent") => room_of(&source.path).is_some_and(|room| ON_A_WIRE.contains(&room.as_str())),
        Some("common") => source.path == "common/src/lib.rs",
        _ => true,
    };
    if allowed {
        return Vec::new();
    }
    let module = module_of(&source.path);
    paths(&tokens(&source.text), &module, &OURS)
        .iter()
        .filter(|path| path.segments.get(1).is_some_and(|name| name == "proto"))
        .map(|path| source.at(path.line, format!("protobuf types are for {}", ON_A_WIRE.join(", "))))
        .collect()
}

/// Rooms in the tree that the table does not name, and the other way round.
pub(super) fn missing_and_unknown(sources: &[Source]) -> Vec<String> {
    let there: BTreeSet<String> = sources.iter().filter_map(|source| room_of(&source.path)).collect();
    let named: BTreeSet<String> =
        RANKS.iter().flat_map(|row| row.iter()).chain(&SERVICES).map(|room| (*room).to_owned()).collect();
    there.symmetric_difference(&named).cloned().collect()
}

fn may_import(room: &str, other: &str) -> bool {
    if room == other || SERVICES.contains(&other) {
        return room == other || !SERVICES.contains(&room);
    }
    match (rank(room), rank(other)) {
        (Some(own), Some(its)) => own < its && !IMPORT_NOTHING.contains(&room),
        _ => false,
    }
}

fn rank(room: &str) -> Option<usize> {
    RANKS.iter().position(|row| row.contains(&room))
}

/// `agent/src/policy/mod.rs` and `agent/src/policy.rs` are in `policy`; the crate's root is in none.
fn room_of(path: &str) -> Option<String> {
    let module = path.strip_prefix("agent/src/")?;
    let room = module.split('/').next()?.trim_end_matches(".rs");
    (room != "lib").then(|| room.to_owned())
}

/// Where the file stands in its crate.
fn module_of(path: &str) -> Vec<String> {
    let below = path.split_once("src/").map_or(path, |(_, below)| below).trim_end_matches(".rs");
    below.split('/').filter(|name| !matches!(*name, "mod" | "lib" | "main")).map(str::to_owned).collect()
}
