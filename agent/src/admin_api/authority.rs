//! The signing authority, as operators see it and move it on.

use std::sync::Arc;

use countersign_common::proto::admin::authority_server::Authority;
use countersign_common::proto::admin::{
    ActivateRequest, JwtKey, KeyKind, PrepareRequest, RevokeRequest, ShowAuthorityRequest, ShowAuthorityResponse,
    TaintRequest, X509Authority,
};
use tonic::{Request, Response, Status};

use super::operator::{Journal, Operator};
use super::status;
use crate::authority::AuthorityError;
use crate::authority::embedded::{AuthorityView, EmbeddedAuthority, KeyView, Kind};

/// The service for signing keys.
pub(super) struct AuthorityService {
    authority: Arc<EmbeddedAuthority>,
    journal: Journal,
}

impl AuthorityService {
    pub(super) fn new(authority: Arc<EmbeddedAuthority>, journal: Journal) -> Self {
        Self { authority, journal }
    }

    /// The whole name of the key that an operator means, so that the record says which.
    async fn named(&self, operator: Operator, event: &'static str, given: &str) -> Result<String, Status> {
        match self.authority.named(given) {
            Ok(id) => Ok(id),
            Err(error) => {
                let status = status::of_authority(&error.into());
                self.journal.failed(operator, event, status.message()).await;
                Err(status)
            }
        }
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
        let kinds = kinds(request.get_ref().kind)?;
        self.journal.intends_to_key(operator, EVENT, "prepared", about(kinds)).await?;
        self.answer(operator, EVENT, self.authority.prepare(kinds).await).await
    }

    async fn activate(&self, request: Request<ActivateRequest>) -> Result<Response<ShowAuthorityResponse>, Status> {
        const EVENT: &str = "authority_activate";
        let operator = Operator::of(&request)?;
        let kinds = kinds(request.get_ref().kind)?;
        self.journal.intends_to_key(operator, EVENT, "activated", about(kinds)).await?;
        self.answer(operator, EVENT, self.authority.activate(kinds).await).await
    }

    async fn taint(&self, request: Request<TaintRequest>) -> Result<Response<ShowAuthorityResponse>, Status> {
        const EVENT: &str = "authority_taint";
        let operator = Operator::of(&request)?;
        let id = self.named(operator, EVENT, &request.get_ref().id).await?;
        self.journal.intends_to_key(operator, EVENT, "tainted", &id).await?;
        let done = self.authority.taint(id).await;
        self.answer(operator, EVENT, done).await
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<ShowAuthorityResponse>, Status> {
        const EVENT: &str = "authority_revoke";
        let operator = Operator::of(&request)?;
        let id = self.named(operator, EVENT, &request.get_ref().id).await?;
        self.journal.intends_to_key(operator, EVENT, "revoked", &id).await?;
        let done = self.authority.revoke(id).await;
        self.answer(operator, EVENT, done).await
    }
}

fn to_wire(view: &AuthorityView) -> ShowAuthorityResponse {
    ShowAuthorityResponse {
        trust_domain: view.trust_domain.to_string(),
        bundle_sequence: view.sequence,
        jwt_keys: view.jwt.keys.iter().map(key_to_wire).collect(),
        next_rotation_at: view.jwt.next_rotation_at.map_or(0, |time| time.seconds()),
        x509_authorities: view.x509.keys.iter().map(authority_to_wire).collect(),
        next_x509_rotation_at: view.x509.next_rotation_at.map_or(0, |time| time.seconds()),
    }
}

fn kinds(kind: i32) -> Result<&'static [Kind], Status> {
    match KeyKind::try_from(kind) {
        Ok(KeyKind::Unspecified) => Ok(&Kind::ALL),
        Ok(KeyKind::Jwt) => Ok(&[Kind::Jwt]),
        Ok(KeyKind::X509) => Ok(&[Kind::X509]),
        Err(_) => Err(Status::invalid_argument("this agent knows JWT keys and X.509 authorities only")),
    }
}

/// What the record says that it is about.
fn about(kinds: &[Kind]) -> &'static str {
    match kinds {
        [only] => only.name(),
        _ => "JWT key and X.509 authority",
    }
}

fn authority_to_wire(key: &KeyView) -> X509Authority {
    X509Authority {
        subject_key_id: key.id.clone(),
        algorithm: key.algorithm.to_owned(),
        held_in: key.held_in.name().to_owned(),
        state: key.state.name().to_owned(),
        created: key.created.seconds(),
        activates: key.activates.seconds(),
        ends: key.ends.seconds(),
        root: key.root.clone().unwrap_or_default(),
    }
}

fn key_to_wire(key: &KeyView) -> JwtKey {
    JwtKey {
        kid: key.id.clone(),
        algorithm: key.algorithm.to_owned(),
        held_in: key.held_in.name().to_owned(),
        state: key.state.name().to_owned(),
        created: key.created.seconds(),
        activates: key.activates.seconds(),
        ends: key.ends.seconds(),
    }
}
