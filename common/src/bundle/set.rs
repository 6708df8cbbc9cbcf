//! All bundles of an agent, as one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Bundle;
use crate::spiffe_id::TrustDomain;

/// The bundle of the agent's own trust domain, and those of others that it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleSet {
    /// Of the agent's own trust domain.
    pub own: Arc<Bundle>,
    /// Of other trust domains; never that of the own one.
    pub foreign: BTreeMap<TrustDomain, Arc<Bundle>>,
    /// Authorities of the own trust domain whose SVIDs are to be replaced now: the key ids of JWT
    /// authorities and the subject key ids of X.509 authorities. Tainted ones are still in the
    /// bundle, revoked ones not any more; a name is here until all that it signed has expired.
    pub tainted: BTreeSet<String>,
}

impl BundleSet {
    /// The bundle of a trust domain, if it is known.
    pub fn of(&self, trust_domain: &TrustDomain) -> Option<&Arc<Bundle>> {
        if self.own.trust_domain == *trust_domain { Some(&self.own) } else { self.foreign.get(trust_domain) }
    }
}
