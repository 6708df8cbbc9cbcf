//! Values to wire types and back.

use countersign_common::bundle::Bundle;
use countersign_common::clock::Timestamp;
use countersign_common::proto::workload::JwtsvidRequest;
use countersign_common::secret::SecretBytes;
use countersign_common::spiffe_id::{SpiffeId, TrustDomain};
use countersign_common::svid::jwt::ValidatedJwtSvid;
use countersign_common::svid::x509::{Certificate, X509Svid};
use prost_types::value::Kind;
use tonic::Code;

use super::status;
use super::wire::{self, Malformed};
use crate::identity::{Bundles, Fault, IssuedX509, Refusal, X509Svids};
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

fn bundle(trust_domain: &str, certificates: &[&str]) -> Bundle {
    let certificates = certificates.iter().map(|der| Certificate::from_der(der.as_bytes()));
    Bundle {
        trust_domain: TrustDomain::parse(trust_domain).unwrap(),
        sequence: 1,
        refresh_hint: std::time::Duration::from_secs(300),
        jwt_authorities: vec![],
        x509_authorities: certificates.collect(),
    }
}

fn svid(id: &str, chain: &[&str]) -> X509Svid {
    X509Svid {
        spiffe_id: SpiffeId::parse(id).unwrap(),
        chain: chain.iter().map(|der| Certificate::from_der(der.as_bytes())).collect(),
        key: SecretBytes::new(b"key".to_vec()),
        not_before: Timestamp::from_seconds(0),
        not_after: Timestamp::from_seconds(1),
        serial: "01".to_owned(),
        authority: "a1".to_owned(),
    }
}

#[test]
fn x509_svids_come_with_the_own_bundle_and_with_foreign_ones_apart() {
    let foreign = vec![bundle("none.example", &[]), bundle("other.example", &["c", "d"])];
    let bundles = Bundles::for_tests(bundle("td", &["a", "b"]), foreign);
    let svids = vec![
        IssuedX509::for_tests(svid("spiffe://td/x", &["leaf", "above"]), Some("internal")),
        IssuedX509::for_tests(svid("spiffe://td/y", &["other"]), None),
    ];
    let message = wire::x509_svids(X509Svids { svids, bundles: bundles.clone() });
    let [first, second] = &message.svids[..] else { panic!("two SVIDs") };
    assert_eq!((first.spiffe_id.as_str(), first.hint.as_str()), ("spiffe://td/x", "internal"));
    assert_eq!(
        (&first.x509_svid[..], &first.x509_svid_key[..], &first.bundle[..]),
        (&b"leafabove"[..], &b"key"[..], &b"ab"[..])
    );
    assert_eq!((second.hint.as_str(), &second.bundle[..]), ("", &b"ab"[..]));
    assert!(message.crl.is_empty());
    let mut federated: Vec<_> = message.federated_bundles.into_iter().collect();
    federated.sort();
    // One without authorities says that nothing of its trust domain is valid.
    let known = [("spiffe://none.example", &b""[..]), ("spiffe://other.example", b"cd")];
    assert_eq!(federated, known.map(|(domain, der)| (domain.to_owned(), der.to_owned())));

    let all = wire::x509_bundles(&bundles);
    assert_eq!((all.bundles.len(), &all.bundles["spiffe://td"][..]), (3, &b"ab"[..]));
    let jwks = wire::jwt_bundles(&bundles).bundles;
    assert_eq!((jwks.len(), &jwks["spiffe://other.example"][..]), (3, &b"{\"keys\":[]}"[..]));
}
