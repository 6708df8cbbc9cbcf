//! `countersign dev` as a newcomer meets it: the commands of the README.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use countersign_tests::{countersign, until};

/// A running `countersign dev` in a folder of its own; killed when dropped.
struct Dev {
    child: Child,
    folder: tempfile::TempDir,
}

impl Dev {
    async fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let out = std::fs::File::create(folder.path().join("out")).expect("a file");
        let err = std::fs::File::create(folder.path().join("err")).expect("a file");
        let child = Command::new(countersign())
            .args(["dev", "--dir"])
            .arg(folder.path().join("dev"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("countersign runs");
        let mut dev = Self { child, folder };
        until("dev to be ready or to end", || {
            let ended = dev.child.try_wait().expect("our child");
            (ended.is_some() || dev.read("out").contains("Ctrl-C stops")).then_some(())
        })
        .await;
        dev
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Runs a command with the environment that `dev` printed.
    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let printed = self.read("out");
        let value = |name: &str| {
            let line = printed.lines().find_map(|line| line.trim().strip_prefix(&format!("export {name}=")));
            line.unwrap_or_else(|| panic!("{name} was not printed:\n{printed}")).to_owned()
        };
        Command::new(program)
            .args(arguments)
            .env("SPIFFE_ENDPOINT_SOCKET", value("SPIFFE_ENDPOINT_SOCKET"))
            .env("COUNTERSIGN_ADMIN_SOCKET", value("COUNTERSIGN_ADMIN_SOCKET"))
            .output()
            .expect("it runs")
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn the_example_entry_describes_this_binary_and_no_other() {
    let dev = Dev::start(&[]).await;
    let fetched = dev.run(&countersign(), &["jwt", "fetch", "--audience", "hello"]);
    assert!(fetched.status.success(), "{}{}", text(&fetched.stderr), dev.read("err"));
    assert!(text(&fetched.stdout).contains("spiffe://dev.example/example"), "{}", text(&fetched.stdout));
    assert!(!text(&fetched.stdout).contains("eyJ"), "a token was echoed that nobody asked for");

    let stranger = dev.folder.path().join("stranger");
    std::fs::copy(countersign(), &stranger).expect("a copy");
    let refused = dev.run(&stranger, &["jwt", "fetch", "--audience", "hello"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("refused"), "{}", text(&refused.stderr));
    let other = dev.run(&countersign(), &["jwt", "fetch", "--audience", "other"]);
    assert_eq!(other.status.code(), Some(1));

    let decisions = dev.read("err");
    assert!(decisions.contains("issued") && decisions.contains("no entry matches"), "{decisions}");
}

#[tokio::test]
async fn a_program_that_everybody_may_write_is_served_and_it_is_said_that_the_agent_would_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, program) = (folder.path().join("mine.yaml"), folder.path().join("program"));
    let uid = nix::unistd::geteuid();
    let entry = format!(
        "id: a\nspiffe_id: spiffe://dev.example/a\nselectors: [\"unix:uid:{uid}\"]\njwt: {{audiences: [hello]}}\n"
    );
    std::fs::write(&file, entry).expect("our folder");
    std::fs::copy(countersign(), &program).expect("a copy");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o777)).expect("our file");
    let dev = Dev::start(&["--entries", file.to_str().expect("UTF-8")]).await;
    let fetched = dev.run(&program, &["jwt", "fetch", "--audience", "hello"]);
    assert!(fetched.status.success(), "{}{}", text(&fetched.stderr), dev.read("err"));
    let said = "Not asked here, unlike by `countersign agent`: \
                traced, memfd, deleted, writable_executable, foreign_code, user_namespace.";
    assert!(dev.read("out").lines().any(|line| line == said), "{}", dev.read("out"));
}

#[tokio::test]
async fn a_saved_change_of_the_entries_file_applies() {
    let dev = Dev::start(&[]).await;
    let file = dev.folder.path().join("dev/entries.yaml");
    let entries = std::fs::read_to_string(&file).expect("the example");
    std::fs::write(&file, entries.replace("[hello]", "[hello, goodbye]")).expect("our file");
    until("the saved audience", || {
        dev.run(&countersign(), &["jwt", "fetch", "--audience", "goodbye"]).status.success().then_some(())
    })
    .await;
    std::fs::write(&file, "id: [not, an, id]\n").expect("our file");
    until("the complaint", || dev.read("err").contains("entries.yaml:1").then_some(())).await;
    assert!(dev.read("err").contains("entry example updated"));
    assert!(!dev.read("err").contains("u000a"), "one problem a line: {}", dev.read("err"));
    let still = dev.run(&countersign(), &["jwt", "fetch", "--audience", "goodbye"]);
    assert!(still.status.success(), "the last good entries stay: {}", text(&still.stderr));
}

#[tokio::test]
async fn operators_can_look_but_not_write_beside_the_file() {
    let dev = Dev::start(&[]).await;
    let listed = dev.run(&countersign(), &["entry", "list"]);
    assert!(text(&listed.stdout).contains("example"), "{}", text(&listed.stderr));
    let refused = dev.run(&countersign(), &["entry", "delete", "example"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("entries.yaml"), "{}", text(&refused.stderr));
}

#[tokio::test]
async fn a_file_that_is_wrong_is_told_about_at_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.yaml");
    std::fs::write(&file, "id: a\nspiffe_id: spiffe://other/a\nselectors: [unix:uids:1]\n").expect("our folder");
    let mut dev = Dev::start(&["--entries", file.to_str().expect("UTF-8")]).await;
    assert_eq!(dev.child.wait().expect("our child").code(), Some(1));
    let told = dev.read("err");
    assert!(told.contains("mine.yaml:2") && told.contains("mine.yaml:3") && told.contains("did you mean"), "{told}");
}

#[tokio::test]
async fn a_token_file_is_written_whole_and_private() {
    let dev = Dev::start(&[]).await;
    let file = dev.folder.path().join("token.jwt");
    let path = file.to_str().expect("UTF-8");
    let written = dev.run(&countersign(), &["jwt", "fetch", "--audience", "hello", "--write", path]);
    assert!(written.status.success(), "{}", text(&written.stderr));
    assert_eq!(file.metadata().expect("the file").permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&file).expect("the token");
    let valid = dev.run(&countersign(), &["jwt", "validate", "--audience", "hello", &token]);
    assert!(text(&valid.stdout).contains("spiffe://dev.example/example"), "{}", text(&valid.stderr));
    let invalid = dev.run(&countersign(), &["jwt", "validate", "--audience", "other", &token]);
    assert_eq!(invalid.status.code(), Some(1));
    assert!(text(&invalid.stderr).contains("audience"), "it says which check failed: {}", text(&invalid.stderr));
}

#[tokio::test]
async fn both_documents_of_the_bundle_are_shown() {
    let dev = Dev::start(&[]).await;
    let jwks = dev.run(&countersign(), &["bundle", "show"]);
    let jwks: serde_json::Value = serde_json::from_slice(&jwks.stdout).expect("JSON");
    assert!(jwks["keys"][0].get("use").is_none());
    let spiffe = dev.run(&countersign(), &["bundle", "show", "--format", "spiffe"]);
    let spiffe: serde_json::Value = serde_json::from_slice(&spiffe.stdout).expect("JSON");
    let uses = spiffe["keys"].as_array().expect("keys").iter().map(|key| key["use"].as_str().expect("a use"));
    assert_eq!(uses.collect::<std::collections::BTreeSet<_>>(), ["jwt-svid", "x509-svid"].into());
    assert!(spiffe["spiffe_sequence"].is_u64() && spiffe["spiffe_refresh_hint"].is_u64());
}

#[tokio::test]
async fn a_second_dev_leaves_the_first_and_its_entries_alone() {
    let dev = Dev::start(&[]).await;
    let file = dev.folder.path().join("dev/entries.yaml");
    let before = std::fs::metadata(&file).expect("the example").modified().expect("a time");
    let second = dev.run(&countersign(), &["dev", "--dir", dev.folder.path().join("dev").to_str().expect("UTF-8")]);
    assert_eq!(second.status.code(), Some(1));
    let told = text(&second.stderr);
    assert!(told.contains("another `countersign dev` runs") && told.contains("--dir"), "{told}");
    assert_eq!(std::fs::metadata(&file).expect("the example").modified().expect("a time"), before);
    assert!(dev.run(&countersign(), &["jwt", "fetch", "--audience", "hello"]).status.success());
}

#[test]
fn what_keeps_dev_from_starting_says_which_option_helps() {
    for (arguments, words) in [
        (["--dir", "/nonexistent/a/b"], ["/nonexistent/a/b", "--dir"]),
        (["--dir", "/proc"], ["/proc", "--dir"]),
        (["--entries", "/nonexistent/a.yaml"], ["/nonexistent/a.yaml", "--entries"]),
        (["--entries", "/"], ["the entries file /:", "--entries"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let failed = Command::new(countersign())
            .arg("dev")
            .args(arguments)
            .env("XDG_RUNTIME_DIR", folder.path())
            .output()
            .expect("it runs");
        assert_eq!(failed.status.code(), Some(1), "{arguments:?}");
        let told = text(&failed.stderr);
        assert!(words.iter().all(|word| told.contains(word)), "{arguments:?}: {told}");
    }
}

#[test]
fn without_an_agent_the_commands_say_where_they_looked() {
    let run = |arguments: &[&str]| {
        Command::new(countersign()).args(arguments).env_remove("SPIFFE_ENDPOINT_SOCKET").output().expect("it runs")
    };
    let unset = run(&["jwt", "fetch", "--audience", "a"]);
    assert_eq!(unset.status.code(), Some(2));
    assert!(text(&unset.stderr).contains("SPIFFE_ENDPOINT_SOCKET"), "{}", text(&unset.stderr));
    let nobody = run(&["jwt", "fetch", "--audience", "a", "--socket", "unix:///nowhere/agent.sock"]);
    assert_eq!(nobody.status.code(), Some(3));
    assert!(text(&nobody.stderr).contains("/nowhere/agent.sock"), "{}", text(&nobody.stderr));
}
