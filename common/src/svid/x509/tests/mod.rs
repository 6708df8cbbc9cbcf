//! Conformance with X509-SVID.md: each rule has a certificate that keeps it and one that breaks only it.

mod authority;
pub(crate) mod forge;
mod form;
mod issued;
mod leaf;
mod paths;
mod second_opinion;
mod text;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forge::*;

use super::*;
use crate::bundle::Bundle;
use crate::spiffe_id::TrustDomain;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const ID: &str = "spiffe://example.org/orders/api";
const DOMAIN: &str = "example.org";

fn before(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_seconds(now.seconds() - by.as_secs())
}

/// An authority that signs, at any place in a chain.
struct Issuer {
    key: Key,
    name: &'static str,
    key_id: [u8; 20],
    certificate: Certificate,
}

/// What an authority's certificate says if nothing is wrong with it.
pub(crate) fn authority_draft(name: &str, key: &Key, key_id: [u8; 20]) -> Draft {
    Draft {
        version: tlv(0xa0, &tlv(0x02, &[2])),
        serial: vec![0x42; 16],
        issuer: forge::name(name),
        from: before(NOW, 24 * HOUR),
        until: NOW.after(24 * HOUR),
        subject: forge::name(name),
        spki: key.spki(),
        extensions: Vec::new(),
        algorithm_outside: None,
    }
    .with(BASIC_CONSTRAINTS, true, &constraints(true, None))
    .with(KEY_USAGE, true, &bits(&[5, 6]))
    .with(SKI, false, &tlv(0x04, &key_id))
    .with(SAN, false, &sequence(&[&uri("spiffe://example.org")]))
}

/// An authority that signed its own certificate, with `change`.
fn root_of(key: Key, name: &'static str, change: impl FnOnce(Draft) -> Draft) -> Issuer {
    let key_id = [name.len().to_be_bytes()[7]; 20];
    let certificate = change(authority_draft(name, &key, key_id)).signed(&key);
    Issuer { key, name, key_id, certificate }
}

fn root() -> Issuer {
    root_of(Key::p256(), "root", |draft| draft)
}

impl Issuer {
    /// An authority below this one, with `change`.
    fn intermediate(&self, name: &'static str, change: impl FnOnce(Draft) -> Draft) -> Self {
        let key = Key::p256();
        let key_id = [name.len().to_be_bytes()[7]; 20];
        let draft = authority_draft(name, &key, key_id).but(|draft| draft.issuer = forge::name(self.name));
        let certificate = change(draft.with(AKI, false, &sequence(&[&tlv(0x80, &self.key_id)]))).signed(&self.key);
        Self { key, name, key_id, certificate }
    }

    /// What a leaf says if nothing is wrong with it.
    fn leaf_draft(&self) -> Draft {
        Draft {
            version: tlv(0xa0, &tlv(0x02, &[2])),
            serial: vec![0x17; 16],
            issuer: forge::name(self.name),
            from: before(NOW, Duration::from_secs(30)),
            until: NOW.after(HOUR),
            subject: forge::name(""),
            spki: workload_key(),
            extensions: Vec::new(),
            algorithm_outside: None,
        }
        .with(BASIC_CONSTRAINTS, true, &constraints(false, None))
        .with(KEY_USAGE, true, &bits(&[0]))
        .with(EKU, false, &purposes(&[1, 2]))
        .with(SKI, false, &tlv(0x04, &[0x88; 20]))
        .with(AKI, false, &sequence(&[&tlv(0x80, &self.key_id)]))
        .named(&[uri(ID)])
    }

    /// A leaf, with `change`.
    fn leaf(&self, change: impl FnOnce(Draft) -> Draft) -> Certificate {
        change(self.leaf_draft()).signed(&self.key)
    }
}

/// The public key of a workload: that of RFC 7517, appendix A.1.
fn workload_key() -> Vec<u8> {
    let coordinates = ["MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"];
    let [x, y] = coordinates.map(|text| URL_SAFE_NO_PAD.decode(text).unwrap());
    let p256 = sequence(&[&oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]), &oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])]);
    sequence(&[&p256, &tlv(0x03, &[&[0, 4], x.as_slice(), &y].concat())])
}

fn bundle_of(domain: &str, authorities: &[&Issuer]) -> Bundle {
    Bundle {
        trust_domain: TrustDomain::parse(domain).unwrap(),
        sequence: 1,
        refresh_hint: Duration::from_secs(300),
        jwt_authorities: Vec::new(),
        x509_authorities: authorities.iter().map(|issuer| issuer.certificate.clone()).collect(),
    }
}

/// The verdict on a chain under a bundle of these authorities.
fn verdict(chain: &[Certificate], authorities: &[&Issuer]) -> Result<ValidatedX509Svid, X509SvidError> {
    let bundle = bundle_of(DOMAIN, authorities);
    validate(chain, NOW, |domain| (domain.as_str() == DOMAIN).then_some(&bundle))
}

/// The verdict on a leaf with `change`, right under the root.
fn verdict_on_leaf(change: impl FnOnce(Draft) -> Draft) -> Result<ValidatedX509Svid, X509SvidError> {
    let root = root();
    verdict(&[root.leaf(change)], &[&root])
}
