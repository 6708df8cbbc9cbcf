//! The calls that are measured, each on a connection of its own.

use std::path::Path;

use clap::ValueEnum;
use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use countersign_common::proto::workload::{JwtsvidRequest, ValidateJwtsvidRequest, X509svidRequest};
use serde::{Deserialize, Serialize};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::BenchError;

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Call {
    /// To the floor server: nothing is asked, nothing comes back.
    Empty,
    /// Two of them, one after the other.
    EmptyTwice,
    /// `grpc.health.v1.Health/Check`: two bytes of answer, and nobody asks who the caller is.
    Health,
    /// `FetchJWTSVID` of a token that was issued before: the caller is attested, matched and
    /// authorized, the decision is recorded, and nothing is signed.
    Fetch,
    /// `FetchJWTSVID` for an audience that nobody has asked for before.
    Sign,
    /// `ValidateJWTSVID` of a token that was issued before.
    Validate,
    /// The first message of `FetchX509SVID`.
    X509,
}

/// One client: a connection, and what it calls on it.
#[derive(Clone)]
pub(crate) struct Client {
    call: Call,
    audience: String,
    channel: Channel,
    api: SpiffeWorkloadApiClient<Channel>,
    /// The token that was issued first, if one is needed.
    token: Option<String>,
    /// Whether every token has to be that one.
    same_token: bool,
    /// Calls so far; with the number of the client and its process it makes new audiences.
    calls: u64,
    number: u32,
}

impl Client {
    /// Opens a connection: the HTTP/2 preface is sent, no call is made.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) async fn connect(socket: &Path, call: Call, audience: &str) -> Result<Self, BenchError> {
        let channel = channel(socket).await?;
        let api = SpiffeWorkloadApiClient::new(channel.clone());
        let audience = audience.to_owned();
        Ok(Self { call, audience, channel, api, token: None, same_token: false, calls: 0, number: 0 })
    }

    /// Opens another connection for the same, with the same token.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) async fn again(&self, socket: &Path, number: u32) -> Result<Self, BenchError> {
        let channel = channel(socket).await?;
        Ok(Self { api: SpiffeWorkloadApiClient::new(channel.clone()), channel, number, ..self.clone() })
    }

    /// Has the token issued that later calls need. From then on every [`Call::Fetch`] must be
    /// answered with it, if `same_token`: another one was not warm.
    ///
    /// # Errors
    /// It was refused.
    pub(crate) async fn prepare(&mut self, same_token: bool) -> Result<(), BenchError> {
        if matches!(self.call, Call::Fetch | Call::Validate) {
            self.token = Some(self.fetch(self.audience.clone()).await?);
            self.same_token = same_token;
        }
        Ok(())
    }

    /// Calls, and checks that the answer is the one that was to be measured.
    ///
    /// # Errors
    /// It was refused, came too late or said something else.
    pub(crate) async fn call(&mut self) -> Result<(), BenchError> {
        self.calls += 1;
        match self.call {
            Call::Empty => self.empty().await,
            Call::EmptyTwice => {
                self.empty().await?;
                self.empty().await
            }
            Call::Health => self.health().await,
            Call::Fetch => {
                let token = self.fetch(self.audience.clone()).await?;
                let is_warm = !self.same_token || self.token.as_ref() == Some(&token);
                is_warm.then_some(()).ok_or(BenchError::Answer("a new token, so it was not warm"))
            }
            Call::Sign => {
                let new = format!("{}/{}-{}-{}", self.audience, std::process::id(), self.number, self.calls);
                self.fetch(new).await.map(|_| ())
            }
            Call::Validate => self.validate().await,
            Call::X509 => self.x509().await,
        }
    }

    async fn empty(&mut self) -> Result<(), BenchError> {
        let answer = self.api.fetch_jwtsvid(JwtsvidRequest::default()).await?.into_inner();
        answer.svids.is_empty().then_some(()).ok_or(BenchError::Answer("something, where nothing was asked"))
    }

    async fn health(&mut self) -> Result<(), BenchError> {
        let answer = HealthClient::new(self.channel.clone()).check(HealthCheckRequest::default()).await?.into_inner();
        let serving = answer.status() == ServingStatus::Serving;
        serving.then_some(()).ok_or(BenchError::Answer("a status that is not SERVING"))
    }

    async fn fetch(&mut self, audience: String) -> Result<String, BenchError> {
        let request = JwtsvidRequest { audience: vec![audience], ..Default::default() };
        let answer = self.api.fetch_jwtsvid(with_security_header(request)).await?.into_inner();
        let first = answer.svids.into_iter().next();
        first.map(|svid| svid.svid).ok_or(BenchError::Answer("no SVID"))
    }

    async fn validate(&mut self) -> Result<(), BenchError> {
        let svid = self.token.clone().ok_or(BenchError::Nothing("a token to validate"))?;
        let request = ValidateJwtsvidRequest { audience: self.audience.clone(), svid };
        let answer = self.api.validate_jwtsvid(with_security_header(request)).await?.into_inner();
        (!answer.spiffe_id.is_empty()).then_some(()).ok_or(BenchError::Answer("no SPIFFE ID"))
    }

    async fn x509(&mut self) -> Result<(), BenchError> {
        let mut stream = self.api.fetch_x509svid(with_security_header(X509svidRequest {})).await?.into_inner();
        let first = stream.message().await?.ok_or(BenchError::Answer("no message"))?;
        let has_key = first.svids.first().is_some_and(|svid| !svid.x509_svid_key.is_empty());
        has_key.then_some(()).ok_or(BenchError::Answer("no X509-SVID"))
    }
}

/// A connection to `socket`.
///
/// # Errors
/// Nobody listens.
pub(crate) async fn channel(socket: &Path) -> Result<Channel, BenchError> {
    Ok(Endpoint::try_from(format!("unix://{}", socket.display()))?.connect().await?)
}

/// The request with what tells it from one that a browser was made to send
/// (`SPIFFE_Workload_Endpoint.md`, section 5).
pub(crate) fn with_security_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}
