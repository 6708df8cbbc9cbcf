//! Where the Workload API is: the address from an option or from `SPIFFE_ENDPOINT_SOCKET`
//! (`SPIFFE_Workload_Endpoint.md`, section 4), and a connection to it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::outcome::{CliError, root_cause};

/// How long an answer may take. Longer than an agent holds a caller (`workload_api.hold`, at most
/// 30 seconds).
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(40);

/// The option that says where the Workload API is.
#[derive(Debug, clap::Args)]
pub(super) struct WorkloadSocket {
    /// Address of the Workload API.
    #[arg(long = "socket", env = "SPIFFE_ENDPOINT_SOCKET", value_name = "unix:///PATH")]
    address: Option<WorkloadAddress>,
}

/// A Workload API address on a Unix socket: `unix:///absolute/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WorkloadAddress(PathBuf);

impl FromStr for WorkloadAddress {
    type Err = &'static str;

    fn from_str(address: &str) -> Result<Self, Self::Err> {
        if address.is_empty() {
            return Err("is empty; set SPIFFE_ENDPOINT_SOCKET, or --socket, to unix:///path");
        }
        if address.starts_with("tcp:") {
            return Err("Countersign serves the Workload API on a Unix socket only: unix:///path");
        }
        let rest = address
            .strip_prefix("unix:")
            .ok_or("must begin with unix://, such as unix:///run/agent.sock (in --socket or SPIFFE_ENDPOINT_SOCKET)")?;
        let path = match rest.strip_prefix("//") {
            Some(path) if path.starts_with('/') => path,
            Some(_) => return Err("must have three slashes: unix:///absolute/path, without a host"),
            None => rest,
        };
        if !path.starts_with('/') {
            return Err("must have an absolute path: unix:///absolute/path");
        }
        if path.contains(['?', '#']) {
            return Err("must have neither query nor fragment");
        }
        Ok(Self(path.into()))
    }
}

/// A client that sends the security header with each request.
pub(super) type WorkloadClient = SpiffeWorkloadApiClient<InterceptedService<Channel, SecurityHeader>>;

/// Adds the header of `SPIFFE_Workload_Endpoint.md`, section 3.
#[derive(Clone)]
pub(super) struct SecurityHeader;

impl Interceptor for SecurityHeader {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
        Ok(request)
    }
}

impl WorkloadSocket {
    /// Connects.
    ///
    /// # Errors
    /// No address was given, or nobody answers there.
    pub(super) async fn connect(&self) -> Result<WorkloadClient, CliError> {
        let Some(WorkloadAddress(path)) = &self.address else {
            return Err(CliError::usage(
                "where is the Workload API? Set SPIFFE_ENDPOINT_SOCKET=unix:///path (the agent prints it at start) or give --socket",
            ));
        };
        let unreachable = |error: tonic::transport::Error| {
            CliError::unreachable(format!(
                "no agent answers at {}: {}; is it running, and is this its socket for workloads?",
                path.display(),
                root_cause(&error)
            ))
        };
        let endpoint = Endpoint::try_from(format!("unix://{}", path.display())).map_err(unreachable)?;
        let endpoint = endpoint.connect_timeout(ANSWER_LIMIT).timeout(ANSWER_LIMIT);
        let channel = endpoint.connect().await.map_err(unreachable)?;
        Ok(SpiffeWorkloadApiClient::with_interceptor(channel, SecurityHeader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ep_7_addresses() {
        for (address, path) in [("unix:///run/a.sock", "/run/a.sock"), ("unix:/run/a.sock", "/run/a.sock")] {
            assert_eq!(address.parse(), Ok(WorkloadAddress(path.into())));
        }
        for refused in [
            "",
            "/run/a.sock",
            "unix:run/a.sock",
            "unix://host/a.sock",
            "unix://a.sock",
            "unix:///a?q",
            "unix:///a#f",
            "tcp://127.0.0.1:80",
            "tcp://localhost:1",
            "http://x",
        ] {
            assert!(refused.parse::<WorkloadAddress>().is_err(), "{refused}");
        }
    }
}
