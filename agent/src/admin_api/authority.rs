//! The signing authority, as operators see it and move it on.

use std::sync::Arc;

use countersign_common::proto::admin::authority_server::Authority;
use countersign_common::proto::admin::{
    ActivateRequest, JwtKey, PrepareRequest, ShowAuthorityRequest, ShowAuthorityResponse, ShowBundleRequest,
    ShowBundleResponse,
};
use tonic::{Request, Response, Status};

use super::Admin;
use crate::authority::embedded::{AuthorityView, KeyView};
use crate::authority::{Authority as _, AuthorityError};

#[tonic::async_trait]
impl Authority for Admin {
    async fn show(&self, request: Request<ShowAuthorityRequest>) -> Result<Response<ShowAuthorityResponse>, Status> {
        self.operator(&request)?;
        Ok(Response::new(to_wire(&self.authority.show().await)))
    }

    async fn prepare(&self, request: Request<PrepareRequest>) -> Result<Response<ShowAuthorityResponse>, Status> {
        let peer = self.operator(&request)?;
        self.record("authority_prepare", "accepted", &peer, String::new())?;
        Ok(Response::new(to_wire(&self.authority.prepare().await.map_err(of_authority)?)))
    }

    async fn activate(&self, request: Request<ActivateRequest>) -> Result<Response<ShowAuthorityResponse>, Status> {
        let peer = self.operator(&request)?;
        self.record("authority_activate", "accepted", &peer, String::new())?;
        Ok(Response::new(to_wire(&self.authority.activate().await.map_err(of_authority)?)))
    }

    async fn show_bundle(&self, request: Request<ShowBundleRequest>) -> Result<Response<ShowBundleResponse>, Status> {
        self.operator(&request)?;
        let bundle = Arc::clone(&self.authority.bundle().borrow());
        Ok(Response::new(ShowBundleResponse { document: bundle.to_spiffe_document() }))
    }
}

fn of_authority(error: AuthorityError) -> Status {
    match error {
        AuthorityError::AlreadyPrepared { .. }
        | AuthorityError::NothingPrepared
        | AuthorityError::TooManyKeys { .. } => Status::failed_precondition(error.to_string()),
        _ => Status::unavailable(error.to_string()),
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
