//! Whoever signs: the narrow door to the trust domain's signing authority.
//!
//! Embedded in this process today. Nothing outside this room may assume that the
//! signing key is here: a SPIRE server fits behind the same trait.

pub mod embedded;

use std::sync::Arc;

use async_trait::async_trait;
use countersign_common::bundle::BundleSet;
use countersign_common::clock::Timestamp;
use countersign_common::entry::EntrySet;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::{JwtSvid, JwtSvidError};
use countersign_common::svid::x509::{Certificate, X509SvidError};
use tokio::sync::watch;

use crate::policy::{Grant, X509Grant};
use crate::store::StoreError;

/// Why the authority did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// No key may sign now; the next one could not be made or saved. Trying again may help.
    #[error("no key may sign this now; the log says why the next one could not be made or saved")]
    NoActiveKey,
    /// The grant's own limits leave no time in which a token would be valid.
    #[error("the grant is over")]
    GrantOver,
    /// The crypto library failed.
    #[error("the crypto library could not {0}")]
    Crypto(&'static str),
    /// The kernel refuses a thread. Trying again may help.
    #[error("cannot start a thread to make a key; see that the agent may have more threads and memory")]
    Thread,
    /// The token that was signed breaks a rule, and was thrown away. A fault of this agent.
    #[error("a token of our own breaks a rule and was thrown away")]
    Product(#[source] JwtSvidError),
    /// The token that the key is in, or is to be made in, failed.
    #[error(transparent)]
    Pkcs11(embedded::Pkcs11Error),
    /// The authority's task has ended: the agent is stopping.
    #[error("the authority has stopped")]
    Stopped,
    /// The operator asked for what cannot be.
    #[error("unfit authority options: {0}")]
    Options(&'static str),
    /// The store could not be read.
    #[error("cannot read the authority's state from the store")]
    Load(#[source] StoreError),
    /// The store could not be written; the change did not happen.
    #[error("cannot save the authority's state to the store; nothing was changed")]
    Save(#[source] StoreError),
    /// The saved state cannot be opened.
    #[error("the authority's saved state cannot be used")]
    State(#[source] embedded::StateError),
    /// A second key cannot be prepared.
    #[error("{} {id} is prepared already; activate it first", kind.name())]
    AlreadyPrepared {
        /// Of which kind.
        kind: embedded::Kind,
        /// Which key waits.
        id: String,
    },
    /// There is no key to activate.
    #[error("no {} is prepared; prepare one first, and give others time to fetch the bundle", .0.name())]
    NothingPrepared(embedded::Kind),
    /// Too many keys are published; each would have to be fetched by everyone.
    #[error("{count} of the kind {} are kept already; wait until one that is done is dropped", kind.name())]
    TooManyKeys {
        /// Of which kind.
        kind: embedded::Kind,
        /// How many there are.
        count: usize,
    },
    /// The operator named no key, or more than one.
    #[error(transparent)]
    Name(#[from] embedded::NameError),
    /// A key that signs or signed can be tainted, and no other.
    #[error("{id} is {state}: a key that signs or signed can be tainted, no other")]
    NotToTaint {
        /// Which key.
        id: String,
        /// What it is doing.
        state: &'static str,
    },
    /// The active key cannot be revoked: others would have nothing to check against what replaces its documents.
    #[error(
        "{id} is active; taint it first (countersign authority taint {id}), which has what it signed replaced at once, and revoke it then"
    )]
    RevokeActive {
        /// Which key.
        id: String,
    },
    /// It was revoked before.
    #[error("{id} is revoked already")]
    RevokedAlready {
        /// Which key.
        id: String,
    },
    /// What verifiers know is the root, and that stays for others.
    #[error(
        "X.509 authority {id} is under an upstream root that is still in use, so verifiers accept what it signed until \
         {ends}; to end that sooner, give authority.upstream another root"
    )]
    RootInUse {
        /// Which authority.
        id: String,
        /// When all that it signed has expired.
        ends: Timestamp,
    },
    /// The certificate upstream is not valid now.
    #[error(
        "the certificates of authority.upstream are valid from {from} to {until}; put newer ones there, restart the agent"
    )]
    UpstreamOver {
        /// From when on.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// The certificate that was signed breaks a rule, and was thrown away. A fault of this agent.
    #[error("a certificate of our own breaks a rule and was thrown away: {0}")]
    X509Product(X509SvidError),
}

/// What the authority signed: an X509-SVID without its private key.
#[derive(Clone, Debug)]
pub struct SignedX509 {
    /// The leaf, then the intermediates that lead to an authority of the bundle, without that one.
    pub chain: Vec<Certificate>,
    /// From when on the leaf is valid.
    pub not_before: Timestamp,
    /// The last moment at which the leaf is valid.
    pub not_after: Timestamp,
    /// The leaf's serial number in lower-case hexadecimal.
    pub serial: String,
    /// Which X.509 authority signed it: its subject key id in lower-case hexadecimal.
    pub authority: String,
}

/// A signing authority: entries and bundles as snapshots with changes, and signatures.
#[async_trait]
pub trait Authority: Send + Sync + 'static {
    /// The trust domain that it signs for.
    fn trust_domain(&self) -> &TrustDomain;

    /// The entries that this agent may serve: the latest, and news of each later set.
    fn entries(&self) -> watch::Receiver<Arc<EntrySet>>;

    /// The bundles: the latest, and news of each change.
    fn bundles(&self) -> watch::Receiver<Arc<BundleSet>>;

    /// Signs a JWT-SVID with the terms of `grant`. Its expiry is never later than the
    /// grant's limits or the signing key's own end.
    ///
    /// With a grant there is a signature:
    ///
    /// ```
    /// use countersign_agent::authority::{Authority, AuthorityError};
    /// use countersign_agent::policy::Grant;
    /// use countersign_common::svid::jwt::JwtSvid;
    ///
    /// async fn sign(authority: &dyn Authority, leave: &Grant) -> Result<JwtSvid, AuthorityError> {
    ///     authority.sign_jwt(leave).await
    /// }
    /// ```
    ///
    /// Without one there is none, whoever the process was found to be:
    ///
    /// ```compile_fail,E0308
    /// use countersign_agent::authority::{Authority, AuthorityError};
    /// use countersign_agent::attest::Attestation;
    /// use countersign_common::svid::jwt::JwtSvid;
    ///
    /// async fn sign(authority: &dyn Authority, leave: &Attestation) -> Result<JwtSvid, AuthorityError> {
    ///     authority.sign_jwt(leave).await
    /// }
    /// ```
    ///
    /// # Errors
    /// The authority cannot sign now; trying again may help.
    async fn sign_jwt(&self, grant: &Grant) -> Result<JwtSvid, AuthorityError>;

    /// Signs an X509-SVID with the terms of `grant` for the key whose public half is `public_key`
    /// (SubjectPublicKeyInfo in DER). Its end is never later than the grant's limits or that of any
    /// certificate above it; what leaves was checked against the standard.
    ///
    /// # Errors
    /// The authority cannot sign now; trying again may help.
    async fn sign_x509(&self, grant: &X509Grant, public_key: &[u8]) -> Result<SignedX509, AuthorityError>;
}
