//! Workloads in containers of real runtimes, each started by the suite for itself. An image is written
//! by the suite, so no registry is asked; the workload and the agent's socket are mounted.

mod agent_inside;
mod docker;
mod image;
mod impostor;
mod names;
mod room;
mod runtime;

use std::path::Path;

use countersign_tests::{Agent, until};
use serde_json::{Value, json};

/// An entry with these selectors, for audience `billing`.
fn entry(id: &str, selectors: &[String]) -> String {
    format!(
        "---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: {}\njwt: {{audiences: [billing]}}\n",
        json!(selectors)
    )
}

/// The audit record of a process in the cgroup of container `id` with this outcome.
async fn audited(agent: &Agent, id: &str, outcome: &str) -> Value {
    let is_meant = |record: &Value| {
        record["outcome"] == outcome && record["cgroup"].as_str().is_some_and(|cgroup| cgroup.contains(id))
    };
    let what = format!("an audit record of container {id} with outcome {outcome}");
    until(&what, || agent.audit().into_iter().find(is_meant)).await
}

/// The selectors of a record.
fn selectors(record: &Value) -> Vec<&str> {
    let selectors = record["selectors"].as_array().expect("selectors");
    selectors.iter().map(|selector| selector.as_str().expect("a text")).collect()
}

/// Every file below `folder` is without `secret`.
fn is_nowhere_below(folder: &Path, secret: &str) {
    for file in std::fs::read_dir(folder).expect("our folder") {
        let path = file.expect("readable").path();
        if path.is_dir() {
            is_nowhere_below(&path, secret);
        } else if path.is_file() {
            let bytes = std::fs::read(&path).expect("our file");
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "it is in {}", path.display());
        }
    }
}
