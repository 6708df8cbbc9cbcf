//! A workload that makes the calls that are counted, one after another.

use std::path::{Path, PathBuf};

use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use countersign_common::proto::workload::{JwtsvidRequest, ValidateJwtsvidRequest, X509svidRequest};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::BudgetError;

/// The audience of the tokens that are issued once.
pub(crate) const AUDIENCE: &str = "billing";
/// What begins the audiences that are asked for once each.
pub(crate) const NEW_AUDIENCES: &str = "new";

/// One connection.
pub(crate) struct Client {
    socket: PathBuf,
    workload: SpiffeWorkloadApiClient<Channel>,
    health: HealthClient<Channel>,
}

impl Client {
    pub(crate) async fn connect(socket: &Path) -> Result<Self, BudgetError> {
        let channel = Endpoint::try_from(format!("unix://{}", socket.display()))?.connect().await?;
        Ok(Self {
            socket: socket.to_owned(),
            workload: SpiffeWorkloadApiClient::new(channel.clone()),
            health: HealthClient::new(channel),
        })
    }

    /// The empty call.
    pub(crate) async fn check(&mut self) -> Result<(), BudgetError> {
        let answer = self.health.check(HealthCheckRequest::default()).await?.into_inner();
        let serving = answer.status() == ServingStatus::Serving;
        serving.then_some(()).ok_or(BudgetError::Answer("a status that is not SERVING"))
    }

    /// The one token for `audience`.
    pub(crate) async fn token(&mut self, audience: String) -> Result<String, BudgetError> {
        let request = secured(JwtsvidRequest { audience: vec![audience], ..Default::default() });
        let mut svids = self.workload.fetch_jwtsvid(request).await?.into_inner().svids;
        match (svids.pop(), svids.is_empty()) {
            (Some(svid), true) => Ok(svid.svid),
            _ => Err(BudgetError::Answer("other than one SVID")),
        }
    }

    /// Fetches what was issued before.
    pub(crate) async fn fetch(&mut self, issued: &str) -> Result<(), BudgetError> {
        let is_issued = self.token(AUDIENCE.to_owned()).await? == issued;
        is_issued.then_some(()).ok_or(BudgetError::Answer("a new token, so it was not warm"))
    }

    /// Connects anew, and fetches what was issued before.
    pub(crate) async fn connect_and_fetch(&mut self, issued: &str) -> Result<(), BudgetError> {
        *self = Self::connect(&self.socket).await?;
        self.fetch(issued).await
    }

    /// Has a token checked.
    pub(crate) async fn validate(&mut self, token: &str) -> Result<(), BudgetError> {
        let request = secured(ValidateJwtsvidRequest { audience: AUDIENCE.to_owned(), svid: token.to_owned() });
        self.workload.validate_jwtsvid(request).await?;
        Ok(())
    }

    /// Opens a stream of X509-SVIDs, waits for its first message, and leaves.
    pub(crate) async fn first_x509(&mut self) -> Result<(), BudgetError> {
        let mut stream = self.workload.fetch_x509svid(secured(X509svidRequest {})).await?.into_inner();
        let message = stream.message().await?.ok_or(BudgetError::Answer("the end of a stream"))?;
        if message.svids.len() == 1 { Ok(()) } else { Err(BudgetError::Answer("other than one SVID")) }
    }
}

/// With the security header (`SPIFFE_Workload_Endpoint.md`, section 5).
fn secured<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}
