//! Dependencies: named once, in the workspace's manifest, each with the reason why it is here.

use super::source::Source;

/// A reason shorter than this is none.
const REASON: usize = 8;

/// Checks one manifest. Members only refer to the workspace's; a program with a workspace of its
/// own, which brings its own dependencies on purpose, is not of this house.
pub(super) fn dependencies(source: &Source) -> Vec<String> {
    let is_workspace = source.path == "Cargo.toml";
    if !is_workspace && source.text.lines().any(|line| line == "[workspace]") {
        return Vec::new();
    }
    let mut section = "";
    let mut broken = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        }
        if !section.ends_with("dependencies") || line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (dependency, reason) = line.split_once('#').unwrap_or((line, ""));
        let of_this_house = dependency.contains("path = ");
        if is_workspace && !of_this_house && reason.trim().len() < REASON {
            broken.push(source.at(number + 1, format!("no reason given: {}", dependency.trim())));
        }
        if !is_workspace && !dependency.contains("workspace = true") {
            broken.push(source.at(number + 1, "name it in the workspace's manifest, with its reason"));
        }
    }
    broken
}
