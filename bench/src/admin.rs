//! What an operator does in the course of a run, on the admin socket.

use std::path::Path;

use countersign_common::proto::admin::authority_client::AuthorityClient;
use countersign_common::proto::admin::registry_client::RegistryClient;
use countersign_common::proto::admin::usage_client::UsageClient;
use countersign_common::proto::admin::{
    ActivateRequest, ApplyRequest, DeleteRequest, PrepareRequest, ShowAuthorityRequest, ShowUsageRequest,
    ShowUsageResponse, Source, TaintRequest,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::BenchError;

/// A connection of an operator.
#[derive(Clone)]
pub(crate) struct Admin {
    registry: RegistryClient<Channel>,
    authority: AuthorityClient<Channel>,
    usage: UsageClient<Channel>,
}

impl Admin {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, BenchError> {
        let channel = Endpoint::try_from(format!("unix://{}", socket.display()))?.connect().await?;
        Ok(Self {
            // The answer has every entry in full.
            registry: RegistryClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            authority: AuthorityClient::new(channel.clone()),
            usage: UsageClient::new(channel),
        })
    }

    /// Applies entries; those that are not named stay.
    pub(crate) async fn apply(&mut self, entries: &str) -> Result<(), Status> {
        let source = Source { name: "bench".to_owned(), text: entries.to_owned() };
        self.registry.apply(ApplyRequest { sources: vec![source], ..Default::default() }).await.map(drop)
    }

    /// Deletes one entry.
    pub(crate) async fn delete(&mut self, id: &str) -> Result<(), Status> {
        self.registry.delete(DeleteRequest { ids: vec![id.to_owned()] }).await.map(drop)
    }

    /// Makes and publishes the next keys of both kinds.
    pub(crate) async fn prepare(&mut self) -> Result<(), Status> {
        self.authority.prepare(PrepareRequest::default()).await.map(drop)
    }

    /// Signs with the prepared keys.
    pub(crate) async fn activate(&mut self) -> Result<(), Status> {
        self.authority.activate(ActivateRequest::default()).await.map(drop)
    }

    /// Replaces the X.509 authority that signs, and at once all that it signed.
    pub(crate) async fn taint_x509(&mut self) -> Result<(), Status> {
        let shown = self.authority.show(ShowAuthorityRequest {}).await?.into_inner();
        let active = shown.x509_authorities.into_iter().find(|key| key.state == "active");
        let id = active.ok_or_else(|| Status::not_found("no X.509 authority is active"))?.subject_key_id;
        self.authority.taint(TaintRequest { id }).await.map(drop)
    }

    /// Who uses what.
    pub(crate) async fn usage(&mut self) -> Result<ShowUsageResponse, Status> {
        Ok(self.usage.show(ShowUsageRequest {}).await?.into_inner())
    }
}
