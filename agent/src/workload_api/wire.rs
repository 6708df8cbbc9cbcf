//! Wire types to values and back. Protobuf goes no further than this.

use std::collections::HashMap;

use countersign_common::bundle::Bundle;
use countersign_common::proto::workload::{
    JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidResponse, X509BundlesResponse,
    X509svid, X509svidResponse,
};
use countersign_common::secret::BearerToken;
use countersign_common::spiffe_id::{SpiffeId, SpiffeIdError};
use countersign_common::svid::jwt::ValidatedJwtSvid;
use countersign_common::svid::x509::Certificate;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use crate::identity::{Bundles, IssuedJwt, IssuedX509, JwtRequest, X509Svids};

/// More audiences than any entry can allow are refused before anybody is attested.
const MAX_AUDIENCES: usize = 100;

/// The longest audience that is looked at, in bytes.
const MAX_AUDIENCE_BYTES: usize = 1024;

/// What is wrong with the form of a request. Told to the caller: it is about the request only.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("audience must be specified")]
    NoAudience,
    #[error("more audiences, or longer ones, than can be granted")]
    TooMuchAudience,
    #[error("spiffe_id {0}")]
    SpiffeId(#[from] SpiffeIdError),
    #[error("svid must be specified")]
    NoSvid,
}

/// A request whose form is right. What the audiences may be is policy.
pub(super) fn jwt_request(request: JwtsvidRequest) -> Result<JwtRequest, Malformed> {
    let JwtsvidRequest { audience: audiences, spiffe_id } = request;
    if audiences.is_empty() || audiences.iter().any(String::is_empty) {
        return Err(Malformed::NoAudience);
    }
    if audiences.len() > MAX_AUDIENCES || audiences.iter().any(|audience| audience.len() > MAX_AUDIENCE_BYTES) {
        return Err(Malformed::TooMuchAudience);
    }
    let spiffe_id = (!spiffe_id.is_empty()).then(|| SpiffeId::parse(&spiffe_id)).transpose()?;
    Ok(JwtRequest { audiences, spiffe_id })
}

pub(super) fn jwt_response(issued: &[IssuedJwt]) -> JwtsvidResponse {
    let on_wire = |issued: &IssuedJwt| Jwtsvid {
        spiffe_id: issued.svid.claims.sub.to_string(),
        svid: issued.svid.token.expose().to_owned(),
        hint: issued.hint.clone().unwrap_or_default(),
    };
    JwtsvidResponse { svids: issued.iter().map(on_wire).collect() }
}

pub(super) fn jwt_bundles(bundles: &Bundles) -> JwtBundlesResponse {
    JwtBundlesResponse { bundles: by_domain(bundles.all(), |bundle| bundle.to_jwks().into_bytes()) }
}

/// Takes the SVIDs, so that their keys are in the message alone.
pub(super) fn x509_svids(message: X509Svids) -> X509svidResponse {
    let X509Svids { svids, bundles } = message;
    let own = x509_bundle(bundles.own());
    let on_wire = |IssuedX509 { svid, hint, .. }: IssuedX509| X509svid {
        spiffe_id: svid.spiffe_id.to_string(),
        x509_svid: concatenated(&svid.chain),
        x509_svid_key: svid.key.expose().to_vec(),
        bundle: own.clone(),
        hint: hint.unwrap_or_default(),
    };
    let svids = svids.into_iter().map(on_wire).collect();
    X509svidResponse { svids, crl: Vec::new(), federated_bundles: by_domain(bundles.foreign(), x509_bundle) }
}

pub(super) fn x509_bundles(bundles: &Bundles) -> X509BundlesResponse {
    X509BundlesResponse { crl: Vec::new(), bundles: by_domain(bundles.all(), x509_bundle) }
}

/// Keyed by the SPIFFE ID of the trust domain, without a slash at the end.
fn by_domain<'b>(
    bundles: impl Iterator<Item = &'b Bundle>,
    on_wire: impl Fn(&Bundle) -> Vec<u8>,
) -> HashMap<String, Vec<u8>> {
    bundles.map(|bundle| (bundle.trust_domain.id().to_string(), on_wire(bundle))).collect()
}

fn x509_bundle(bundle: &Bundle) -> Vec<u8> {
    concatenated(&bundle.x509_authorities)
}

/// Certificates in DER, one behind the other.
fn concatenated(certificates: &[Certificate]) -> Vec<u8> {
    let whole: Vec<&[u8]> = certificates.iter().map(Certificate::der).collect();
    whole.concat()
}

pub(super) fn validation_request(audience: String, svid: String) -> Result<(String, BearerToken), Malformed> {
    let token = BearerToken::new(svid);
    if audience.is_empty() {
        return Err(Malformed::NoAudience);
    }
    if token.expose().is_empty() {
        return Err(Malformed::NoSvid);
    }
    Ok((audience, token))
}

pub(super) fn validation_response(valid: ValidatedJwtSvid) -> ValidateJwtsvidResponse {
    let mut claims = valid.claims;
    // RFC 7519 allows one audience as a bare string; callers get a list always.
    if let Some(aud @ serde_json::Value::String(_)) = claims.get_mut("aud") {
        *aud = serde_json::Value::Array(vec![aud.take()]);
    }
    ValidateJwtsvidResponse { spiffe_id: valid.spiffe_id.to_string(), claims: Some(to_struct(claims)) }
}

fn to_struct(object: serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: object.into_iter().map(|(name, value)| (name, to_value(value))).collect() }
}

/// `google.protobuf.Struct` has doubles only; a `NumericDate` is exact in one until the year 285 million.
fn to_value(value: serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(value) => Kind::StringValue(value),
        serde_json::Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(to_value).collect() })
        }
        serde_json::Value::Object(object) => Kind::StructValue(to_struct(object)),
    };
    Value { kind: Some(kind) }
}
