//! Signing keys of both kinds, moved on by operators.

use countersign_common::proto::admin::authority_client::AuthorityClient;
use countersign_common::proto::admin::{PrepareRequest, RevokeRequest, ShowAuthorityResponse, TaintRequest};
use tonic::Code;

use super::{Access, Agent, NOW, connect, states};

#[tokio::test]
async fn keys_of_both_kinds_are_moved_on_tainted_and_revoked_and_the_record_says_which() {
    let agent = Agent::start(Access::default()).await;
    let mut authority = AuthorityClient::new(connect(&agent.socket).await);
    let of_x509 = |shown: &ShowAuthorityResponse| -> Vec<_> {
        shown.x509_authorities.iter().map(|key| key.state.clone()).collect()
    };
    let shown = authority.prepare(PrepareRequest::default()).await.unwrap().into_inner();
    assert_eq!(
        (states(&shown), of_x509(&shown)),
        (vec!["active", "prepared"], vec!["active".into(), "prepared".into()])
    );
    assert!(shown.next_x509_rotation_at > NOW.seconds());
    let old = shown.x509_authorities[0].clone();
    assert_eq!((old.subject_key_id.len(), old.algorithm.as_str(), old.root.as_str()), (40, "ES256", ""));

    let id = old.subject_key_id[..8].to_owned();
    let active = authority.revoke(RevokeRequest { id: id.clone() }).await.unwrap_err();
    assert_eq!(active.code(), Code::FailedPrecondition, "{active}");
    assert!(active.message().contains("taint it first"), "{active}");
    let shown = authority.taint(TaintRequest { id: id.clone() }).await.unwrap().into_inner();
    assert_eq!(of_x509(&shown), ["tainted", "active"]);
    let shown = authority.revoke(RevokeRequest { id }).await.unwrap().into_inner();
    assert_eq!(of_x509(&shown), ["revoked", "active"]);

    let named = |id: &str| TaintRequest { id: id.to_owned() };
    assert_eq!(authority.taint(named("ffffffff-no-such-key")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(authority.taint(named("short")).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = authority.prepare(PrepareRequest { kind: 7 }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
    let recorded: Vec<_> =
        agent.records().iter().map(|record| (record["event"].clone(), record["key"].clone())).collect();
    let whole = old.subject_key_id.as_str();
    let expected = [
        ("authority_prepare", Some("JWT key and X.509 authority")),
        ("authority_revoke", Some(whole)),
        ("authority_revoke", None),
        ("authority_taint", Some(whole)),
        ("authority_revoke", Some(whole)),
        ("authority_taint", None),
        ("authority_taint", None),
    ];
    assert_eq!(recorded, expected.map(|(event, key)| (serde_json::json!(event), serde_json::json!(key))));
}
