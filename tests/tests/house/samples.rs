//! Each rule is shown a source that breaks it and one that does not.

use std::collections::BTreeSet;

use super::source::Source;
use super::{attacks, manifest, rooms, rules};

fn source(path: &str, text: &str) -> Source {
    let is_test = path.starts_with("tests/") || path.contains("/tests");
    Source { path: path.to_owned(), text: text.to_owned(), is_test }
}

/// `rule` finds something in each of `bad` and nothing in any of `good`.
fn judged(rule: impl Fn(&Source) -> Vec<String>, bad: &[(&str, &str)], good: &[(&str, &str)]) {
    for (path, text) in bad {
        assert!(!rule(&source(path, text)).is_empty(), "not seen in {path}: {text}");
    }
    for (path, text) in good {
        let broken = rule(&source(path, text));
        assert!(broken.is_empty(), "seen in {path}: {text}\n{broken:?}");
    }
}

#[test]
fn imports() {
    judged(
        rooms::imports,
        &[
            ("agent/src/policy/mod.rs", "use crate::svid::Cache;"),
            ("agent/src/policy/mod.rs", "use crate::{peer::Peer, svid};"),
            ("agent/src/policy/mod.rs", "use crate::{attest::{self, Attestation}, peer, identity::Story as S};"),
            ("agent/src/policy/mod.rs", "fn f() { crate::authority::sign() }"),
            ("agent/src/policy/mod.rs", "use super::svid::Cache;"),
            ("agent/src/policy/rule.rs", "use super::super::svid;"),
            ("agent/src/policy/mod.rs", "mod tests { use super::super::svid; }"),
            ("agent/src/attest/unix.rs", "use crate::registry::Snapshot;"),
            ("agent/src/endpoint/mod.rs", "use crate::admin_api;"),
            ("agent/src/endpoint/mod.rs", "use crate::config::Config;"),
            ("agent/src/config/mod.rs", "use crate::peer;"),
            ("agent/src/audit/mod.rs", "use crate::peer;"),
            ("agent/src/audit/mod.rs", "use crate::telemetry;"),
            ("agent/src/peer/mod.rs", "pub use crate::*;"),
            ("agent/src/identity/mod.rs", "use crate::nowhere;"),
            ("agent/src/cli/mod.rs", "use countersign_agent::main;"),
        ],
        &[
            ("agent/src/policy/mod.rs", "use crate::attest::Attestation; use crate::{peer::{self, Peer as P}, audit};"),
            (
                "agent/src/policy/mod.rs",
                "// use crate::svid;\nlet x = \"crate::svid::y\"; let y = r#\"crate::svid::\"#;",
            ),
            ("agent/src/policy/rule.rs", "use super::Grant; mod tests { use super::super::Grant; use super::rule; }"),
            ("agent/src/policy/mod.rs", "mod tests { use super::*; }\nuse crate::peer;"),
            ("agent/src/policy/mod.rs", "use countersign_common::svid::jwt; use std::sync::Arc;"),
            ("agent/src/main.rs", "fn main() { countersign_agent::cli::run() }"),
            ("agent/src/lib.rs", "pub use crate::svid;"),
            ("tests/src/lib.rs", "use crate::svid;"),
        ],
    );
}

#[test]
fn rooms_of_the_tree_and_of_the_table() {
    let unknown = rooms::missing_and_unknown(&[source("agent/src/attic/mod.rs", "")]);
    assert!(unknown.contains(&"attic".to_owned()) && unknown.contains(&"policy".to_owned()), "{unknown:?}");
}

#[test]
fn protobuf() {
    judged(
        rooms::protobuf,
        &[
            ("agent/src/policy/mod.rs", "use countersign_common::proto::workload::Jwtsvid;"),
            ("agent/src/identity/mod.rs", "use countersign_common::{entry, proto};"),
            ("common/src/entry/mod.rs", "use crate::proto::admin;"),
        ],
        &[
            ("agent/src/admin_api/mod.rs", "use countersign_common::proto::admin::Entry;"),
            ("tests/src/lib.rs", "use countersign_common::proto::workload;"),
            ("agent/src/policy/mod.rs", "use countersign_common::entry; let proto = 1;"),
        ],
    );
}

#[test]
fn unsafe_code() {
    judged(
        rules::unsafe_code,
        &[("agent/src/peer/mod.rs", "unsafe { f() }"), ("common/src/lib.rs", "#![allow(unsafe_code)]")],
        &[("agent/src/peer/sys.rs", "unsafe { f() }"), ("agent/src/peer/mod.rs", "/* unsafe */ \"unsafe\"; 'u'")],
    );
}

#[test]
fn header() {
    judged(
        rules::header,
        &[
            ("a.rs", "use x;\n//! Late, but long enough."),
            ("a.rs", ""),
            ("a.rs", "//! x"),
            ("a.rs", "// Not a doc comment."),
        ],
        &[("a.rs", "//! What it is for.\n")],
    );
}

#[test]
fn names() {
    judged(
        rules::names,
        &[
            ("agent/src/peer/util.rs", ""),
            ("agent/src/helpers/mod.rs", ""),
            ("a.rs", "struct KeyManager;"),
            ("a.rs", "fn misc_checks() {}"),
            ("a.rs", "mod utils;"),
            ("a.rs", "const ERROR_HANDLER: u8 = 1;"),
        ],
        &[("a.rs", "// a helper\nlet s = \"manager\"; use nix::SigHandler; fn utility() {}")],
    );
}

#[test]
fn length() {
    let long = |lines: usize| format!("fn f(x: [u8; 2]) -> u8 {{\n{}}}\nfn g();\n", "x;\n".repeat(lines - 2));
    let (fits, does_not) = (long(60), long(61));
    let file = "x\n".repeat(401);
    judged(rules::length, &[("a.rs", &does_not), ("a.rs", &file)], &[("a.rs", &fits), ("a.rs", "trait T { fn f(); }")]);
}

#[test]
fn tests_that_rest() {
    judged(
        rules::tests_that_rest,
        &[
            ("agent/src/a.rs", "#[ignore] fn t() {}"),
            ("agent/src/a.rs", "#[ignore = \"slow\"] fn t() {}"),
            ("agent/src/a.rs", "mod tests { fn t() { tokio::time::sleep(d) } }"),
            ("agent/src/a/tests.rs", "use tokio::time::sleep;"),
            ("tests/src/lib.rs", "std::thread::sleep(d)"),
        ],
        &[("agent/src/a.rs", "fn back_off() { sleep(d) } mod tests { let ignore = \"sleep\"; }")],
    );
}

#[test]
fn statics() {
    judged(
        rules::statics,
        &[("agent/src/a.rs", "static COUNT: AtomicU32 = AtomicU32::new(0);")],
        &[(
            "agent/src/a.rs",
            "const X: &'static str = \"static\"; fn f<T: 'static>() {} mod tests { static N: u8 = 0; }",
        )],
    );
}

#[test]
fn log_fields() {
    let names = "pub mod target { const A: &str = \"not_me\"; }\npub mod field {\n const PID: &str = \"pid\";\n const ERROR: &str = \"error\";\n}";
    let listed = rules::listed_fields(&[source("agent/src/telemetry/names.rs", names)]);
    assert_eq!(listed, BTreeSet::from(["pid".to_owned(), "error".to_owned()]));
    judged(
        |source| rules::log_fields(source, &listed),
        &[
            ("a.rs", "tracing::info!(who = 3, \"m\");"),
            ("a.rs", "warn!(%error, ?peer, \"m\")"),
            ("a.rs", "warn!(%error, peer, \"m\")"),
            ("a.rs", "warn!(pid = \"x\", peer = 1, \"m\")"),
            ("a.rs", "tracing::warn!(pid = f(1), exe = %path.display(), \"m\")"),
        ],
        &[(
            "a.rs",
            "tracing::info!(pid = peer.pid(a, b), %error, \"m {who}\", who = 1); let x = 3; assert!(a == b, \"\");",
        )],
    );
}

#[test]
fn machine_paths() {
    let home = |path: &str| format!("see {path}");
    let bad = [home(&["", "home", "ann", "notes"].join("/")), home(&["\"", "root", ".cargo"].join("/"))];
    let bad: Vec<(&str, &str)> = bad.iter().map(|text| ("a.md", text.as_str())).collect();
    judged(
        rules::machine_paths,
        &bad,
        &[("a.md", "ProtectHome hides /home and /root. $W/root/etc, src/work/x, /run/x")],
    );
}

#[test]
fn rows_of_attacks() {
    let missing = |text: &str| {
        let missing =
            attacks::missing(&[source("tests/tests/attacks/a.rs", text), source("agent/src/a.rs", "fn d2_x() {}")]);
        missing.into_iter().filter(|line| line.starts_with("d2:") || line.starts_with("p1:")).count()
    };
    assert_eq!(missing(""), 4);
    assert_eq!(missing("fn p1_is_refused() {} fn d2_is_slow() {}"), 2);
    assert_eq!(missing("fn p1_works_without() {} fn d2_hurts_without() {}"), 2);
    // Of another row.
    assert_eq!(missing("fn p10_is_refused() {} fn p12_works_without() {} // fn d2_x"), 4);
    assert_eq!(missing("fn p1_is_refused() {} fn p1_works_without() {} fn d2_is_slow() {} fn d2_hurts_so() {}"), 0);
}

#[test]
fn dependencies() {
    judged(
        manifest::dependencies,
        &[
            ("Cargo.toml", "[workspace.dependencies]\nserde = \"1\""),
            ("Cargo.toml", "[workspace.dependencies]\nserde = \"1\" # ok"),
            ("agent/Cargo.toml", "[dev-dependencies]\nserde = \"1\" # JSON shapes"),
        ],
        &[
            ("tests/interop/rust/Cargo.toml", "[workspace]\n\n[dependencies]\nspiffe = \"=1\""),
            (
                "Cargo.toml",
                "[workspace.dependencies]\n# -- values\nserde = \"1\" # JSON shapes\nours = { path = \"x\" }\n\n[profile.dev]\ndebug = 1",
            ),
            (
                "agent/Cargo.toml",
                "[dependencies]\nserde.workspace = true\nnix = { workspace = true, features = [\"fs\"] }",
            ),
        ],
    );
}
