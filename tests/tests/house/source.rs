//! The files that the rules read.

use std::fs;
use std::path::{Path, PathBuf};

/// One text file of the workspace.
pub(super) struct Source {
    /// From the top of the workspace, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// Nothing of it ships.
    pub(super) is_test: bool,
}

impl Source {
    /// `path:line: what`, which editors and terminals make a link of.
    pub(super) fn at(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// Every Rust source.
pub(super) fn rust() -> Vec<Source> {
    let mut sources = files(|name| name.ends_with(".rs"));
    let for_tests: Vec<String> = sources.iter().flat_map(modules_for_tests).collect();
    for source in &mut sources {
        let module = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let below = |tests: &String| module == tests || module.starts_with(&format!("{tests}/"));
        source.is_test |= for_tests.iter().any(below);
    }
    sources
}

/// The files, without `.rs`, of modules that are declared behind `#[cfg(test)]`.
fn modules_for_tests(source: &Source) -> Vec<String> {
    let directory = source.path.trim_end_matches(".rs");
    let directory = ["/mod", "/lib", "/main"].iter().find_map(|name| directory.strip_suffix(name)).unwrap_or(directory);
    let mut lines = source.text.lines().map(str::trim);
    let mut modules = Vec::new();
    while lines.any(|line| line == "#[cfg(test)]") {
        let declared = lines.next().and_then(|line| line.strip_suffix(';'));
        if let Some((_, name)) = declared.and_then(|line| line.rsplit_once("mod ")) {
            modules.push(format!("{directory}/{name}"));
        }
    }
    modules
}

/// The manifests: the workspace's and each member's.
pub(super) fn manifests() -> Vec<Source> {
    files(|name| name == "Cargo.toml")
}

/// Every file that people write.
pub(super) fn text() -> Vec<Source> {
    files(|name| name != "Cargo.lock")
}

fn files(wanted: impl Fn(&str) -> bool) -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member of a workspace").to_owned();
    let mut found = Vec::new();
    walk(&top, &mut found);
    found.sort();
    found
        .into_iter()
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted))
        .filter_map(|path| {
            let text = String::from_utf8(fs::read(&path).expect("readable")).ok()?;
            let path = path.strip_prefix(&top).expect("below the top").display().to_string();
            let is_test = path.starts_with("tests/") || path.contains("/tests");
            Some(Source { path, text, is_test })
        })
        .collect()
}

/// Build products and what tools keep for themselves are not sources.
fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    const SKIPPED: [&str; 6] = ["target", ".git", "__pycache__", "node_modules", "venv", ".venv"];
    for entry in fs::read_dir(directory).expect("readable") {
        let entry = entry.expect("readable");
        let kind = entry.file_type().expect("known");
        if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) || kind.is_symlink() {
            continue;
        }
        if kind.is_dir() { walk(&entry.path(), found) } else { found.push(entry.path()) }
    }
}
