//! The two calls that are compared, each on a connection of its own.

use std::path::Path;

use clap::ValueEnum;
use countersign_common::proto::workload::JwtsvidRequest;
use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use serde::{Deserialize, Serialize};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::BenchError;

/// The audience of every token.
pub(crate) const AUDIENCE: &str = "billing";

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Call {
    /// `grpc.health.v1.Health/Check`: two bytes of answer, and nobody asks who the caller is.
    /// Same socket, same walk over the frames, same HTTP/2 server.
    Floor,
    /// `FetchJWTSVID` of a token that was issued before: the caller is attested, matched and
    /// authorized, the decision is recorded, and nothing is signed.
    Fetch,
}

/// One client: a connection, and what it calls on it.
#[derive(Clone)]
pub(crate) enum Client {
    Floor(HealthClient<Channel>),
    Fetch { stub: SpiffeWorkloadApiClient<Channel>, token: Option<String> },
}

impl Client {
    /// Opens a connection: the HTTP/2 preface is sent, no call is made.
    pub(crate) async fn connect(socket: &Path, call: Call, token: Option<String>) -> Result<Self, BenchError> {
        let channel = Endpoint::try_from(format!("unix://{}", socket.display()))?.connect().await?;
        Ok(match call {
            Call::Floor => Self::Floor(HealthClient::new(channel)),
            Call::Fetch => Self::Fetch { stub: SpiffeWorkloadApiClient::new(channel), token },
        })
    }

    /// Calls, and checks that the answer is the one that was to be measured.
    pub(crate) async fn call(&mut self) -> Result<(), BenchError> {
        match self {
            Self::Floor(stub) => {
                let answer = stub.check(HealthCheckRequest::default()).await?.into_inner();
                let serving = answer.status() == ServingStatus::Serving;
                serving.then_some(()).ok_or(BenchError::Answer("a status that is not SERVING"))
            }
            Self::Fetch { stub, token } => {
                let mut request =
                    Request::new(JwtsvidRequest { audience: vec![AUDIENCE.to_owned()], ..Default::default() });
                // The security header (`SPIFFE_Workload_Endpoint.md`, section 5).
                request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
                let answer = stub.fetch_jwtsvid(request).await?.into_inner();
                let [svid] = answer.svids.as_slice() else { return Err(BenchError::Answer("other than one SVID")) };
                match token {
                    None => *token = Some(svid.svid.clone()),
                    Some(token) if *token == svid.svid => {}
                    Some(_) => return Err(BenchError::Answer("a new token, so it was not warm")),
                }
                Ok(())
            }
        }
    }

    /// The token that this client was first given.
    pub(crate) fn token(&self) -> Option<String> {
        match self {
            Self::Floor(_) => None,
            Self::Fetch { token, .. } => token.clone(),
        }
    }
}
