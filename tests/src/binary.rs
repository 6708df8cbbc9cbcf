//! The programs under test, built once a run.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The built `countersign`: as it is installed for what measures it, which is built for release, and as the tests are for these.
pub fn countersign() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("countersign", "countersign", &[])).clone()
}

/// The same with protections that can be taken out, for attacks that have to work then.
pub fn weakened_countersign() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("countersign", "countersign-weakened", &["--features", "weakened"])).clone()
}

/// The program that the suites run as workloads.
pub fn workload_program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("countersign-tests", "workload", &[])).clone()
}

/// A suite of this package as a program, for a machine without cargo.
pub fn suite_program(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // Of the whole workspace, so that what `cargo test --workspace` has built is not built again.
    cargo.args(["test", "--no-run", "--workspace", "--test", name]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    built_by(cargo, name)
}

/// `cargo test` builds the binaries of other packages only by chance; asking cargo makes
/// sure that what runs is what the sources say. Those of this package it has built, and says
/// where (cargo's book, environment variables).
fn build(package: &str, binary: &str, features: &[&str]) -> PathBuf {
    if let Some(built) = std::env::var_os(format!("CARGO_BIN_EXE_{binary}")) {
        return built.into();
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--package", package, "--bin", binary]).args(features);
    if !cfg!(debug_assertions) {
        cargo.args(["--profile", if package == "countersign" { "dist" } else { "release" }]);
    }
    built_by(cargo, binary)
}

/// Runs cargo, and has it say where it put the executable of `target`.
fn built_by(mut cargo: Command, target: &str) -> PathBuf {
    cargo.args(["--quiet", "--message-format=json"]);
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(built.status.success(), "cannot build {target}:\n{}", String::from_utf8_lossy(&built.stderr));
    let messages = serde_json::Deserializer::from_slice(&built.stdout).into_iter::<serde_json::Value>();
    let executable = messages
        .filter_map(Result::ok)
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.expect("cargo names the executable")
}
