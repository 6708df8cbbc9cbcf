//! Where the admin API is, and a connection to it.

use std::path::PathBuf;

use tonic::transport::{Channel, Endpoint};

use super::outcome::{CliError, root_cause};
use super::workload_socket::ANSWER_LIMIT;

/// The option that says where the admin API is.
#[derive(Debug, clap::Args)]
pub(super) struct AdminSocket {
    /// Path of the agent's admin socket.
    #[arg(
        long = "admin-socket",
        env = "COUNTERSIGN_ADMIN_SOCKET",
        default_value = "/run/countersign/admin/admin.sock",
        value_name = "PATH"
    )]
    path: PathBuf,
}

impl AdminSocket {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers there, or the operator may not connect.
    pub(super) async fn connect(&self) -> Result<Channel, CliError> {
        let path = std::path::absolute(&self.path).map_err(|error| CliError::usage(error.to_string()))?;
        let unreachable = |error: tonic::transport::Error| {
            CliError::unreachable(format!(
                "no agent answers at {}: {}; is it running, and may you use its admin socket?",
                path.display(),
                root_cause(&error)
            ))
        };
        let endpoint = Endpoint::try_from(format!("unix://{}", path.display())).map_err(unreachable)?;
        let endpoint = endpoint.connect_timeout(ANSWER_LIMIT).timeout(ANSWER_LIMIT);
        endpoint.connect().await.map_err(unreachable)
    }
}
