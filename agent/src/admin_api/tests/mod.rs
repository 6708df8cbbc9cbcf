//! The admin API over a real socket: what operators get, and what is recorded first.

mod authority;
mod bundles;
mod permission;
mod socket;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_common::clock::{Clock, Timestamp};
use countersign_common::proto::admin::authority_client::AuthorityClient;
use countersign_common::proto::admin::bundles_client::BundlesClient;
use countersign_common::proto::admin::registry_client::RegistryClient;
use countersign_common::proto::admin::{
    ActivateRequest, ApplyRequest, ApplyResponse, ChangeKind, DeleteRequest, GetBundleRequest, KeyKind, ListRequest,
    PrepareRequest, ShowAuthorityRequest, ShowAuthorityResponse, Source,
};
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::Algorithm;
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::{Access, Admin, MAX_MESSAGE_BYTES, Usage, routes};
use crate::admission::tests::admission;
use crate::admission::{HashBudget, HashLimits};
use crate::audit::Audit;
use crate::authority::embedded::{EmbeddedAuthority, Options};
use crate::drain::{self, DrainTrigger};
use crate::store::Store;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

struct Standstill;

impl Clock for Standstill {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// A served admin API.
pub(crate) struct Agent {
    store: Store,
    authority: Arc<EmbeddedAuthority>,
    pub(crate) socket: PathBuf,
    /// Keeps the authority going.
    _drain: DrainTrigger,
    directory: TempDir,
}

impl Agent {
    pub(crate) async fn start(access: Access) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let (trigger, drain) = drain::channel();
        let store = Store::in_memory(&trust_domain()).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(Standstill);
        let options = Options {
            trust_domain: trust_domain(),
            algorithm: Algorithm::Es256,
            key_life: 24 * HOUR,
            max_jwt_ttl: HOUR,
            x509_key_life: 24 * HOUR,
            max_x509_ttl: HOUR,
            upstream: None,
            token: None,
            refresh_hint: Duration::from_secs(300),
            issuer: None,
        };
        let authority =
            EmbeddedAuthority::start(store.clone(), None, options, Arc::clone(&clock), drain).await.unwrap();
        fs::create_dir(directory.path().join("audit")).unwrap();
        let audit = Audit::to_file(directory.path().join("audit/audit.jsonl"), 1 << 30, 1).unwrap();
        let audit = Arc::new(audit);
        let usage = Usage {
            admission: admission(64, 64, 64),
            hash_budget: Arc::new(HashBudget::new(HashLimits { burst: 1, per_second: 1 })),
            started: NOW,
        };
        let registry = crate::registry::publish(store.entries());
        let admin = Admin { store: store.clone(), registry, authority: authority.clone(), audit, clock, usage, access };
        socket::serve(&socket, routes(admin));
        Self { store, authority, socket, _drain: trigger, directory }
    }

    /// Event, outcome and entry of every record, after the first `seen` of them.
    fn recorded(&self, seen: usize) -> Vec<String> {
        let line = |record: &Value| {
            assert_eq!(record["uid"], own_uid());
            assert_eq!(record["pid"], std::process::id());
            assert_eq!(record["time"], "2027-01-15T08:00:00Z");
            let text = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
            [text("event"), text("outcome"), text("entry")].join(" ")
        };
        self.records().iter().skip(seen).map(line).collect()
    }

    fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory.path().join("audit/audit.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All records, once there are `count`: a refusal is answered before it is written.
    async fn records_once(&self, count: usize) -> Vec<Value> {
        let written = async {
            loop {
                let records = self.records();
                if records.len() >= count {
                    return records;
                }
                tokio::task::yield_now().await;
            }
        };
        let records = tokio::time::timeout(Duration::from_secs(60), written).await.expect("records are written");
        assert_eq!(records.len(), count);
        records
    }

    async fn registry(&self) -> RegistryClient<Channel> {
        RegistryClient::new(connect(&self.socket).await)
    }

    async fn apply(&self, text: &str, prune: bool, dry_run: bool) -> Result<ApplyResponse, Status> {
        let source = Source { name: "entries.yaml".to_owned(), text: text.to_owned() };
        let request = ApplyRequest { sources: vec![source], prune, dry_run };
        self.registry().await.apply(request).await.map(tonic::Response::into_inner)
    }

    /// Sets the bundle of another trust domain behind the back of the API.
    pub(crate) async fn set_bundle(&self, trust_domain: &str, document: &str) {
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        self.store.set_bundle(trust_domain, document.to_owned(), true, false).await.unwrap();
    }

    /// Applies entries with these ids that federate with `trust_domain`.
    pub(crate) async fn apply_federating(&self, ids: &[&str], trust_domain: &str) {
        let of = |id: &&str| format!("{}federates_with: [{trust_domain}]\n", entry(id, 1));
        self.apply(&ids.iter().map(of).collect::<String>(), false, false).await.unwrap();
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.store.entries().borrow().entries.iter().map(|entry| entry.id.to_string()).collect()
    }
}

async fn connect(socket: &Path) -> Channel {
    Endpoint::try_from(format!("unix:{}", socket.display())).unwrap().connect().await.unwrap()
}

fn entry(id: &str, uid: u32) -> String {
    format!("---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors:\n  - unix:uid:{uid}\n")
}

fn kinds(response: &ApplyResponse) -> Vec<(&str, ChangeKind)> {
    response.changes.iter().map(|change| (change.id.as_str(), change.kind())).collect()
}

#[tokio::test]
async fn entries_are_applied_listed_and_deleted_and_each_change_is_recorded() {
    use ChangeKind::{Created, Deleted, Unchanged, Updated};
    let agent = Agent::start(Access::default()).await;
    let first = agent.apply(&(entry("b", 1) + &entry("a", 1)), false, false).await.unwrap();
    assert_eq!((first.revision, kinds(&first)), (1, vec![("a", Created), ("b", Created)]));
    assert_eq!(agent.recorded(0), ["entry_apply created a", "entry_apply created b"]);

    let second = agent.apply(&(entry("a", 1) + &entry("c", 1)), true, false).await.unwrap();
    assert_eq!(kinds(&second), [("a", Unchanged), ("b", Deleted), ("c", Created)]);
    assert_eq!(agent.recorded(2), ["entry_delete deleted b", "entry_apply created c"]);

    let third = agent.apply(&entry("a", 2), false, false).await.unwrap();
    assert_eq!(kinds(&third), [("a", Updated)]);
    assert!(third.changes[0].before.contains("unix:uid:1") && third.changes[0].after.contains("unix:uid:2"));
    assert_eq!(agent.recorded(4), ["entry_apply updated a"]);

    let mut registry = agent.registry().await;
    let listed = registry.list(ListRequest { ids: vec![] }).await.unwrap().into_inner();
    assert_eq!(listed.revision, 3);
    assert_eq!(listed.entries.iter().map(|yaml| yaml.lines().next().unwrap()).collect::<Vec<_>>(), ["id: a", "id: c"]);
    let one = registry.list(ListRequest { ids: vec!["c".to_owned()] }).await.unwrap().into_inner();
    assert_eq!(one.entries, [&listed.entries[1][..]]);
    let none = registry.list(ListRequest { ids: vec!["b".to_owned()] }).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);

    let both = DeleteRequest { ids: vec!["a".to_owned(), "b".to_owned()] };
    assert_eq!(registry.delete(both).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(agent.ids(), ["a", "c"]);
    let deleted = registry.delete(DeleteRequest { ids: vec!["a".to_owned()] }).await.unwrap().into_inner();
    assert_eq!((deleted.revision, kinds(&deleted)), (4, vec![("a", Deleted)]));
    // Nothing of the delete that was refused: it was not about to happen.
    assert_eq!(agent.recorded(5), ["entry_delete deleted a"]);
    let nothing = registry.delete(DeleteRequest { ids: vec![] }).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_records_nothing() {
    let agent = Agent::start(Access::default()).await;
    let planned = agent.apply(&entry("a", 1), false, true).await.unwrap();
    assert_eq!((planned.revision, kinds(&planned)), (0, vec![("a", ChangeKind::Created)]));
    assert!(agent.ids().is_empty() && agent.records().is_empty());
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_changed() {
    let agent = Agent::start(Access::default()).await;
    agent.apply(&entry("a", 1), false, false).await.unwrap();
    // The place of the audit file is gone, so that no line can be written.
    let audit = agent.directory.path().join("audit");
    fs::rename(&audit, agent.directory.path().join("gone")).unwrap();

    let applied = agent.apply(&entry("b", 1), true, false).await.unwrap_err();
    assert_eq!(applied.code(), Code::Unavailable);
    assert!(applied.message().starts_with("nothing was changed: cannot "), "{applied}");
    let deleted = agent.registry().await.delete(DeleteRequest { ids: vec!["a".to_owned()] }).await.unwrap_err();
    assert_eq!(deleted.code(), Code::Unavailable);
    assert_eq!(agent.ids(), ["a"]);

    let mut authority = AuthorityClient::new(connect(&agent.socket).await);
    assert_eq!(
        authority.prepare(PrepareRequest { kind: KeyKind::Jwt.into() }).await.unwrap_err().code(),
        Code::Unavailable
    );
    let shown = authority.show(ShowAuthorityRequest {}).await.unwrap().into_inner();
    assert_eq!(states(&shown), ["active"]);

    fs::create_dir(&audit).unwrap();
    agent.apply(&entry("b", 1), true, false).await.unwrap();
    assert_eq!(agent.ids(), ["b"]);
}

#[tokio::test]
async fn problems_are_told_with_file_line_and_field() {
    let agent = Agent::start(Access::default()).await;
    let wrong = entry("a", 1) + &entry("a", 2) + &entry("b", 1).replace("example.org", "other.example");
    let refused = agent.apply(&wrong, false, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let lines: Vec<_> = refused.message().lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("entries.yaml:7: id: "), "{}", lines[0]);
    assert!(lines[1].starts_with("entries.yaml:13: spiffe_id: "), "{}", lines[1]);
    assert!(agent.ids().is_empty() && agent.records().is_empty());

    // More than a header block takes: told as far as it goes, not lost with the connection.
    let many = "---\nid: a\n".repeat(900);
    let refused = agent.apply(&many, false, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().lines().last().unwrap().ends_with(" more"));
}

#[tokio::test]
async fn prune_with_nothing_to_keep_is_refused() {
    let agent = Agent::start(Access::default()).await;
    agent.apply(&entry("a", 1), false, false).await.unwrap();
    for empty in ["", "---\n", "# all entries have moved\n"] {
        assert_eq!(agent.apply(empty, true, false).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(agent.ids(), ["a"]);
}

#[tokio::test]
async fn entries_of_a_file_are_changed_in_that_file() {
    let read_only = Some("dev/entries.yaml".to_owned());
    let agent = Agent::start(Access { read_only, ..Access::default() }).await;
    let refused = agent.apply(&entry("a", 1), false, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "entries come from dev/entries.yaml: edit and save that file");
    let mut registry = agent.registry().await;
    let refused = registry.delete(DeleteRequest { ids: vec!["a".to_owned()] }).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(agent.records().is_empty());
    assert_eq!(kinds(&agent.apply(&entry("a", 1), false, true).await.unwrap()), [("a", ChangeKind::Created)]);
    assert!(registry.list(ListRequest { ids: vec![] }).await.unwrap().into_inner().entries.is_empty());
}

fn states(shown: &ShowAuthorityResponse) -> Vec<&str> {
    shown.jwt_keys.iter().map(|key| key.state.as_str()).collect()
}

#[tokio::test]
async fn the_authority_is_shown_and_moved_on_and_each_move_is_recorded() {
    let agent = Agent::start(Access::default()).await;
    let mut authority = AuthorityClient::new(connect(&agent.socket).await);
    let shown = authority.show(ShowAuthorityRequest {}).await.unwrap().into_inner();
    assert_eq!((shown.trust_domain.as_str(), states(&shown)), ("example.org", vec!["active"]));
    assert_eq!((shown.jwt_keys[0].algorithm.as_str(), shown.jwt_keys[0].created), ("ES256", NOW.seconds()));
    assert!(shown.next_rotation_at > NOW.seconds());
    let mut bundles = BundlesClient::new(connect(&agent.socket).await);
    let bundle = bundles.show(GetBundleRequest::default()).await.unwrap().into_inner().document;
    assert!(bundle.contains("spiffe_sequence") && bundle.contains(&shown.jwt_keys[0].kid), "{bundle}");

    let early = authority.activate(ActivateRequest { kind: KeyKind::Jwt.into() }).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);
    assert_eq!(agent.recorded(0), ["authority_activate activated -", "authority_activate failed -"]);
    assert_eq!(
        states(&authority.prepare(PrepareRequest { kind: KeyKind::Jwt.into() }).await.unwrap().into_inner()),
        ["active", "prepared"]
    );
    assert_eq!(
        authority.prepare(PrepareRequest { kind: KeyKind::Jwt.into() }).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    assert_eq!(
        states(&authority.activate(ActivateRequest { kind: KeyKind::Jwt.into() }).await.unwrap().into_inner()),
        ["retiring", "active"]
    );
    let moves = ["prepare prepared", "prepare prepared", "prepare failed", "activate activated"];
    assert_eq!(agent.recorded(2), moves.map(|step| format!("authority_{step} -")));
}

#[tokio::test]
async fn all_the_entries_of_a_large_agent_are_one_request() {
    let agent = Agent::start(Access::default()).await;
    let owner = "o".repeat(900);
    let half = |numbers: std::ops::Range<u32>| Source {
        name: "entries.yaml".to_owned(),
        text: numbers.map(|n| format!("{}owner: {owner}\n", entry(&format!("e{n}"), n))).collect(),
    };
    let request = ApplyRequest { sources: vec![half(0..4000), half(4000..8000)], prune: true, dry_run: false };
    // Twice what a gRPC message may be by default.
    assert!(request.sources.iter().map(|source| source.text.len()).sum::<usize>() > 2 * 3_900_000);
    let mut registry = agent.registry().await.max_decoding_message_size(MAX_MESSAGE_BYTES);
    assert_eq!(registry.apply(request).await.unwrap().into_inner().changes.len(), 8000);
    assert_eq!(registry.list(ListRequest { ids: vec![] }).await.unwrap().into_inner().entries.len(), 8000);
}
