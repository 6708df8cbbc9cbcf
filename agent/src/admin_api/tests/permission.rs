//! Who is not named is not served, whatever the socket's mode lets through.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use countersign_common::proto::admin::authority_client::AuthorityClient;
use countersign_common::proto::admin::bundles_client::BundlesClient;
use countersign_common::proto::admin::registry_client::RegistryClient;
use countersign_common::proto::admin::usage_client::UsageClient;
use countersign_common::proto::admin::{
    ActivateRequest, ApplyRequest, DeleteBundleRequest, DeleteRequest, GetBundleRequest, ListBundlesRequest,
    ListRequest, PrepareRequest, RevokeRequest, SetBundleRequest, ShowAuthorityRequest, ShowUsageRequest, TaintRequest,
};
use tonic::{Code, Status};

use super::{Access, Agent, connect, own_uid};

/// Tells a child process which socket is meant.
const SOCKET: &str = "COUNTERSIGN_TEST_ADMIN_SOCKET";

/// A user that no test runs as, and its group.
const NOBODY: &str = "65534";

/// A group that the configuration names.
const OPERATORS: u32 = 12_345;

/// Every method answers `PermissionDenied`, for whoever runs this.
async fn assert_denied(socket: &Path) {
    let denied = |status: Status| {
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains(&format!("user {} is no operator", own_uid())), "{status}");
    };
    let mut registry = RegistryClient::new(connect(socket).await);
    denied(registry.apply(ApplyRequest { sources: vec![], prune: true, dry_run: false }).await.unwrap_err());
    denied(registry.list(ListRequest { ids: vec![] }).await.unwrap_err());
    denied(registry.delete(DeleteRequest { ids: vec![] }).await.unwrap_err());
    let mut authority = AuthorityClient::new(connect(socket).await);
    denied(authority.show(ShowAuthorityRequest {}).await.unwrap_err());
    denied(authority.prepare(PrepareRequest::default()).await.unwrap_err());
    denied(authority.activate(ActivateRequest::default()).await.unwrap_err());
    denied(authority.taint(TaintRequest::default()).await.unwrap_err());
    denied(authority.revoke(RevokeRequest::default()).await.unwrap_err());
    let mut bundles = BundlesClient::new(connect(socket).await);
    denied(bundles.list(ListBundlesRequest {}).await.unwrap_err());
    denied(bundles.show(GetBundleRequest::default()).await.unwrap_err());
    denied(bundles.set(SetBundleRequest::default()).await.unwrap_err());
    denied(bundles.delete(DeleteBundleRequest::default()).await.unwrap_err());
    denied(UsageClient::new(connect(socket).await).show(ShowUsageRequest {}).await.unwrap_err());
}

/// This test binary once more, as another user, for the one test `name`.
/// From a copy beside the socket: the build directory may be closed to others.
async fn run_as_nobody(agent: &Agent, group: &str, groups: &str, name: &str) {
    let directory = agent.socket.parent().unwrap();
    let copy = directory.join("tests");
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    for path in [directory, &copy] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let mut child = Command::new("setpriv");
    child.args(["--reuid", NOBODY, "--regid", group, groups]).arg(copy);
    child.args(["--exact", &format!("admin_api::tests::permission::{name}"), "--nocapture"]);
    child.env(SOCKET, &agent.socket).current_dir("/");
    let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Whether this process may become another user. Without that the agent's own user is all that
/// there is, and it is always let in.
fn may_become_another_user() -> bool {
    let may = own_uid() == 0;
    assert!(may || env::var_os("CI").is_none(), "needs root, to ask as another user");
    if !may {
        println!("passed over: needs root, to ask as another user");
    }
    may
}

/// The socket, in a child process; `None` in the test run itself, where there is no part to play.
fn socket() -> Option<PathBuf> {
    let socket = env::var_os(SOCKET).map(PathBuf::from);
    if socket.is_none() {
        println!("passed over: played by the children of other tests");
    }
    socket
}

#[tokio::test]
async fn child_that_is_denied() {
    let Some(socket) = socket() else { return };
    assert_denied(&socket).await;
}

#[tokio::test]
async fn child_that_is_let_in() {
    let Some(socket) = socket() else { return };
    assert_ne!(own_uid(), 0);
    let mut registry = RegistryClient::new(connect(&socket).await);
    registry.list(ListRequest { ids: vec![] }).await.unwrap();
}

#[tokio::test]
async fn who_is_not_named_is_denied_and_recorded() {
    if !may_become_another_user() {
        return;
    }
    let agent = Agent::start(Access { uids: vec![12_346], gids: vec![OPERATORS], read_only: None }).await;
    run_as_nobody(&agent, NOBODY, "--clear-groups", "child_that_is_denied").await;
    let records = agent.records_once(13).await;
    for record in &records {
        assert_eq!((&record["event"], &record["outcome"]), (&"admin_request".into(), &"refused".into()));
        assert_eq!(record["uid"].to_string(), NOBODY);
        assert_eq!(record["reason"], "user 65534 is no operator of this agent");
    }
}

#[tokio::test]
async fn members_of_a_named_group_are_let_in() {
    if !may_become_another_user() {
        return;
    }
    let agent = Agent::start(Access { uids: vec![], gids: vec![OPERATORS], read_only: None }).await;
    let operators = OPERATORS.to_string();
    run_as_nobody(&agent, &operators, "--clear-groups", "child_that_is_let_in").await;
    run_as_nobody(&agent, NOBODY, &format!("--groups={operators}"), "child_that_is_let_in").await;
    assert!(agent.records().is_empty());
}
