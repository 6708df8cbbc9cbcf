//! The only place that knows every room: builds, wires, spawns, drains.

mod agent;
mod clock;
mod descriptors;
mod dev;
mod entries_file;
mod memory;
mod restore;
mod wiring;

pub use agent::run_agent;
pub use clock::SystemClock;
pub use dev::{DevOptions, DevReady, Example, run_dev};
pub use restore::{Restored, restore};

/// Why the agent could not run. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The authority, where nothing is kept.
    #[error(transparent)]
    Authority(#[from] crate::authority::AuthorityError),
    /// The authority's state in the database.
    #[error("the database {}", path.display())]
    Database {
        /// The file.
        path: std::path::PathBuf,
        /// What the authority says about it.
        source: crate::authority::AuthorityError,
    },
    /// The audit file.
    #[error(transparent)]
    Audit(#[from] crate::audit::AuditError),
    /// The sealing key.
    #[error(transparent)]
    SealingKey(#[from] crate::authority::embedded::SealingKeyError),
    /// The token that holds the signing keys.
    #[error(transparent)]
    Pkcs11(#[from] crate::authority::embedded::Pkcs11Error),
    /// The root above our X.509 authorities.
    #[error(transparent)]
    Upstream(#[from] crate::authority::embedded::UpstreamError),
    /// A socket could not be made.
    #[error(transparent)]
    Socket(#[from] crate::endpoint::SocketError),
    /// A socket stopped serving.
    #[error(transparent)]
    Endpoint(#[from] crate::endpoint::EndpointError),
    /// The service manager.
    #[error(transparent)]
    Health(#[from] crate::health::HealthError),
    /// The compiled protocol definitions.
    #[error("cannot build the reflection service")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The entries file of `dev`.
    #[error("{0}")]
    Entries(String),
    /// The folder of `dev`.
    #[error("{0}")]
    Folder(String),
    /// Something of the system that the agent lives on.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// Keeps keys and tokens out of core dumps, before there are any (getrlimit(2), `RLIMIT_CORE`).
fn forbid_core_dumps() -> Result<(), AppError> {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)
        .map_err(|errno| AppError::system("cannot forbid core dumps of the agent")(errno.into()))
}

impl AppError {
    fn system(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}
