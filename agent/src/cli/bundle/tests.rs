//! The commands against a served admin API: what they print, and how they end.

use std::fs;

use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use super::{BundleCommand, pick, run_to};
use crate::admin_api::Access;
use crate::admin_api::tests::Agent;
use crate::cli::outcome::{CliError, Outcome};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: BundleCommand,
}

/// A document with one key that is used (RFC 7517, appendix A.1) and one that is not.
fn document(sequence: u64) -> String {
    format!(
        r#"{{"spiffe_sequence": {sequence}, "spiffe_refresh_hint": 3600, "keys": [{{"use": "jwt-svid", "kty": "EC",
        "crv": "P-256", "kid": "a", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}, {{"use": "wit-svid", "kty": "EC", "kid": "b"}}]}}"#
    )
}

/// A served agent and a folder of bundles.
struct Desk {
    agent: Agent,
    files: TempDir,
}

/// What a command printed, or its error; what it warned of; and how it ended.
type Said = (String, String, Outcome);

impl Desk {
    async fn new(access: Access) -> Self {
        Self { agent: Agent::start(access).await, files: tempfile::tempdir().unwrap() }
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        let socket = ["--admin-socket", self.agent.socket.to_str().unwrap()];
        let line = Line::try_parse_from([&["bundle"], arguments, &socket].concat()).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ended = run_to(&mut out, &mut err, line.command).await;
        let warned = String::from_utf8(err).unwrap();
        match ended {
            Ok(outcome) => (String::from_utf8(out).unwrap(), warned, outcome),
            Err(error) => (error.to_string(), warned, error.outcome()),
        }
    }

    async fn set(&self, text: &str, more: &[&str]) -> Said {
        let file = self.files.path().join("bundle.json");
        fs::write(&file, text).unwrap();
        self.run(&[&["set", "b.example", file.to_str().unwrap()], more].concat()).await
    }

    async fn listed(&self) -> Value {
        serde_json::from_str(&self.run(&["list", "-o", "json"]).await.0).unwrap()
    }
}

fn done(said: &str) -> Said {
    (said.to_owned(), String::new(), Outcome::Done)
}

#[tokio::test]
async fn a_bundle_is_set_shown_listed_and_deleted() {
    let desk = Desk::new(Access::default()).await;
    let created = desk.set(&document(3), &[]).await;
    assert_eq!(created, done("bundle/b.example created (sequence 3, 1 JWT key, 0 X.509 keys)\n"));
    let again = desk.set(&format!("{}\n", document(3)), &[]).await;
    assert_eq!(again, done("bundle/b.example unchanged (sequence 3, 1 JWT key, 0 X.509 keys)\n"));
    assert_eq!(desk.run(&["show", "b.example"]).await, done(&format!("{}\n", document(3))), "byte for byte");

    let (table, ..) = desk.run(&["list"]).await;
    let rows: Vec<String> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(rows[0], "TRUST DOMAIN KIND SEQUENCE JWT KEYS X.509 KEYS REFRESH HINT ENTRIES");
    assert!(rows[1].starts_with("example.org own ") && rows[1].ends_with(" 5m all"), "{rows:?}");
    assert_eq!(rows[2..], ["b.example foreign 3 1 0 1h 0"]);
    let listed = desk.listed().await;
    assert_eq!((&listed[0]["kind"], &listed[0]["federating_entries"]), (&"own".into(), &Value::Null));
    assert_eq!((&listed[1]["trust_domain"], &listed[1]["refresh_hint"]), (&"b.example".into(), &"1h".into()));
    assert!(desk.run(&["list", "-o", "yaml"]).await.0.contains("trust_domain: \"b.example\""));

    assert_eq!(desk.run(&["delete", "b.example"]).await, done("bundle/b.example deleted\n"));
    assert_eq!(desk.listed().await.as_array().unwrap().len(), 1);
    for command in ["show", "delete"] {
        let (said, _, outcome) = desk.run(&[command, "b.example"]).await;
        assert_eq!(said, "no bundle of b.example is set; see: countersign bundle list");
        assert_eq!(outcome, Outcome::Refused);
    }
}

#[tokio::test]
async fn a_document_that_is_older_takes_force_and_one_that_is_none_is_never_taken() {
    let desk = Desk::new(Access::default()).await;
    desk.set(&document(3), &[]).await;
    for (text, said) in [
        (document(2), "it is older; to go back to it, use --force"),
        (document(3).replace("\"b\"", "\"c\""), "and other content"),
        ("<html>".to_owned(), "this is no bundle of b.example: not a JSON Web Key Set"),
        (" ".repeat(2 << 20), "a bundle of more than 1048576 bytes is not read"),
    ] {
        let (told, _, outcome) = desk.set(&text, &[]).await;
        assert!(told.contains(said), "{told}");
        assert_eq!(outcome, Outcome::Refused);
        assert_eq!(desk.run(&["show", "b.example"]).await.0.trim_end(), document(3), "the last good one is kept");
    }
    let forced = desk.set(&document(2), &["--force"]).await;
    assert_eq!(forced, done("bundle/b.example updated (sequence 2, 1 JWT key, 0 X.509 keys)\n"));
    assert_eq!(desk.set("<html>", &["--force"]).await.2, Outcome::Refused);
}

#[tokio::test]
async fn what_makes_everything_of_a_trust_domain_invalid_is_said() {
    let desk = Desk::new(Access::default()).await;
    let (said, warned, outcome) = desk.set(r#"{"keys": []}"#, &[]).await;
    assert_eq!(
        (said.as_str(), outcome),
        ("bundle/b.example created (sequence 0, 0 JWT keys, 0 X.509 keys)\n", Outcome::Done)
    );
    assert_eq!(
        warned,
        "warning: this bundle has no key that the agent uses: no SVID of b.example is valid while it is set\n"
    );
    desk.agent.apply_federating(&["orders", "batch"], "b.example").await;
    assert_eq!(desk.listed().await[1]["federating_entries"], 2);
    let (said, warned, outcome) = desk.run(&["delete", "b.example"]).await;
    assert_eq!((said.as_str(), outcome), ("bundle/b.example deleted\n", Outcome::Done));
    assert_eq!(
        warned,
        "warning: these entries still federate with b.example, and no SVID of it is valid for them: batch, orders\n"
    );
}

#[tokio::test]
async fn the_own_bundle_is_shown_and_never_set() {
    let desk = Desk::new(Access::default()).await;
    let own = desk.run(&["show", "--format", "spiffe"]).await;
    assert!(own.0.contains("spiffe_sequence"), "{}", own.0);
    assert_eq!(desk.run(&["show", "example.org"]).await, own);
    let file = desk.files.path().join("own.json");
    fs::write(&file, document(9)).unwrap();
    for command in [&["set", "--force", "example.org", file.to_str().unwrap()][..], &["delete", "example.org"]] {
        let (told, _, outcome) = desk.run(command).await;
        assert!(told.starts_with("example.org is this agent's own trust domain"), "{told}");
        assert_eq!(outcome, Outcome::Refused);
    }
}

#[tokio::test]
async fn an_agent_that_goes_by_a_file_takes_no_bundles() {
    let desk = Desk::new(Access { read_only: Some("a.yaml".to_owned()), ..Access::default() }).await;
    for said in [desk.set(&document(3), &[]).await, desk.run(&["delete", "b.example"]).await] {
        assert!(said.0.contains("goes by a.yaml alone"), "{}", said.0);
        assert_eq!(said.2, Outcome::Refused);
    }
    assert_eq!(desk.listed().await.as_array().unwrap().len(), 1);
}

#[test]
fn names_that_are_no_trust_domains_are_wrong_usage() {
    for arguments in [["bundle", "set", "spiffe://b.example", "-"], ["bundle", "set", "B", "-"]] {
        assert!(Line::try_parse_from(arguments).is_err(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let desk = Desk::new(Access::default()).await;
    let (said, _, outcome) = desk.run(&["set", "b.example", "/nonexistent/b.json"]).await;
    assert!(said.starts_with("cannot read /nonexistent/b.json: "), "{said}");
    assert_eq!(outcome, Outcome::Refused);
}

#[test]
fn of_several_bundles_of_a_workload_one_is_named() {
    let given =
        |names: &[&str]| names.iter().map(|name| (format!("spiffe://{name}"), name.as_bytes().to_vec())).collect();
    let told = |picked: Result<Vec<u8>, CliError>| picked.unwrap_err().to_string();
    let [a, c] = ["a.example", "c.example"].map(|name| name.parse().unwrap());
    assert_eq!(pick(given(&["a.example"]), None).unwrap(), b"a.example");
    assert_eq!(pick(given(&["b.example", "a.example"]), Some(&a)).unwrap(), b"a.example");
    assert_eq!(told(pick(given(&["a.example"]), Some(&c))), "this process is given no bundle of c.example");
    assert_eq!(told(pick(given(&[]), None)), "the agent answered with no bundle");
    assert_eq!(
        told(pick(given(&["b.example", "a.example"]), None)),
        "this process is given the bundles of a.example, b.example: say which one, as in countersign bundle show \
         --format jwks a.example"
    );
}
