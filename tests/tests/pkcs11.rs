//! Signing keys in a PKCS#11 token, with a real one in software: they are made there, sign there,
//! never leave, and nothing takes their place in silence.

use countersign_tests::{
    Agent, AgentSettings, Disk, LIMIT, SoftHsm, Workload, WorkloadSpec, allow_own_programs, countersign, own_mounts,
    root_or_skip, until,
};
use serde_json::Value;
use tempfile::TempDir;

fn entry() -> String {
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    format!(
        "id: ours\nspiffe_id: spiffe://example.org/ours\nselectors: [\"unix:uid:{uid}\"]\n{allow}\
         jwt: {{audiences: [billing]}}\nx509: {{}}\n"
    )
}

/// A folder with a token in it.
fn token() -> Option<(TempDir, SoftHsm)> {
    let folder = tempfile::tempdir().expect("a folder");
    let hsm = SoftHsm::make_or_skip(folder.path())?;
    Some((folder, hsm))
}

fn settings(hsm: &SoftHsm) -> AgentSettings {
    AgentSettings { pkcs11: Some(hsm.table("countersign")), under: hsm.under(), ..AgentSettings::default() }
}

async fn agent(hsm: &SoftHsm) -> Agent {
    let agent = Agent::start(settings(hsm)).await;
    agent.apply(&entry());
    agent
}

fn shown(agent: &Agent) -> Value {
    let shown = agent.operator(&["authority", "show", "-o", "json"], "");
    serde_json::from_slice(&shown.stdout).expect("JSON")
}

/// A member of every key of both kinds.
fn of_keys(shown: &Value, names: [&str; 2]) -> Vec<String> {
    let of = |kind: &str, name: &str| {
        let keys = shown[kind].as_array().expect("a list").iter();
        keys.map(|key| key[name].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    [of("jwt_keys", names[0]), of("x509_authorities", names[1])].concat()
}

fn names(agent: &Agent) -> Vec<String> {
    of_keys(&shown(agent), ["kid", "subject_key_id"])
}

/// Does as an operator; what it printed.
fn does(agent: &Agent, arguments: &[&str]) -> String {
    let done = agent.operator(arguments, "");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// Gets an SVID of each kind; the JWT-SVID was validated and is given back.
async fn is_served(agent: &Agent) -> String {
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let token = workload.ask("fetch billing").await.token().to_owned();
    assert_eq!(workload.ask(&format!("validate billing {token}")).await.code(), "Ok");
    // The command checks the chain against the bundle that comes with it.
    let fetched = agent.operator(&["x509", "fetch"], "");
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    token
}

/// Changes a piece of the configuration, for the next start.
fn reconfigure(agent: &Agent, from: &str, to: &str) {
    let path = agent.folder().join("agent.toml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).expect("our file");
}

#[tokio::test]
async fn keys_are_made_in_the_token_sign_there_and_cannot_be_read() {
    let Some((_folder, hsm)) = token() else { return };
    let agent = agent(&hsm).await;
    is_served(&agent).await;
    assert_eq!(of_keys(&shown(&agent), ["held_in", "held_in"]), ["pkcs11", "pkcs11"]);
    assert_eq!(hsm.private_keys().len(), 2, "a JWT key and an X.509 authority");
    let listed = hsm.tool(&["--list-objects", "--type", "privkey"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let access = "sensitive, always sensitive, never extractable, local";
    assert_eq!(text.matches(access).count(), 2, "{text}");
}

#[tokio::test]
async fn rs256_keys_are_made_there_as_well() {
    let Some((_folder, hsm)) = token() else { return };
    let agent = Agent::start(AgentSettings { authority: "algorithm = \"RS256\"", ..settings(&hsm) }).await;
    agent.apply(&entry());
    is_served(&agent).await;
    assert_eq!(of_keys(&shown(&agent), ["algorithm", "algorithm"]), ["RS256", "ES256"]);
}

#[tokio::test]
async fn the_keys_are_the_same_after_a_kill() {
    let Some((_folder, hsm)) = token() else { return };
    let mut agent = agent(&hsm).await;
    let (before, token) = (names(&agent), is_served(&agent).await);
    agent.kill();
    agent.restart().await;
    assert_eq!(names(&agent), before);
    let validated = agent.operator(&["jwt", "validate", "--audience", "billing", "-"], &token);
    assert!(validated.status.success(), "{}", String::from_utf8_lossy(&validated.stderr));
    is_served(&agent).await;
    assert_eq!(hsm.private_keys().len(), 2, "none was made");
}

#[tokio::test]
async fn a_key_that_is_done_is_destroyed_in_the_token() {
    let Some((_folder, hsm)) = token() else { return };
    let agent = agent(&hsm).await;
    let (before, first) = (names(&agent), hsm.private_keys());
    does(&agent, &["authority", "prepare"]);
    assert_eq!(hsm.private_keys().len(), 4);
    does(&agent, &["authority", "activate"]);
    is_served(&agent).await;
    for name in before {
        does(&agent, &["authority", "revoke", &name]);
    }
    let left = hsm.private_keys();
    assert!(left.len() == 2 && !left.iter().any(|id| first.contains(id)), "{first:?}, then {left:?}");
    is_served(&agent).await;
}

#[tokio::test]
async fn a_token_that_is_taken_out_and_put_back_signs_again_by_itself() {
    let Some((_folder, hsm)) = token() else { return };
    let agent = agent(&hsm).await;
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(workload.ask("fetch billing").await.code(), "Ok");
    hsm.take_out();
    let mut other = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let refused = other.ask("fetch billing").await;
    assert_eq!((refused.code(), &refused.0["messages"]), ("Unavailable", &Value::Null), "{refused:?}");
    assert_eq!(workload.ask("fetch billing").await.code(), "Ok", "what it has been given is still valid");
    hsm.put_back();
    // It is looked for again and again, but not at every request.
    let served = async { while other.ask("fetch billing").await.code() != "Ok" {} };
    tokio::time::timeout(LIMIT, served).await.expect("the token is found again");
    is_served(&agent).await;
}

#[tokio::test]
async fn a_disk_that_stays_full_does_not_fill_the_token() {
    if !root_or_skip("a disk of its own") {
        return;
    }
    let Some((folder, hsm)) = token() else { return };
    own_mounts();
    let disk = Disk::make(folder.path());
    let audit_file = Some(folder.path().join("audit"));
    let on_disk = AgentSettings { folder_in: Some(disk.place().to_owned()), audit_file, ..settings(&hsm) };
    let agent = Agent::start(on_disk).await;
    agent.apply(&entry());
    let filler = disk.fill();
    for _ in 0..3 {
        let refused = agent.operator(&["authority", "prepare"], "");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("nothing was changed"), "{said}");
        assert_eq!(hsm.private_keys().len(), 4, "those that were made in vain are taken the next time");
    }
    std::fs::remove_file(filler).expect("our file");
    does(&agent, &["authority", "prepare"]);
    assert_eq!((hsm.private_keys().len(), names(&agent).len()), (4, 4));
    does(&agent, &["authority", "activate"]);
    is_served(&agent).await;
}

#[tokio::test]
async fn a_token_that_hangs_holds_up_nobody_who_does_not_need_it() {
    let Some((_folder, mut hsm)) = token() else { return };
    hsm.watch();
    let mut agent = agent(&hsm).await;
    let token = is_served(&agent).await;
    let [mut asks, mut other, mut third] =
        [(); 3].map(|()| Workload::start(&agent.workload_socket(), &WorkloadSpec::default()));
    hsm.hang(true);
    asks.say("fetch billing").await;
    until("a signature that hangs", || (hsm.hanging() == 1).then_some(())).await;
    assert_eq!(other.ask(&format!("validate billing {token}")).await.code(), "Ok");
    does(&agent, &["authority", "show"]);
    assert_eq!(asks.hear().await.code(), "Unavailable", "it waited for as long as a token may take");
    // Nobody is sent after it.
    assert_eq!(third.ask("fetch billing").await.code(), "Unavailable");
    assert_eq!(hsm.hanging(), 1);
    hsm.hang(false);
    let served = async { while third.ask("fetch billing").await.code() != "Ok" {} };
    tokio::time::timeout(LIMIT, served).await.expect("it signs again");

    hsm.hang(true);
    other.say("fetch billing").await;
    until("a signature that hangs", || (hsm.hanging() == 2).then_some(())).await;
    assert!(agent.terminate().await.success(), "it stops all the same");
    hsm.hang(false);
}

#[tokio::test]
async fn a_pin_that_is_wrong_by_now_is_tried_once() {
    let Some((_folder, mut hsm)) = token() else { return };
    hsm.watch();
    let mut agent = agent(&hsm).await;
    is_served(&agent).await;
    let changed = hsm.tool(&["--change-pin", "--new-pin", "8402"]);
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    hsm.take_out();
    let mut workload = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(workload.ask("fetch billing").await.code(), "Unavailable");
    hsm.put_back();
    let tried = async {
        while hsm.refused_logins() == 0 {
            workload.ask("fetch billing").await;
        }
    };
    tokio::time::timeout(LIMIT, tried).await.expect("the token is found again");
    for _ in 0..5 {
        assert_eq!(workload.ask("fetch billing").await.code(), "Unavailable");
    }
    assert_eq!(hsm.refused_logins(), 1);
    hsm.set_pin_file("8402");
    agent.restart().await;
    is_served(&agent).await;
}

#[tokio::test]
async fn an_agent_moves_its_keys_to_a_token_by_making_new_ones() {
    let Some((_folder, hsm)) = token() else { return };
    let mut agent = Agent::start(AgentSettings { under: hsm.under(), ..AgentSettings::default() }).await;
    agent.apply(&entry());
    let (before, token) = (names(&agent), is_served(&agent).await);
    agent.kill();
    reconfigure(&agent, "[authority]\n", &format!("[authority]\npkcs11 = {}\n", hsm.table("countersign")));
    agent.restart().await;
    // The schedule has prepared those of the token already: others are to know them before they sign.
    let prepared = until("keys in the token", || Some(shown(&agent)).filter(|_| hsm.private_keys().len() == 2)).await;
    assert_eq!(of_keys(&prepared, ["held_in", "held_in"]), ["state", "pkcs11", "state", "pkcs11"]);
    does(&agent, &["authority", "activate"]);
    let after = shown(&agent);
    assert_eq!(of_keys(&after, ["state", "state"]), ["retiring", "active", "retiring", "active"]);
    is_served(&agent).await;
    let validated = agent.operator(&["jwt", "validate", "--audience", "billing", "-"], &token);
    assert!(validated.status.success(), "of a key that retires");
    agent.kill();
    agent.restart().await;
    assert!(before.iter().all(|name| names(&agent).contains(name)), "keys of both homes are there again");
}

#[tokio::test]
async fn a_token_that_is_not_the_one_is_refused_with_the_way_out() {
    let Some((_folder, hsm)) = token() else { return };
    hsm.add_token("other");
    let mut agent = agent(&hsm).await;
    is_served(&agent).await;
    let kept = names(&agent);
    let configured = hsm.table("countersign");
    for (table, wanted) in [
        (Some(hsm.table("other")), "token \"other\" has no private key with id "),
        (Some(hsm.table("none")), "there is no token with the label \"none\"; the module knows"),
        (None, "its keys are in a PKCS#11 token and none is configured; configure authority.pkcs11 as it was"),
    ] {
        let line = table.map(|table| format!("pkcs11 = {table}")).unwrap_or_default();
        reconfigure(&agent, &format!("pkcs11 = {configured}"), &format!("# here\n{line}"));
        let said = agent.refuses_to_start();
        assert!(said.contains(wanted), "{said}");
        reconfigure(&agent, &format!("# here\n{line}"), &format!("pkcs11 = {configured}"));
    }
    hsm.set_pin_file("0000");
    let said = agent.refuses_to_start();
    assert!(said.contains("the PIN of authority.pkcs11 is not that of the user of token \"countersign\""), "{said}");
    hsm.set_pin_file(countersign_tests::SOFTHSM_PIN);
    agent.restart().await;
    assert_eq!(names(&agent), kept, "no refusal changed anything");
}

#[tokio::test]
async fn another_key_under_the_name_of_one_is_refused() {
    let Some((_folder, hsm)) = token() else { return };
    let mut agent = agent(&hsm).await;
    let first = hsm.private_keys().swap_remove(0);
    for (more, wanted) in [
        (vec![], format!("key {first} of token \"countersign\" is another key than it was")),
        (vec!["--extractable"], format!("key {first} of token \"countersign\" can leave the token, or could")),
    ] {
        for kind in ["privkey", "pubkey"] {
            assert!(hsm.tool(&["--delete-object", "--type", kind, "--id", &first]).status.success());
        }
        let made = hsm.tool(&[vec!["--keypairgen", "--key-type", "EC:prime256v1", "--id", &first], more].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let said = agent.refuses_to_start();
        assert!(said.contains(&wanted), "{said}");
    }
}

#[tokio::test]
async fn a_module_that_others_could_replace_is_not_loaded() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some((folder, hsm)) = token() else { return };
    let copy = folder.path().join("module.so");
    std::fs::copy(hsm.module(), &copy).expect("our folder");
    let mut agent = agent(&hsm).await;
    let text = |path: &std::path::Path| format!("module = \"{}\"", path.display());
    reconfigure(&agent, &text(hsm.module()), &text(&copy));
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o777)).expect("our file");
    let said = agent.refuses_to_start();
    assert!(said.contains("module.so: it has mode 0777, which lets others at it"), "{said}");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("our file");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("our folder");
    let said = agent.refuses_to_start();
    assert!(said.contains("cannot trust the path of the PKCS#11 module"), "{said}");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("our folder");
    agent.restart().await;
    is_served(&agent).await;
}

#[tokio::test]
async fn a_backup_needs_the_token_that_its_keys_are_in() {
    let Some((_folder, hsm)) = token() else { return };
    hsm.add_token("other");
    let mut agent = agent(&hsm).await;
    let token = is_served(&agent).await;
    let backup = agent.folder().join("backup");
    does(&agent, &["backup", &backup.display().to_string()]);
    agent.kill();
    let restore = || {
        let mut command = std::process::Command::new("env");
        command.args(&hsm.under()[1..]).arg(countersign()).arg("restore").arg("--config");
        command.arg(agent.folder().join("agent.toml")).arg("--replace").arg(&backup);
        command.output().expect("countersign runs")
    };
    reconfigure(&agent, "token = \"countersign\"", "token = \"other\"");
    let refused = restore();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("token \"other\" has no private key"), "{said}");
    reconfigure(&agent, "token = \"other\"", "token = \"countersign\"");
    let restored = restore();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    agent.restart().await;
    let validated = agent.operator(&["jwt", "validate", "--audience", "billing", "-"], &token);
    assert!(validated.status.success(), "{}", String::from_utf8_lossy(&validated.stderr));
    is_served(&agent).await;
}
