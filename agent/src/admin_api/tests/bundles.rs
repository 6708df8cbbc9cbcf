//! Bundles of other trust domains through the admin API: what is recorded before what takes effect.

use std::fs;

use countersign_common::proto::admin::bundles_client::BundlesClient;
use countersign_common::proto::admin::{
    ChangeKind, DeleteBundleRequest, GetBundleRequest, ListBundlesRequest, SetBundleRequest, SetBundleResponse,
};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{Access, Agent, connect};
use crate::authority::Authority as _;

const NONE: &str = r#"{"keys": []}"#;

async fn client(agent: &Agent) -> BundlesClient<Channel> {
    BundlesClient::new(connect(&agent.socket).await)
}

async fn set(agent: &Agent, name: &str, document: &str, force: bool) -> Result<SetBundleResponse, Status> {
    let request = SetBundleRequest { trust_domain: name.to_owned(), document: document.to_owned(), force };
    client(agent).await.set(request).await.map(tonic::Response::into_inner)
}

async fn delete(agent: &Agent, name: &str) -> Result<Vec<String>, Status> {
    let request = DeleteBundleRequest { trust_domain: name.to_owned() };
    client(agent).await.delete(request).await.map(|deleted| deleted.into_inner().entries)
}

fn sequence(sequence: u64) -> String {
    format!(r#"{{"keys": [], "spiffe_sequence": {sequence}}}"#)
}

/// Event, outcome, trust domain and reason of every record.
fn recorded(agent: &Agent) -> Vec<String> {
    let line = |record: &serde_json::Value| {
        let text = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
        [text("event"), text("outcome"), text("spiffe_id"), text("reason")].join(" ")
    };
    agent.records().iter().map(line).collect()
}

#[tokio::test]
async fn each_change_is_recorded_before_it_is_answered_and_holds_when_it_is() {
    let agent = Agent::start(Access::default()).await;
    let known = || agent.authority.bundles().borrow().foreign.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(set(&agent, "b.example", &sequence(1), false).await.unwrap().kind(), ChangeKind::Created);
    assert_eq!(known(), ["b.example"], "workloads get it from now on");
    assert_eq!(set(&agent, "b.example", &sequence(2), false).await.unwrap().kind(), ChangeKind::Updated);
    assert_eq!(set(&agent, "b.example", &sequence(2), false).await.unwrap().kind(), ChangeKind::Unchanged);
    assert_eq!(set(&agent, "b.example", &sequence(1), true).await.unwrap().bundle.unwrap().sequence, 1);
    agent.apply_federating(&["a"], "b.example").await;
    assert_eq!(delete(&agent, "b.example").await.unwrap(), ["a"]);
    assert!(known().is_empty());
    let keys = "with 0 JWT and 0 X.509 keys";
    let td = "spiffe://b.example";
    assert_eq!(
        recorded(&agent),
        [
            format!("bundle_set created {td} sequence 1 {keys}"),
            format!("bundle_set updated {td} sequence 2 {keys}, before sequence 1 {keys}"),
            format!("bundle_set updated {td} sequence 1 {keys}, before sequence 2 {keys}, forced"),
            "entry_apply created spiffe://example.org/a -".to_owned(),
            format!("bundle_delete deleted {td} sequence 1 {keys}"),
        ]
    );
}

#[tokio::test]
async fn what_is_refused_is_told_by_its_code_and_changes_and_records_nothing() {
    let agent = Agent::start(Access::default()).await;
    agent.set_bundle("b.example", &sequence(5)).await;
    for (name, document, code) in [
        ("b.example", sequence(4), Code::FailedPrecondition),
        ("b.example", NONE.to_owned(), Code::FailedPrecondition),
        ("b.example", sequence(5).replace("[]", "[{}]"), Code::FailedPrecondition),
        ("b.example", "{}".to_owned(), Code::InvalidArgument),
        ("example.org", NONE.to_owned(), Code::InvalidArgument),
        ("B.example", NONE.to_owned(), Code::InvalidArgument),
        ("", NONE.to_owned(), Code::InvalidArgument),
    ] {
        assert_eq!(set(&agent, name, &document, false).await.unwrap_err().code(), code, "{name} {document}");
    }
    assert_eq!(delete(&agent, "c.example").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(delete(&agent, "example.org").await.unwrap_err().code(), Code::InvalidArgument);
    let shown = client(&agent).await.show(GetBundleRequest { trust_domain: "b.example".to_owned() }).await.unwrap();
    assert_eq!(shown.into_inner().document, sequence(5));
    assert!(agent.records().is_empty());
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_changed() {
    let agent = Agent::start(Access::default()).await;
    agent.set_bundle("b.example", &sequence(5)).await;
    let audit = agent.directory.path().join("audit");
    fs::rename(&audit, agent.directory.path().join("gone")).unwrap();
    let refused = set(&agent, "b.example", &sequence(6), false).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().starts_with("nothing was changed: cannot "), "{refused}");
    assert_eq!(delete(&agent, "b.example").await.unwrap_err().code(), Code::Unavailable);
    let listed = client(&agent).await.list(ListBundlesRequest {}).await.unwrap().into_inner().bundles;
    assert_eq!((listed.len(), listed[1].sequence), (2, 5));
    fs::create_dir(&audit).unwrap();
    set(&agent, "b.example", &sequence(6), false).await.unwrap();
}

#[tokio::test]
async fn who_still_federates_is_named_as_far_as_a_message_goes() {
    let agent = Agent::start(Access::default()).await;
    agent.set_bundle("b.example", NONE).await;
    let ids: Vec<_> = (0..150).map(|n| format!("e{n:03}")).collect();
    agent.apply_federating(&ids.iter().map(String::as_str).collect::<Vec<_>>(), "b.example").await;
    let deleted = client(&agent).await.delete(DeleteBundleRequest { trust_domain: "b.example".to_owned() }).await;
    let deleted = deleted.unwrap().into_inner();
    assert_eq!((deleted.entries.len(), &*deleted.entries[99], deleted.entries_left_out), (100, "e099", 50));
}
