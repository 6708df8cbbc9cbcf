//! SVIDs and their life in the agent: tokens that may be handed out again, to the same process
//! only; X509-SVIDs, whose keys are handed out once and kept nowhere, and when they are renewed.
//!
//! A token is found again by its whole [`Grant`]: process instance, entry, identity,
//! audiences and terms. Two processes never share one, and an entry whose terms
//! changed never answers with a token of the old terms.
//!
//! The map is behind a lock that is held for a look-up only, not a task of its own: a
//! hop to another task on the warm path would cost more than everything else in it.
//! Signing happens outside that lock, under the lock of the one slot, so that callers
//! who ask for the same token wait for one signature (single flight).

mod renewals;
mod schedule;
mod slots;
mod x509;

use std::sync::Arc;

use countersign_common::bundle::BundleSet;
use countersign_common::clock::Timestamp;
use countersign_common::svid::jwt::JwtSvid;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::authority::{Authority, AuthorityError};
use crate::peer::ProcessInstance;
use crate::policy::Grant;
use crate::weakened::Protection;
use slots::Slots;

pub use renewals::{Renewals, Turn};
pub use schedule::Schedule;
pub use slots::{MAX_INSTANCES, MAX_TOKENS_PER_INSTANCE};
pub use x509::issue_x509;

/// JWT-SVIDs by grant, each reused until half its life.
pub struct JwtCache {
    authority: Arc<dyn Authority>,
    bundles: watch::Receiver<Arc<BundleSet>>,
    slots: Slots,
}

/// A JWT-SVID and whether it was issued before.
#[derive(Clone)]
pub struct Cached {
    /// The SVID.
    pub svid: Arc<JwtSvid>,
    /// Whether an earlier request was answered with the same token.
    pub reused: bool,
}

impl JwtCache {
    /// An empty cache in front of `authority`.
    pub fn new(authority: Arc<dyn Authority>) -> Self {
        let bundles = authority.bundles();
        Self { authority, bundles, slots: Slots::default() }
    }

    /// The token of this grant: the one issued before while it is in the first half of
    /// its life, else a new one. If no new one can be had, the old one serves until it
    /// expires; an expired one never does, nor does one whose key was tainted or revoked or has left the bundle.
    ///
    /// `now` is asked after each wait: for another caller's signature, or for one that fails,
    /// a token may have to wait until it has expired.
    ///
    /// # Errors
    /// The authority did not sign, and there is no valid token.
    pub async fn get(&self, grant: &Grant, now: impl Fn() -> Timestamp) -> Result<Cached, AuthorityError> {
        let slot = self.slots.of(grant);
        let mut token = slot.lock().await;
        token.take_if(|svid| !is_of_good_key(svid, &self.bundles.borrow()));
        let asked = now();
        if let Some(svid) = token.as_ref().filter(|svid| is_fresh(svid, asked)) {
            return Ok(Cached { svid: Arc::clone(svid), reused: true });
        }
        match self.authority.sign_jwt(grant).await {
            Ok(svid) => {
                let svid = Arc::new(svid);
                *token = Some(Arc::clone(&svid));
                Ok(Cached { svid, reused: false })
            }
            Err(error) => match (token.as_ref(), now()) {
                (Some(svid), now) if is_valid(svid, now) => {
                    tracing::warn!(%error, jti = %svid.claims.jti, "renewal failed, serving the token that is still valid");
                    Ok(Cached { svid: Arc::clone(svid), reused: true })
                }
                _ => Err(error),
            },
        }
    }

    /// Has `begin` start a watch for the exit of this process, unless there is one. It is
    /// aborted when the process is forgotten.
    pub fn watch(&self, instance: &ProcessInstance, begin: impl FnOnce() -> AbortHandle) {
        self.slots.watch(instance, begin);
    }

    /// Drops every token of a process that is gone.
    pub fn forget(&self, instance: &ProcessInstance) {
        self.slots.forget(instance);
    }
}

/// Neither tainted nor gone. A key stays in the bundle for longer than its tokens live; but if the clock was set
/// back and put right later, it may have come to its end in between, and the token is in its time again.
fn is_of_good_key(svid: &JwtSvid, bundles: &BundleSet) -> bool {
    let is_published = bundles.own.jwt_authorities.iter().any(|authority| authority.kid == svid.kid);
    is_published && !bundles.tainted.contains(&svid.kid)
}

/// In the first half of its life. A clock that was set back before `iat` does not make a
/// token fresh for longer: it is as if it had never been issued.
fn is_fresh(svid: &JwtSvid, now: Timestamp) -> bool {
    let claims = &svid.claims;
    let half = claims.iat.after(claims.iat.until(claims.exp) / 2);
    claims.iat <= now && now < half || Protection::Fresh.is_out()
}

fn is_valid(svid: &JwtSvid, now: Timestamp) -> bool {
    svid.claims.nbf <= now && now < svid.claims.exp
}

#[cfg(test)]
mod tests;
