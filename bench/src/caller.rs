//! One client of the Workload API, and what its answers mean: served, refused, or nobody there.

use std::path::Path;

use countersign_common::bundle::Bundle;
use countersign_common::clock::Timestamp;
use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use countersign_common::proto::workload::{JwtsvidRequest, ValidateJwtsvidRequest, X509svidRequest, X509svidResponse};
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::x509::{MAX_CHAIN_CERTIFICATES, facts, split, validate};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

/// The trust domain of the agents that are started here.
const TRUST_DOMAIN: &str = "example.org";

/// An answer, as far as it matters who was answered.
#[derive(Debug)]
pub(crate) enum Told<T> {
    /// With what was asked for.
    Served(T),
    /// With a reason that is the caller's own.
    Refused(String),
    /// Not, or with a reason that is the agent's.
    Unreachable(String),
}

/// A connection.
#[derive(Clone)]
pub(crate) struct Caller {
    stub: SpiffeWorkloadApiClient<Channel>,
}

/// What an X.509 message said of its first SVID, all of it held against the bundle that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) spiffe_id: String,
    pub(crate) serial: String,
    pub(crate) not_after: Timestamp,
}

impl Caller {
    /// Connects.
    pub(crate) async fn connect(socket: &Path) -> Told<Self> {
        let unreachable = |error: tonic::transport::Error| Told::Unreachable(format!("cannot connect: {error}"));
        match Endpoint::try_from(format!("unix://{}", socket.display())) {
            Err(error) => unreachable(error),
            Ok(endpoint) => match endpoint.connect().await {
                Ok(channel) => Told::Served(Self { stub: SpiffeWorkloadApiClient::new(channel) }),
                Err(error) => unreachable(error),
            },
        }
    }

    /// A token for one audience.
    pub(crate) async fn jwt(&mut self, audience: &str) -> Told<String> {
        let asked = JwtsvidRequest { audience: vec![audience.to_owned()], ..Default::default() };
        match self.stub.fetch_jwtsvid(with_header(asked)).await {
            Ok(answer) => match answer.into_inner().svids.into_iter().next() {
                Some(svid) => Told::Served(svid.svid),
                None => Told::Refused("no SVID in the answer".to_owned()),
            },
            Err(status) => status.into(),
        }
    }

    /// Whom a token says, if it is good for `audience`.
    pub(crate) async fn validate(&mut self, token: &str, audience: &str) -> Told<String> {
        let asked = ValidateJwtsvidRequest { audience: audience.to_owned(), svid: token.to_owned() };
        match self.stub.validate_jwtsvid(with_header(asked)).await {
            Ok(answer) => Told::Served(answer.into_inner().spiffe_id),
            Err(status) => status.into(),
        }
    }

    /// A stream of X509-SVIDs; a refusal may come with its first message only.
    pub(crate) async fn x509(&mut self) -> Told<Streaming<X509svidResponse>> {
        match self.stub.fetch_x509svid(with_header(X509svidRequest {})).await {
            Ok(answer) => Told::Served(answer.into_inner()),
            Err(status) => status.into(),
        }
    }

    /// The first message of such a stream.
    pub(crate) async fn x509_once(&mut self) -> Told<X509svidResponse> {
        match self.x509().await {
            Told::Served(mut stream) => next(&mut stream).await,
            Told::Refused(why) => Told::Refused(why),
            Told::Unreachable(why) => Told::Unreachable(why),
        }
    }
}

/// The next message of a stream.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> Told<T> {
    match stream.message().await {
        Ok(Some(message)) => Told::Served(message),
        Ok(None) => Told::Unreachable("the stream ended".to_owned()),
        Err(status) => status.into(),
    }
}

impl<T> From<Status> for Told<T> {
    fn from(status: Status) -> Self {
        let said = format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            Code::PermissionDenied | Code::InvalidArgument => Self::Refused(said),
            _ => Self::Unreachable(said),
        }
    }
}

impl Given {
    /// Of a message, as whoever relies on it looks at it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of(message: &X509svidResponse, now: Timestamp) -> Result<Self, String> {
        let svid = message.svids.first().ok_or("no SVID in the message")?;
        let said = |error: &dyn std::fmt::Display| format!("an X509-SVID of {}: {error}", svid.spiffe_id);
        let read = |der: &[u8]| split(der, MAX_CHAIN_CERTIFICATES).map_err(|error| said(&error));
        let chain = read(&svid.x509_svid)?;
        let bundle = Bundle {
            trust_domain: TrustDomain::parse(TRUST_DOMAIN).map_err(|error| said(&error))?,
            sequence: 0,
            refresh_hint: std::time::Duration::ZERO,
            jwt_authorities: vec![],
            x509_authorities: read(&svid.bundle)?,
        };
        validate(&chain, now, |_| Some(&bundle)).map_err(|error| said(&error))?;
        let leaf = facts(chain.first().ok_or("an empty chain")?).map_err(|error| said(&error))?;
        let spiffe_id = leaf.spiffe_id.map(|id| id.to_string()).unwrap_or_default();
        Ok(Self { spiffe_id, serial: leaf.serial, not_after: leaf.not_after })
    }
}

/// The security header (`SPIFFE_Workload_Endpoint.md`, section 5).
fn with_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}

/// What time it is; only what is held against the times of SVIDs.
#[allow(clippy::disallowed_methods, reason = "a client's own clock, by which it relies on what it was given")]
pub(crate) fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}
