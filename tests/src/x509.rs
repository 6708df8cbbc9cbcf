//! An X509-SVID as a workload was given it, looked at as whoever relies on it does.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_common::bundle::Bundle;
use countersign_common::clock::Timestamp;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::x509::{
    Certificate, CertificateFacts, MAX_CHAIN_CERTIFICATES, X509SvidError, facts, split, validate,
};

use crate::workload::Answer;

/// The first X509-SVID of a message, and the bundle that came with it.
#[derive(Clone, Debug)]
pub struct GivenX509 {
    chain: Vec<Certificate>,
    bundle: Bundle,
}

impl Answer {
    /// The first X509-SVID.
    ///
    /// # Panics
    /// There is none.
    pub fn x509(&self) -> GivenX509 {
        let svid = &self.0["svids"][0];
        let certificates = |name: &str| {
            let text = svid[name].as_str().unwrap_or_else(|| panic!("no X509-SVID in {}", self.0));
            split(&STANDARD.decode(text).expect("base64"), MAX_CHAIN_CERTIFICATES).expect("certificates")
        };
        let bundle = Bundle {
            trust_domain: TrustDomain::parse("example.org").expect("a trust domain"),
            sequence: 0,
            refresh_hint: Duration::ZERO,
            jwt_authorities: vec![],
            x509_authorities: certificates("bundle"),
        };
        GivenX509 { chain: certificates("chain"), bundle }
    }
}

impl GivenX509 {
    /// Whether its chain leads to the bundle that came with it, and all of that is valid at `now`.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, now: Timestamp) -> Result<(), X509SvidError> {
        self.check_against(&self.bundle, now)
    }

    /// The same for another bundle of the trust domain.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check_against(&self, bundle: &Bundle, now: Timestamp) -> Result<(), X509SvidError> {
        validate(&self.chain, now, |_| Some(bundle)).map(drop)
    }

    /// When the SVID itself is valid: from and to, both included.
    pub fn life(&self) -> (Timestamp, Timestamp) {
        let facts = self.facts();
        (facts.not_before, facts.not_after)
    }

    /// Who has signed it: a subject key id.
    pub fn authority(&self) -> Option<String> {
        self.facts().authority_key_id
    }

    fn facts(&self) -> CertificateFacts {
        facts(&self.chain[0]).expect("a certificate")
    }
}
