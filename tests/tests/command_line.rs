//! The commands of operators and workloads against a real agent: what they print, and the exit codes
//! that scripts go by.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use countersign_tests::{
    Agent, AgentSettings, Workload, WorkloadSpec, allow_own_programs, countersign, root_or_skip, until,
};
use serde_json::Value;

const ORDERS: &str = "id: orders\nspiffe_id: spiffe://example.org/orders\nselectors: [\"unix:uid:4001\"]\n\
    jwt: {audiences: [billing, stock/*], ttl: {default: 5m, stock/*: 30s}}\nowner: team-orders\n";
const BATCH: &str = "id: batch\nspiffe_id: spiffe://example.org/batch\nselectors: [\"unix:uid:4002\"]\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What was printed by a command that had to end with `code`.
fn printed(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    text(if code > 1 || output.stdout.is_empty() { &output.stderr } else { &output.stdout })
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&printed(output, 0)).expect("JSON")
}

/// An entry by which the tests' own processes have tokens of `life`.
fn ours(life: &str) -> String {
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    format!(
        "id: ours\nspiffe_id: spiffe://example.org/ours\nselectors: [\"unix:uid:{uid}\"]\n{allow}\
         jwt: {{audiences: [billing], ttl: {life}}}\n"
    )
}

/// A file in the agent's folder, as a command takes it.
fn file(agent: &Agent, name: &str, content: &str) -> String {
    let path = agent.folder().join(name);
    std::fs::write(&path, content).expect("our folder");
    path.display().to_string()
}

#[tokio::test]
async fn entries_come_from_files_and_standard_input_and_go_by_their_ids() {
    let agent = Agent::start(AgentSettings::default()).await;
    let (orders, batch) = (file(&agent, "orders.yaml", ORDERS), file(&agent, "batch.yaml", BATCH));
    assert_eq!(printed(&agent.operator(&["entry", "validate", &orders, &batch], ""), 0), "2 entries valid\n");
    let tried = agent.operator(&["entry", "apply", "--dry-run", &orders], "");
    assert_eq!(printed(&tried, 0), "entry/orders created (dry run)\nrevision 0 (dry run)\n");
    let applied = agent.operator(&["entry", "apply", &orders, "-"], BATCH);
    assert_eq!(printed(&applied, 0), "entry/batch created\nentry/orders created\nrevision 1\n");
    let changed = ORDERS.replace("team-orders", "team-shop");
    let applied = agent.operator(&["entry", "apply", "-"], &changed);
    assert_eq!(printed(&applied, 0), "entry/orders updated (owner)\nrevision 2\n");

    let refused = agent.operator(&["entry", "delete", "batch", "nobody"], "");
    assert!(printed(&refused, 1).contains("no entry has the id nobody"));
    let listed = printed(&agent.operator(&["entry", "list"], ""), 0);
    assert!(listed.contains("batch"), "all or none: {listed}");
    let deleted = agent.operator(&["entry", "delete", "batch"], "");
    assert_eq!(printed(&deleted, 0), "entry/batch deleted\nrevision 3\n");
    let pruned = agent.operator(&["entry", "apply", "--prune", &batch], "");
    assert_eq!(printed(&pruned, 0), "entry/batch created\nentry/orders deleted\nrevision 4\n");
}

#[tokio::test]
async fn a_problem_in_any_file_is_told_with_its_place_and_nothing_is_applied() {
    let agent = Agent::start(AgentSettings::default()).await;
    let good = file(&agent, "good.yaml", ORDERS);
    let bad = file(&agent, "bad.yaml", &BATCH.replace("selectors", "selector"));
    let foreign = file(&agent, "foreign.yaml", &BATCH.replace("example.org", "other.org"));
    let of_domain = ["entry", "validate", "--trust-domain", "example.org", &good, &foreign];
    for (refused, place) in [
        (agent.operator(&["entry", "validate", &good, &bad], ""), "bad.yaml:3: unknown key \"selector\", did you mean"),
        (agent.operator(&["entry", "apply", &good, &bad], ""), "bad.yaml:3: unknown key \"selector\", did you mean"),
        (agent.operator(&of_domain, ""), "foreign.yaml:2: spiffe_id: "),
        (agent.operator(&["entry", "apply", &good, &foreign], ""), "foreign.yaml:2: spiffe_id: "),
    ] {
        let told = printed(&refused, 1);
        assert!(told.contains(place), "{place} is not in {told}");
    }
    assert_eq!(json(&agent.operator(&["entry", "list", "-o", "json"], "")), Value::Array(vec![]));
    let absent = printed(&agent.operator(&["entry", "apply", "/nonexistent/a.yaml"], ""), 1);
    assert!(absent.contains("/nonexistent/a.yaml"), "{absent}");
}

#[tokio::test]
async fn a_diff_ends_as_diff_does() {
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(ORDERS);
    let same = agent.operator(&["entry", "diff", "-"], ORDERS);
    assert_eq!(printed(&same, 0), "");
    let other = agent.operator(&["entry", "diff", "-"], &ORDERS.replace("team-orders", "team-shop"));
    let shown = printed(&other, 1);
    assert!(shown.contains("\n-owner: team-orders\n+owner: team-shop\n"), "{shown}");
    let less = agent.operator(&["entry", "diff", "--prune", "-"], BATCH);
    assert!(printed(&less, 1).contains("\n-id: orders\n"));
    assert!(printed(&agent.operator(&["entry", "diff", "-"], "id: ["), 2).contains("standard input:2: is not YAML"));
    assert!(printed(&agent.operator(&["entry", "diff", "/nonexistent/a.yaml"], ""), 2).contains("cannot read"));
    assert_eq!(agent.operator(&["entry", "list"], "").status.code(), Some(0), "a diff changes nothing");
}

#[tokio::test]
async fn every_format_shows_the_same_entries() {
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&format!("{ORDERS}---\n{BATCH}"));
    let table = printed(&agent.operator(&["entry", "list"], ""), 0);
    let first: Vec<_> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(first, ["ID", "batch", "orders"]);
    let list = json(&agent.operator(&["entry", "list", "-o", "json"], ""));
    assert_eq!([&list[0]["id"], &list[1]["id"]], ["batch", "orders"]);
    assert_eq!(list[1]["jwt"]["ttl"]["stock/*"], "30s");
    assert_eq!(list[1]["owner"], "team-orders");
    let yaml = printed(&agent.operator(&["entry", "list", "--output", "yaml"], ""), 0);
    assert_eq!(
        printed(&agent.operator(&["entry", "diff", "--prune", "-"], &yaml), 0),
        "",
        "what is listed can be applied"
    );
    let one = json(&agent.operator(&["entry", "show", "orders", "-o", "json"], ""));
    assert_eq!(one[0], list[1]);
    assert!(printed(&agent.operator(&["entry", "show", "orders", "nobody"], ""), 1).contains("nobody"));
    assert!(printed(&agent.operator(&["entry", "list", "-o", "xml"], ""), 2).contains("table, json, yaml"));
}

#[tokio::test]
async fn a_key_is_prepared_then_activated_and_shown_in_every_format() {
    let agent = Agent::start(AgentSettings::default()).await;
    let states = || -> Vec<String> {
        let shown = json(&agent.operator(&["authority", "show", "-o", "json"], ""));
        let keys = shown["jwt_keys"].as_array().expect("a list").iter();
        keys.map(|key| key["state"].as_str().expect("a word").to_owned()).collect()
    };
    assert_eq!(states(), ["active"]);
    let early = printed(&agent.operator(&["authority", "activate"], ""), 1);
    assert!(early.contains("prepare one first"), "{early}");
    assert!(printed(&agent.operator(&["authority", "prepare"], ""), 0).contains("prepared"));
    assert_eq!(states(), ["active", "prepared"]);
    let twice = printed(&agent.operator(&["authority", "prepare"], ""), 1);
    assert!(twice.contains("prepared already; activate it first"), "{twice}");
    let activated = printed(&agent.operator(&["authority", "activate", "-o", "yaml"], ""), 0);
    assert!(activated.contains("trust_domain: \"example.org\""), "{activated}");
    assert_eq!(states(), ["retiring", "active"]);
    let document = json(&agent.operator(&["bundle", "show", "--format", "spiffe"], ""));
    let uses: Vec<_> = document["keys"].as_array().expect("keys").iter().map(|key| key["use"].as_str()).collect();
    let of = |kind| uses.iter().filter(|found| **found == Some(kind)).count();
    assert_eq!((of("jwt-svid"), of("x509-svid"), uses.len()), (2, 2, 4), "{document}");
}

#[tokio::test]
async fn validate_says_which_check_failed() {
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&ours("10s"));
    let fetched = agent.operator(&["jwt", "fetch", "--audience", "billing", "-o", "token"], "");
    let token = printed(&fetched, 0).trim().to_owned();
    let check = |audience: &str, token: &str| agent.operator(&["jwt", "validate", "--audience", audience, "-"], token);
    assert_eq!(json(&check("billing", &token))["sub"], "spiffe://example.org/ours");

    let parts: Vec<_> = token.split('.').collect();
    let unsigned = format!("{}.{}.", parts[0], parts[1]);
    let another = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86));
    for (audience, token, check_named) in [
        ("stock", token.as_str(), "audience"),
        ("billing", &another, "signature"),
        ("billing", &unsigned, "compact serialization"),
        ("billing", "not-a-token", "compact serialization"),
        ("billing", "a b.c.d", "base64url"),
    ] {
        let told = printed(&check(audience, token), 1);
        assert!(told.starts_with("countersign: not valid: ") && told.contains(check_named), "{check_named}: {told}");
    }
    assert!(printed(&check("billing", " \n"), 2).contains("no token"));
    let expired = until("the token to expire", || {
        let checked = check("billing", &token);
        (!checked.status.success()).then_some(checked)
    });
    assert!(printed(&expired.await, 1).contains("expired"));
}

/// `jwt fetch --watch --write`, running; killed when dropped.
struct Watch {
    child: Child,
    path: PathBuf,
}

impl Watch {
    fn start(agent: &Agent) -> Self {
        let path = agent.folder().join("token.jwt");
        let child = Command::new(countersign())
            .args(["jwt", "fetch", "--audience", "billing", "--watch", "--write"])
            .arg(&path)
            .env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", agent.workload_socket().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("countersign runs");
        Self { child, path }
    }

    fn token(&self) -> Option<String> {
        std::fs::read_to_string(&self.path).ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_watched_token_file_is_renewed_withdrawn_when_it_expires_and_comes_back_with_the_agent() {
    let mut agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&ours("10s"));
    let mut watch = Watch::start(&agent);
    let first = until("the token file", || watch.token()).await;
    let second = until("another token in it", || watch.token().filter(|token| *token != first)).await;
    let valid =
        |token: &str| agent.operator(&["jwt", "validate", "--audience", "billing", "-"], token).status.success();
    assert!(valid(&second), "the file holds a whole token, renewed before the one in it expires");
    assert!(valid(&first), "renewed at half of its life");
    assert_eq!(watch.path.metadata().expect("the file").permissions().mode() & 0o777, 0o600);

    // An agent that hangs holds its callers, and must not hold an expired token in the file.
    agent.pause().await;
    until("the expired token to be withdrawn", || (!watch.path.exists()).then_some(())).await;
    agent.restart().await;
    let third = until("a token of the new agent", || watch.token()).await;
    assert!(third != first && third != second);
    assert!(watch.child.try_wait().expect("our child").is_none(), "it goes on");
}

#[tokio::test]
async fn of_several_identities_all_are_listed_and_a_script_gets_the_first() {
    let agent = Agent::start(AgentSettings::default()).await;
    let second = ours("5m").replace("id: ours", "id: second").replace("org/ours", "org/second");
    agent.apply(&format!("{}---\n{second}", ours("5m")));
    let fetch = |more: &[&str]| agent.operator(&[&["jwt", "fetch", "--audience", "billing"], more].concat(), "");
    let listed = printed(&fetch(&[]), 0);
    assert!(listed.contains("example.org/ours") && listed.contains("example.org/second"), "{listed}");
    let subject = |token: &str| {
        let claims = json(&agent.operator(&["jwt", "validate", "--audience", "billing", "-"], token));
        claims["sub"].as_str().expect("a subject").to_owned()
    };
    assert_eq!(subject(&printed(&fetch(&["-o", "token"]), 0)), "spiffe://example.org/ours");
    let other = printed(&fetch(&["-o", "token", "--spiffe-id", "spiffe://example.org/second"]), 0);
    assert_eq!(subject(&other), "spiffe://example.org/second");
    assert_eq!(json(&fetch(&["-o", "json"]))["svids"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_refused_watch_ends_before_it_writes() {
    let agent = Agent::start(AgentSettings::default()).await;
    let path = agent.folder().join("token.jwt");
    let path = path.to_str().expect("UTF-8");
    let refused = agent.operator(&["jwt", "fetch", "--audience", "billing", "--watch", "--write", path], "");
    assert!(printed(&refused, 1).contains("refused"));
    assert!(!Path::new(path).exists());
    agent.apply(&ours("5m"));
    let nowhere = "/nonexistent/token.jwt";
    let unwritten = agent.operator(&["jwt", "fetch", "--audience", "billing", "--write", nowhere], "");
    assert!(printed(&unwritten, 1).contains("cannot write /nonexistent/token.jwt"));
}

#[tokio::test]
async fn a_user_without_the_right_is_told_so() {
    if !root_or_skip("running an operator's command as another user") {
        return;
    }
    use std::os::unix::process::CommandExt;
    let agent = Agent::start(AgentSettings::default()).await;
    let program = agent.folder().join("countersign");
    std::fs::copy(countersign(), &program).expect("a copy");
    let refused = Command::new(program)
        .args(["entry", "list", "--admin-socket"])
        .arg(agent.admin_socket())
        .current_dir("/")
        .uid(65534)
        .output()
        .expect("it runs");
    let told = printed(&refused, 1);
    assert!(told.contains("user 65534 is no operator") && told.contains("admin_api.uids"), "{told}");
}

#[test]
fn the_entries_that_the_documentation_shows_are_valid() {
    let readme = include_str!("../../README.md");
    let shown = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an entry");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("entries.yaml");
    std::fs::write(&file, shown).expect("our folder");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/entries.yaml");
    for entries in [Path::new(shipped), &file] {
        let validated = Command::new(countersign()).args(["entry", "validate"]).arg(entries).output().expect("it runs");
        assert!(printed(&validated, 0).contains(" valid"));
    }
}

#[test]
fn the_check_of_a_configuration_names_file_and_line() {
    let check =
        |path: &str| Command::new(countersign()).args(["agent", "check", "--config", path]).output().expect("runs");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/agent.toml");
    assert!(printed(&check(shipped), 0).contains("the configuration is valid"));
    let wrong = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/tests/malformed-config/unknown-keys.toml");
    assert!(printed(&check(wrong), 1).contains("unknown-keys.toml:"));
    let absent = printed(&check("/nonexistent/agent.toml"), 1);
    assert!(absent.contains("/nonexistent/agent.toml") && absent.contains("--config"), "{absent}");
}

#[tokio::test]
async fn status_shows_the_agent_and_who_uses_what() {
    let agent = Agent::start(AgentSettings { admission: "max_requests = 40", ..AgentSettings::default() }).await;
    agent.apply(&ours("5m"));
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(workload.ask("watch").await.code(), "Ok");
    let uid = nix::unistd::geteuid().as_raw();
    let is_open = || {
        let shown = json(&agent.operator(&["status", "-o", "json"], ""));
        (shown["places"]["streams"]["used"] == 1).then_some(shown)
    };
    let shown = until("the stream to be counted", is_open).await;
    assert_eq!((&shown["trust_domain"], &shown["entries"]), (&"example.org".into(), &1.into()));
    assert_eq!(shown["places"]["requests"], serde_json::json!({"used": 0, "limit": 40, "refused": 0}));
    let callers = shown["callers"].as_array().expect("a list");
    let caller = callers.iter().find(|caller| caller["uid"] == uid).expect("this user");
    assert_eq!((&caller["connections"], &caller["streams"], &caller["refused"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!(caller["hash_bytes_left"], 1 << 30);
    let table = printed(&agent.operator(&["status"], ""), 0);
    assert!(table.starts_with("agent         countersign ") && table.contains("\nstreams      1 "), "{table}");
    let yaml = printed(&agent.operator(&["status", "-o", "yaml"], ""), 0);
    assert!(yaml.contains("\ntrust_domain: \"example.org\"\n"), "{yaml}");
    workload.end().await;
    let is_gone = || {
        let shown = json(&agent.operator(&["status", "-o", "json"], ""));
        shown["callers"].as_array().is_some_and(Vec::is_empty).then_some(())
    };
    until("who holds nothing to be forgotten", is_gone).await;
}
