//! Streams of trust bundles: that of the own trust domain, and those of others that the caller's
//! entries federate with (`SPIFFE_Workload_API.md`, sections 5.2.2 and 6.2.2).

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign_common::bundle::{Bundle, BundleSet};
use countersign_common::entry::Entry;
use countersign_common::spiffe_id::TrustDomain;

use super::account::Account;
use super::stream::{self, Granted, MessageStream, Subject};
use super::{Identity, Refusal};
use crate::attest::Attestation;
use crate::peer::Peer;
use crate::policy::{self, Limits, PolicyRefusal};

/// What SVIDs of one type are checked with. Bundles of one type never serve for another
/// (`SPIFFE_Workload_API.md`, section 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// Keys for JWT-SVIDs.
    Jwt,
    /// Certificates for X509-SVIDs.
    X509,
}

/// The bundles that one caller is given, for SVIDs of one type.
#[derive(Clone, Debug)]
pub struct Bundles {
    authorities: Authorities,
    own: Arc<Bundle>,
    foreign: Vec<Arc<Bundle>>,
}

impl Bundles {
    /// Of the own trust domain and of those that one of `entries` federates with, as far as they are
    /// known. One without authorities is given too: it says that nothing of its trust domain is valid
    /// (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4.1.3).
    pub(super) fn of(authorities: Authorities, set: &BundleSet, entries: &[Arc<Entry>]) -> Self {
        let wanted: BTreeSet<&TrustDomain> = entries.iter().flat_map(|entry| &entry.federates_with).collect();
        let foreign = wanted.into_iter().filter_map(|domain| set.foreign.get(domain)).map(Arc::clone);
        Self { authorities, own: Arc::clone(&set.own), foreign: foreign.collect() }
    }

    /// Of the agent's own trust domain.
    pub fn own(&self) -> &Bundle {
        &self.own
    }

    /// Of other trust domains, in the order of their names.
    pub fn foreign(&self) -> impl Iterator<Item = &Bundle> {
        self.foreign.iter().map(|bundle| &**bundle)
    }

    /// All of them, the own one first.
    pub fn all(&self) -> impl Iterator<Item = &Bundle> {
        std::iter::once(self.own()).chain(self.foreign())
    }
}

#[cfg(test)]
impl Bundles {
    /// For tests of what becomes of them on the wire.
    pub(crate) fn for_tests(own: Bundle, foreign: Vec<Bundle>) -> Self {
        let foreign = foreign.into_iter().map(Arc::new).collect();
        Self { authorities: Authorities::X509, own: Arc::new(own), foreign }
    }
}

/// Equal where a message of them would be: in the authorities of the one type.
impl PartialEq for Bundles {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Bundle, &Bundle)| {
            one.trust_domain == other.trust_domain
                && match self.authorities {
                    Authorities::Jwt => one.jwt_authorities == other.jwt_authorities,
                    Authorities::X509 => one.x509_authorities == other.x509_authorities,
                }
        };
        self.authorities == other.authorities
            && self.foreign.len() == other.foreign.len()
            && self.all().zip(other.all()).all(same)
    }
}

impl Identity {
    /// The bundles for SVIDs of one type: the first message at once, later ones on change, each
    /// after the caller was attested anew (`SPIFFE_Workload_API.md`, section 4.3).
    ///
    /// # Errors
    /// The caller is entitled to no bundle.
    pub async fn watch_bundles(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        authorities: Authorities,
    ) -> Result<MessageStream<Bundles>, Refusal> {
        stream::open(self, peer, authorities).await
    }
}

impl Subject for Authorities {
    type Content = Bundles;
    type Message = Bundles;

    fn event(&self) -> &'static str {
        match self {
            Self::Jwt => "jwt_bundles",
            Self::X509 => "x509_bundles",
        }
    }

    fn content(
        &self,
        identity: &Identity,
        attestation: &Attestation,
        entries: Vec<Arc<Entry>>,
        bundles: &BundleSet,
    ) -> Result<Granted<Bundles>, Refusal> {
        let (entries, withheld) = content_with_image(&identity.limits, attestation, entries)?;
        let content = Bundles::of(*self, bundles, &entries);
        Ok(Granted { entries, content, withheld })
    }

    async fn make(&mut self, _: &Identity, content: &Bundles, _: &mut Account) -> Result<Bundles, Refusal> {
        Ok(content.clone())
    }

    async fn record(&self, _: &Bundles, account: &mut Account) -> Result<(), Refusal> {
        account.answered("served").await
    }
}

/// Those of the matched entries that are content with the image of the process, never none, and
/// why the others are not.
pub(super) fn content_with_image(
    limits: &Limits,
    attestation: &Attestation,
    entries: Vec<Arc<Entry>>,
) -> Result<(Vec<Arc<Entry>>, Vec<PolicyRefusal>), Refusal> {
    let (mut content, mut refused) = (Vec::with_capacity(entries.len()), Vec::new());
    for entry in entries {
        match policy::check_image(attestation, &entry, &limits.lifted) {
            Ok(()) => content.push(entry),
            Err(refusal) => refused.push(refusal),
        }
    }
    if content.is_empty() { Err(Refusal::Policy(refused)) } else { Ok((content, refused)) }
}
