//! The signing authority, as operators see it and move it on.

use std::sync::Arc;

use countersign_common::proto::admin::authority_server::Authority;
use countersign_common::proto::admin::{
    ActivateRequest, JwtKey, PrepareRequest, ShowAuthorityRequest, ShowAuthorityResponse, ShowBundleRequest,
    ShowBundleResponse,
};
use tonic::{Request, Response, Status};

use super::operator::{Journal, Operator};
use super::status;
use crate::authority::embedded::{AuthorityView, EmbeddedAuthority, KeyView};
use crate::authority::{Authority as _, AuthorityError};

/// The service for signing keys.
pub(super) struct AuthorityService {
    authority: Arc<EmbeddedAuthority>,
    journal: Journal,
}

impl AuthorityService {
    pub(super) fn new(authority: Arc<EmbeddedAuthority>, journal: Journal) -> Self {
        Self { authority, journal }
    }

    /// Answers for a change that was recorded and then tried.
    async fn answer(
        &self,
        operator: Operator,
        event: &'static str,
        done: Result<AuthorityView, AuthorityError>,
    ) -> Result<Response<ShowAuthorityResponse>, Status> {
        match done {
            Ok(view) => Ok(Response::new(to_wire(&view))),
            Err(error) => {
                let status = status::of_authority(&error);
                self.journal.failed(operator, event, status.message()).await;
                Err(status)
            }
        }
    }
}

#[tonic::async_trait]
impl Authority for AuthorityService {
    async fn show(&self, _: Request<ShowAuthorityRequest>) -> Result<Response<ShowAuthorityResponse>, Status> {
        Ok(Response::new(to_wire(&self.authority.show().await)))
    }

    async fn prepare(&self, request: Request<PrepareRequest>) -> Result<Response<ShowAuthorityResponse>, Status> {
        const EVENT: &str = "authority_prepare";
        let operator = Operator::of(&request)?;
        self.journal.intends(operator, EVENT, "prepared", None).await?;
        self.answer(operator, EVENT, self.authority.prepare().await).await
    }

    async fn activate(&self, request: Request<ActivateRequest>) -> Result<Response<ShowAuthorityResponse>, Status> {
        const EVENT: &str = "authority_activate";
        let operator = Operator::of(&request)?;
        self.journal.intends(operator, EVENT, "activated", None).await?;
        self.answer(operator, EVENT, self.authority.activate().await).await
    }

    async fn show_bundle(&self, _: Request<ShowBundleRequest>) -> Result<Response<ShowBundleResponse>, Status> {
        let bundle = Arc::clone(&self.authority.bundles().borrow().own);
        Ok(Response::new(ShowBundleResponse { document: bundle.to_spiffe_document() }))
    }
}

fn to_wire(view: &AuthorityView) -> ShowAuthorityResponse {
    ShowAuthorityResponse {
        trust_domain: view.trust_domain.to_string(),
        bundle_sequence: view.sequence,
        jwt_keys: view.keys.iter().map(key_to_wire).collect(),
        next_rotation_at: view.next_rotation_at.map_or(0, |time| time.seconds()),
    }
}

fn key_to_wire(key: &KeyView) -> JwtKey {
    JwtKey {
        kid: key.kid.clone(),
        algorithm: key.algorithm.name().to_owned(),
        state: key.state.name().to_owned(),
        created: key.created.seconds(),
        activates: key.activates.seconds(),
        ends: key.ends.seconds(),
    }
}
