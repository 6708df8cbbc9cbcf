//! Values to wire types and back.

use countersign_common::proto::workload::JwtsvidRequest;
use countersign_common::spiffe_id::SpiffeId;
use countersign_common::svid::jwt::ValidatedJwtSvid;
use prost_types::value::Kind;
use tonic::Code;

use super::status;
use super::wire::{self, Malformed};
use crate::identity::{Fault, Refusal};
use crate::policy::PolicyRefusal;

fn request(audience: &[&str], spiffe_id: &str) -> JwtsvidRequest {
    JwtsvidRequest { audience: audience.iter().map(|&a| a.to_owned()).collect(), spiffe_id: spiffe_id.to_owned() }
}

#[test]
fn wa_8_a_request_without_its_mandatory_field_is_malformed() {
    assert_eq!(wire::jwt_request(request(&[], "")).unwrap_err(), Malformed::NoAudience);
    assert_eq!(wire::jwt_request(request(&["a", ""], "")).unwrap_err(), Malformed::NoAudience);
    assert!(matches!(wire::jwt_request(request(&["a"], "a")).unwrap_err(), Malformed::SpiffeId(_)));
    let long = "a".repeat(1025);
    assert_eq!(wire::jwt_request(request(&[&long], "")).unwrap_err(), Malformed::TooMuchAudience);
    assert_eq!(wire::jwt_request(request(&["a"; 101], "")).unwrap_err(), Malformed::TooMuchAudience);
    assert_eq!(wire::jwt_request(request(&["a"; 100], "")).unwrap().spiffe_id, None);
    assert!(wire::validation_request(String::new(), "a".to_owned()).is_err());
    assert!(wire::validation_request("a".to_owned(), String::new()).is_err());
}

/// Callers must not be able to tell one reason from another.
#[test]
fn every_denial_has_the_same_words() {
    let said = |refusal: &Refusal| (status::of(refusal).code(), status::of(refusal).message().to_owned());
    let no_entry = said(&Refusal::NoEntry);
    assert_eq!(no_entry, (Code::PermissionDenied, "no identity issued".to_owned()));
    assert_eq!(said(&Refusal::OtherIdentity { held: vec![] }), no_entry);
    assert_eq!(said(&Refusal::Policy(Vec::<PolicyRefusal>::new())), no_entry);
    assert_eq!(said(&Refusal::Exited), no_entry);
    let stopping = Refusal::Stopping;
    assert_eq!((stopping.fault(), said(&stopping).0), (Fault::Agent, Code::Unavailable));
}

#[test]
fn claims_become_a_struct_and_one_audience_becomes_a_list() {
    let claims = serde_json::json!({"aud": "a", "exp": 1_800_000_000_u64, "deep": {"list": [1.5, null, true]}});
    let serde_json::Value::Object(claims) = claims else { panic!("an object") };
    let valid = ValidatedJwtSvid { spiffe_id: SpiffeId::parse("spiffe://td/a").unwrap(), claims };
    let response = wire::validation_response(valid);
    let fields = response.claims.unwrap().fields;
    assert!(matches!(&fields["aud"].kind, Some(Kind::ListValue(list)) if list.values.len() == 1));
    assert_eq!(fields["exp"].kind, Some(Kind::NumberValue(1_800_000_000.0)));
    assert!(matches!(&fields["deep"].kind, Some(Kind::StructValue(_))));
    assert_eq!(response.spiffe_id, "spiffe://td/a");
}
