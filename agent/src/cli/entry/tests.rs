//! The commands against a served admin API: what they print, and how they end.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use tempfile::TempDir;

use super::{EntryCommand, run_to};
use crate::admin_api::Access;
use crate::admin_api::tests::Agent;
use crate::cli::outcome::Outcome;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: EntryCommand,
}

/// What a command printed, or its error; and how it ended.
async fn run(arguments: &[&str]) -> (String, Outcome) {
    let (said, warned, outcome) = run_warned(arguments).await;
    assert_eq!(warned, "");
    (said, outcome)
}

/// The same, with what it warned of.
async fn run_warned(arguments: &[&str]) -> (String, String, Outcome) {
    let line = Line::try_parse_from([&["entry"], arguments].concat()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = run_to(&mut out, &mut err, line.command).await;
    let warned = String::from_utf8(err).unwrap();
    match ended {
        Ok(outcome) => (String::from_utf8(out).unwrap(), warned, outcome),
        Err(error) => (error.to_string(), warned, error.outcome()),
    }
}

/// A served agent and a folder of entries files.
struct Desk {
    agent: Agent,
    files: TempDir,
}

impl Desk {
    async fn new() -> Self {
        Self { agent: Agent::start(Access::default()).await, files: tempfile::tempdir().unwrap() }
    }

    async fn run(&self, arguments: &[&str]) -> (String, Outcome) {
        let socket = self.agent.socket.to_str().unwrap();
        run(&[arguments, &["--admin-socket", socket]].concat()).await
    }

    async fn run_warned(&self, arguments: &[&str]) -> (String, String, Outcome) {
        let socket = self.agent.socket.to_str().unwrap();
        run_warned(&[arguments, &["--admin-socket", socket]].concat()).await
    }

    fn file(&self, text: &str) -> String {
        write(self.files.path(), text).to_str().unwrap().to_owned()
    }
}

fn write(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("entries.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn entry(id: &str, uid: u32) -> String {
    format!("---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors:\n  - unix:uid:{uid}\n")
}

#[tokio::test]
async fn apply_says_what_it_changed() {
    let desk = Desk::new().await;
    let file = desk.file(&(entry("a", 1) + &entry("b", 1)));
    let dry = desk.run(&["apply", "--dry-run", &file]).await;
    let said = "entry/a created (dry run)\nentry/b created (dry run)\nrevision 0 (dry run)\n";
    assert_eq!(dry, (said.to_owned(), Outcome::Done));
    assert!(desk.agent.ids().is_empty());
    let (said, _) = desk.run(&["apply", &file]).await;
    assert_eq!(said, "entry/a created\nentry/b created\nrevision 1\n");

    let file = desk.file(&(entry("a", 2) + "jwt: {audiences: [x], ttl: 30s}\n" + &entry("c", 1)));
    let (said, outcome) = desk.run(&["apply", "--prune", &file]).await;
    assert_eq!(
        (said.as_str(), outcome),
        (
            "entry/a updated (selectors, jwt.audiences, jwt.ttl)\nentry/b deleted\nentry/c created\nrevision 2\n",
            Outcome::Done
        )
    );
    let (said, _) = desk.run(&["apply", &file]).await;
    assert_eq!(said, "entry/a unchanged\nentry/c unchanged\nrevision 2\n");
    let (said, _) = desk.run(&["delete", "c"]).await;
    assert_eq!(said, "entry/c deleted\nrevision 3\n");
    assert_eq!(desk.run(&["delete", "c"]).await.1, Outcome::Refused);
}

#[tokio::test]
async fn an_entry_that_federates_with_nobody_known_is_taken_and_said() {
    let desk = Desk::new().await;
    let federating = desk.file(&(entry("a", 1) + "federates_with: [b.example]\n"));
    let warning = "warning: no bundle of b.example is set, and these entries federate with it: a; no SVID of it is valid \
        for them until one is, with: countersign bundle set b.example FILE\n";
    for (command, said) in [
        (&["apply", "--dry-run"][..], "entry/a created (dry run)\nrevision 0 (dry run)\n"),
        (&["apply"], "entry/a created\nrevision 1\n"),
        // As long as it is so, changed or not.
        (&["apply"], "entry/a unchanged\nrevision 1\n"),
    ] {
        let done = desk.run_warned(&[command, &[&federating]].concat()).await;
        assert_eq!(done, (said.to_owned(), warning.to_owned(), Outcome::Done));
    }
    // No agent is asked, so nothing is known of bundles.
    assert_eq!(run(&["validate", &federating]).await, ("1 entry valid\n".to_owned(), Outcome::Done));
    desk.agent.set_bundle("b.example", r#"{"keys": []}"#).await;
    assert_eq!(desk.run(&["apply", &federating]).await.1, Outcome::Done);
}

#[tokio::test]
async fn diff_ends_as_scripts_expect_of_a_diff() {
    let desk = Desk::new().await;
    let file = desk.file(&(entry("a", 1) + &entry("b", 1)));
    desk.run(&["apply", &file]).await;
    assert_eq!(desk.run(&["diff", "--prune", &file]).await, (String::new(), Outcome::Done));

    let file = desk.file(&entry("a", 2));
    let said = "--- entry/a (agent)\n+++ entry/a (files)\n id: a\n spiffe_id: spiffe://example.org/a\n selectors:\n\
        -  - unix:uid:1\n+  - unix:uid:2\n";
    assert_eq!(desk.run(&["diff", &file]).await, (said.to_owned(), Outcome::Different));
    assert!(desk.run(&["diff", "--prune", &file]).await.0.contains("\n-id: b\n"));

    // What could not be compared is not a difference.
    let wrong = desk.file("id: a\n");
    assert_eq!(desk.run(&["diff", &wrong]).await.1, Outcome::Usage);
    let of_another = desk.file(&entry("a", 1).replace("example.org", "other.example"));
    assert_eq!(desk.run(&["diff", &of_another]).await.1, Outcome::Usage);
    assert_eq!(desk.agent.ids(), ["a", "b"]);
}

#[tokio::test]
async fn entries_are_listed_for_people_and_for_programs() {
    let desk = Desk::new().await;
    let terms = "jwt:\n  audiences: [x, \"s/*\"]\n  max_audiences: 1\nx509:\n  dns_names: [a.internal, \"*.a\"]\n\
        federates_with: [b.example]\nowner: me\n";
    let file = desk.file(&(entry("a", 1) + terms + &entry("b", 2)));
    desk.run_warned(&["apply", &file]).await;

    let (table, _) = desk.run(&["list"]).await;
    let rows: Vec<String> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        rows,
        [
            "ID SPIFFE ID SELECTORS AUDIENCES DNS NAMES FEDERATES WITH EXPIRES OWNER",
            "a spiffe://example.org/a unix:uid:1 x s/* a.internal *.a b.example me",
            "b spiffe://example.org/b unix:uid:2",
        ]
    );

    let (yaml, _) = desk.run(&["list", "-o", "yaml"]).await;
    let again = desk.file(&yaml);
    assert_eq!(desk.run(&["diff", "--prune", &again]).await, (String::new(), Outcome::Done));

    let (json, _) = desk.run(&["show", "b", "-o", "json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown[0]["selectors"][0], "unix:uid:2");
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!((&shown[0]["x509"], &shown[0]["federates_with"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    let (json, _) = desk.run(&["show", "a", "-o", "json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&shown[0]["x509"]["dns_names"][1], &shown[0]["federates_with"][0]),
        (&"*.a".into(), &"b.example".into())
    );
    let (said, outcome) = desk.run(&["show", "none"]).await;
    assert_eq!((said.as_str(), outcome), ("no entry has the id none; see: countersign entry list", Outcome::Refused));
}

#[tokio::test]
async fn validate_needs_no_agent_and_tells_everything() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), &(entry("a", 1) + &entry("b", 1)));
    let good = good.to_str().unwrap();
    assert_eq!(run(&["validate", good]).await, ("2 entries valid\n".to_owned(), Outcome::Done));
    let (said, outcome) = run(&["validate", "--trust-domain", "other.example", good]).await;
    assert_eq!((said.lines().next(), outcome), (Some("2 things wrong:"), Outcome::Refused));
    let bad = write(folder.path(), &entry("a", 1).replace("unix:uid", "unix:uids"));
    let (said, outcome) = run(&["validate", bad.to_str().unwrap()]).await;
    assert_eq!(outcome, Outcome::Refused);
    assert!(said.contains("entries.yaml:5: selectors[0]: ") && said.contains("did you mean \"unix:uid\"?"), "{said}");
}

#[tokio::test]
async fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "");
    fs::write(&path, b"id: \xff\n").unwrap();
    let (said, outcome) = run(&["validate", path.to_str().unwrap()]).await;
    assert_eq!(outcome, Outcome::Refused);
    assert!(said.ends_with("entries.yaml: it is not UTF-8 text (from byte 4 on)"), "{said}");
    let missing = folder.path().join("none.yaml");
    assert!(run(&["validate", missing.to_str().unwrap()]).await.0.contains("none.yaml: No such file"));
    assert_eq!(run(&["validate", "-", "-"]).await.1, Outcome::Usage);
}

#[tokio::test]
async fn without_an_agent_a_command_ends_as_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &entry("a", 1));
    let socket = folder.path().join("admin.sock");
    for command in [&["list"][..], &["apply", file.to_str().unwrap()], &["diff", file.to_str().unwrap()]] {
        let (said, outcome) = run(&[command, &["--admin-socket", socket.to_str().unwrap()]].concat()).await;
        assert_eq!(outcome, Outcome::Unreachable);
        assert!(said.contains(socket.to_str().unwrap()), "{said}");
    }
}
