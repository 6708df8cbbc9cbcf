//! Documents as their holders have them, read anew: what a token and a certificate say, and whether a
//! verifier takes them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_common::bundle::Bundle;
use countersign_common::clock::Timestamp;
use countersign_common::svid::{jwt, x509};
use serde_json::Value;

use crate::identity::{Bundles, IssuedX509, X509Svids};

/// What is wrong, for people.
pub(super) type Fault = String;

/// Says what is wrong unless it `holds`.
pub(super) fn hold(holds: bool, fault: impl FnOnce() -> Fault) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(fault()) }
}

/// A JWT-SVID, by its bytes.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) kid: String,
    pub(super) sub: String,
    pub(super) aud: Vec<String>,
    pub(super) jti: String,
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
}

impl Token {
    /// Reads it; none if a claim is missing that each token has.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let json = |part: Option<Option<Vec<u8>>>| serde_json::from_slice::<Value>(&part??).ok();
        let (header, claims) = (json(parts.next())?, json(parts.next())?);
        let words = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            text: text.to_owned(),
            kid: words(&header["kid"])?,
            sub: words(&claims["sub"])?,
            aud: claims["aud"].as_array()?.iter().map(words).collect::<Option<_>>()?,
            jti: words(&claims["jti"]).filter(|jti| !jti.is_empty())?,
            iat: claims["iat"].as_u64()?,
            nbf: claims["nbf"].as_u64()?,
            exp: claims["exp"].as_u64()?,
        })
    }

    /// Whether a verifier with this bundle takes it for each of its audiences.
    pub(super) fn check(&self, bundle: &Bundle, now: u64) -> Result<(), Fault> {
        for audience in &self.aud {
            let checked = jwt::validate(&self.text, audience, Timestamp::from_seconds(now), |_| Some(bundle));
            let valid = checked.map_err(|error| format!("token {} is refused: {error}", self.jti))?;
            hold(valid.spiffe_id.as_str() == self.sub, || format!("token {} is for two subjects", self.jti))?;
        }
        Ok(())
    }
}

/// Without the token itself.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jti, kid, sub, aud, iat, nbf, exp, .. } = self;
        write!(f, "token {jti} of {kid} for {sub} to {aud:?}, issued {iat}, valid from {nbf} until {exp}")
    }
}

/// An X509-SVID, by its certificate.
pub(super) struct Leaf {
    pub(super) entry: String,
    pub(super) spiffe_id: String,
    pub(super) dns_names: Vec<String>,
    pub(super) serial: String,
    pub(super) authority: String,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    /// The private key.
    pub(super) key: Vec<u8>,
    chain: Vec<x509::Certificate>,
}

impl Leaf {
    fn read(issued: &IssuedX509) -> Option<Self> {
        let facts = x509::facts(issued.svid.chain.first()?).ok()?;
        Some(Self {
            entry: issued.entry.to_string(),
            spiffe_id: facts.spiffe_id?.to_string(),
            dns_names: facts.dns_names,
            serial: facts.serial,
            authority: facts.authority_key_id?,
            not_before: facts.not_before.seconds(),
            not_after: facts.not_after.seconds(),
            key: issued.svid.key.expose().to_vec(),
            chain: issued.svid.chain.clone(),
        })
    }

    /// When it was made: half a minute after it begins.
    pub(super) fn issued(&self) -> u64 {
        self.not_before + 30
    }

    pub(super) fn is_in_its_time(&self, now: u64) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether a verifier with this bundle takes it.
    pub(super) fn check(&self, bundle: &Bundle, now: u64) -> Result<(), Fault> {
        let checked = x509::validate(&self.chain, Timestamp::from_seconds(now), |_| Some(bundle));
        checked.map(drop).map_err(|error| format!("leaf {} is refused: {error}", self.serial))
    }
}

/// Without its key.
impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, serial, spiffe_id, authority, not_before, not_after, .. } = self;
        write!(f, "leaf {serial} of {authority} by {entry} for {spiffe_id}, valid from {not_before} until {not_after}")
    }
}

/// A message of a stream, whatever it is about.
pub(super) struct Said {
    /// None if one of them cannot be read.
    pub(super) leaves: Option<Vec<Leaf>>,
    pub(super) own: Bundle,
    pub(super) foreign: Vec<Bundle>,
}

impl From<X509Svids> for Said {
    fn from(message: X509Svids) -> Self {
        let leaves = message.svids.iter().map(Leaf::read).collect();
        Self { leaves, ..Self::from(message.bundles) }
    }
}

impl From<Bundles> for Said {
    fn from(bundles: Bundles) -> Self {
        Self { leaves: Some(vec![]), own: bundles.own().clone(), foreign: bundles.foreign().cloned().collect() }
    }
}
