//! Bundles of other trust domains with a real agent: set, shown, kept through a restart and a kill,
//! deleted; and what an operator is told on the way.

use std::process::Output;

use countersign_tests::{Agent, AgentSettings};
use serde_json::{Value, json};

const PARTNER: &str = "partner.example";

/// A document with one key that is used (RFC 7517, appendix A.1).
fn document(sequence: u64) -> String {
    let key = json!({
        "use": "jwt-svid",
        "kty": "EC",
        "crv": "P-256",
        "kid": "a",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    json!({"spiffe_sequence": sequence, "spiffe_refresh_hint": 600, "keys": [key]}).to_string()
}

const FEDERATING: &str = "id: orders\nspiffe_id: spiffe://example.org/orders\nselectors: [\"unix:uid:4001\"]\n\
    x509: {ttl: 2h, dns_names: [orders.internal, \"*.orders.internal\"]}\nfederates_with: [partner.example]\n";

/// Standard output and standard error of a command that had to end with `code`.
fn ended(output: &Output, code: i32) -> [String; 2] {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "{said:?}");
    said
}

/// What a command printed that had to end well and without a warning.
fn printed(output: &Output) -> String {
    let [out, err] = ended(output, 0);
    assert_eq!(err, "");
    out
}

fn set(agent: &Agent, document: &str, more: &[&str]) -> Output {
    agent.operator(&[&["bundle", "set", PARTNER, "-"], more].concat(), document)
}

/// The foreign bundles that the agent lists: trust domain, sequence, JWT keys.
fn listed(agent: &Agent) -> Vec<(String, u64, u64)> {
    let list = printed(&agent.operator(&["bundle", "list", "-o", "json"], ""));
    let list: Vec<Value> = serde_json::from_str(&list).expect("a list");
    assert_eq!((&list[0]["trust_domain"], &list[0]["kind"]), (&"example.org".into(), &"own".into()));
    let number = |bundle: &Value, field: &str| bundle[field].as_u64().expect("a number");
    let of = |bundle: &Value| {
        let name = bundle["trust_domain"].as_str().expect("a name").to_owned();
        (name, number(bundle, "sequence"), number(bundle, "jwt_keys"))
    };
    list[1..].iter().map(of).collect()
}

fn shown(agent: &Agent) -> String {
    printed(&agent.operator(&["bundle", "show", PARTNER], "")).trim_end().to_owned()
}

#[tokio::test]
async fn a_foreign_bundle_is_kept_until_it_is_deleted_whatever_happens_to_the_agent() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    assert_eq!(listed(&agent), []);
    let file = agent.folder().join("partner.json");
    std::fs::write(&file, document(3)).expect("our folder");
    let created = agent.operator(&["bundle", "set", PARTNER, file.to_str().expect("UTF-8")], "");
    assert_eq!(printed(&created), "bundle/partner.example created (sequence 3, 1 JWT key, 0 X.509 keys)\n");
    // The restart is a kill.
    agent.restart().await;
    assert_eq!((listed(&agent), shown(&agent)), (vec![(PARTNER.to_owned(), 3, 1)], document(3)));
    assert!(agent.terminate().await.success());
    agent.restart().await;
    assert_eq!(shown(&agent), document(3));
    let table = printed(&agent.operator(&["bundle", "list"], ""));
    assert!(
        table.starts_with("TRUST DOMAIN     KIND     SEQUENCE") && table.contains("\npartner.example  foreign  3 ")
    );

    assert_eq!(printed(&agent.operator(&["bundle", "delete", PARTNER], "")), "bundle/partner.example deleted\n");
    agent.restart().await;
    assert_eq!(listed(&agent), []);
    let [_, told] = ended(&agent.operator(&["bundle", "show", PARTNER], ""), 1);
    assert!(told.contains("no bundle of partner.example is set; see: countersign bundle list"), "{told}");
    let changes: Vec<_> =
        agent.audit().into_iter().filter(|record| record["spiffe_id"] == "spiffe://partner.example").collect();
    let events: Vec<_> = changes.iter().map(|record| (&record["event"], &record["outcome"])).collect();
    assert_eq!(events, [(&"bundle_set".into(), &"created".into()), (&"bundle_delete".into(), &"deleted".into())]);
    assert_eq!(changes[0]["reason"], "sequence 3 with 1 JWT and 0 X.509 keys");
    assert_eq!(changes[0]["uid"], nix::unistd::geteuid().as_raw());
}

#[tokio::test]
async fn what_is_no_later_bundle_is_refused_and_the_last_good_one_kept() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    printed(&set(&agent, &document(3), &[]));
    for (given, said) in [
        ("<html>502 Bad Gateway</html>".to_owned(), "this is no bundle of partner.example: not a JSON Web Key Set"),
        (document(3)[1..].to_owned(), "this is no bundle of partner.example"),
        (r#"{"keys": {}}"#.to_owned(), "it has no list \"keys\""),
        (document(2), "it is older; to go back to it, use --force"),
        (document(3).replace("600", "601"), "and other content"),
        (r#"{"keys": []}"#.to_owned(), "this document has none: it may be older"),
    ] {
        let [_, told] = ended(&set(&agent, &given, &[]), 1);
        assert!(told.contains(said), "{given}: {told}");
        assert_eq!(shown(&agent), document(3));
    }
    let [_, told] = ended(&agent.operator(&["bundle", "set", "--force", "example.org", "-"], &document(9)), 1);
    assert!(told.contains("example.org is this agent's own trust domain"), "{told}");
    let [_, told] = ended(&agent.operator(&["bundle", "set", "spiffe://partner.example", "-"], ""), 2);
    assert!(told.contains("TRUST_DOMAIN"), "{told}");

    printed(&set(&agent, &document(2), &["--force"]));
    assert_eq!(listed(&agent), [(PARTNER.to_owned(), 2, 1)]);
    // No keys at all is a bundle, by which everything of the trust domain is invalid, and is obeyed.
    let [out, err] = ended(&set(&agent, r#"{"keys": [], "spiffe_sequence": 4}"#, &[]), 0);
    assert_eq!(out, "bundle/partner.example updated (sequence 4, 0 JWT keys, 0 X.509 keys)\n");
    assert!(err.starts_with("warning: this bundle has no key that the agent uses"), "{err}");
    agent.restart().await;
    assert_eq!(listed(&agent), [(PARTNER.to_owned(), 4, 0)]);
}

#[tokio::test]
async fn an_entry_may_federate_before_there_is_a_bundle_and_after_it_and_both_are_said() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    let apply = |agent: &Agent| agent.operator(&["entry", "apply", "-"], FEDERATING);
    let [out, err] = ended(&apply(&agent), 0);
    assert_eq!(out, "entry/orders created\nrevision 1\n");
    assert!(err.starts_with("warning: no bundle of partner.example is set"), "{err}");
    printed(&set(&agent, &document(3), &[]));
    assert_eq!(printed(&apply(&agent)), "entry/orders unchanged\nrevision 1\n");

    agent.restart().await;
    let listed = printed(&agent.operator(&["entry", "list", "-o", "json"], ""));
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed[0]["x509"], json!({"ttl": "2h", "dns_names": ["orders.internal", "*.orders.internal"]}));
    assert_eq!(listed[0]["federates_with"], json!([PARTNER]));
    let yaml = printed(&agent.operator(&["entry", "list", "-o", "yaml"], ""));
    assert_eq!(
        printed(&agent.operator(&["entry", "diff", "--prune", "-"], &yaml)),
        "",
        "what is listed can be applied"
    );

    let [out, err] = ended(&agent.operator(&["bundle", "delete", PARTNER], ""), 0);
    assert_eq!(out, "bundle/partner.example deleted\n");
    assert!(err.contains("these entries still federate with partner.example") && err.contains(": orders"), "{err}");
}
