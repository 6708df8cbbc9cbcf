//! `countersign dev`, wired: everything in memory but the entries file and the sockets.

mod example;
mod folder;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_common::entry::{Entry, ImageRule};
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::Algorithm;

use super::entries_file::EntriesFile;
use super::wiring::{self, Settings};
use super::{AppError, forbid_core_dumps};
use crate::admin_api::Access;
use crate::admission::{self, HashLimits};
use crate::attest;
use crate::audit::Audit;
use crate::authority::embedded;
use crate::policy;
use crate::store::Store;
use folder::Folder;

/// Where Docker listens unless it is told otherwise.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// What `countersign dev` was asked for.
#[derive(Debug)]
pub struct DevOptions {
    /// The entries file; an example is made if `None`.
    pub entries: Option<PathBuf>,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Folder for sockets and example.
    pub dir: Option<PathBuf>,
}

/// What a newcomer needs to know once it runs.
#[derive(Debug)]
pub struct DevReady {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Where the entries are.
    pub entries_file: PathBuf,
    /// The entries that were loaded.
    pub entries: Vec<Arc<Entry>>,
    /// For `SPIFFE_ENDPOINT_SOCKET`.
    pub workload_socket: PathBuf,
    /// For operators' commands.
    pub admin_socket: PathBuf,
    /// Rules about the image that are not held against anybody: what one builds oneself breaks them.
    pub lifted: BTreeSet<ImageRule>,
    /// A command that will succeed, if the entries are the example's.
    pub example: Option<Example>,
}

/// The process that the example entry describes.
#[derive(Debug)]
pub struct Example {
    /// The program: this very binary.
    pub program: PathBuf,
    /// An audience that the entry allows.
    pub audience: &'static str,
}

/// Runs until it is told to stop. `ready` is called once, when requests are served.
///
/// # Errors
/// Why it cannot run.
pub async fn run_dev(options: DevOptions, ready: impl FnOnce(&DevReady)) -> Result<(), AppError> {
    forbid_core_dumps()?;
    let folder = Folder::take(options.dir)?;
    let program = std::env::current_exe().map_err(AppError::system("cannot tell the path of this program"))?;
    let (entries_path, example) = match options.entries {
        Some(path) => (path, None),
        None => {
            let file = example::write(folder.path(), &options.trust_domain, &program)?;
            // What an edited file allows is for its author to know.
            (file.path, (!file.edited).then_some(Example { program, audience: example::AUDIENCE }))
        }
    };
    let store = Store::in_memory(&options.trust_domain)?;
    let file = EntriesFile { path: entries_path.clone(), trust_domain: options.trust_domain.clone() };
    file.apply(&store).await?;
    let told = DevReady {
        trust_domain: options.trust_domain.clone(),
        entries_file: entries_path.clone(),
        entries: store.entries().borrow().entries.clone(),
        workload_socket: folder.path().join("workload/agent.sock"),
        admin_socket: folder.path().join("admin/admin.sock"),
        lifted: ImageRule::ALL.into(),
        example,
    };
    let settings = settings(&options.trust_domain, store.clone(), &told);
    let following = tokio::spawn(async move {
        if let Err(error) = file.follow(store).await {
            tracing::error!(target: "countersign::entries", "saved changes will not be applied: {error}");
        }
    });
    let ran = Box::pin(wiring::run(settings, || ready(&told))).await;
    following.abort();
    ran
}

fn settings(trust_domain: &TrustDomain, store: Store, ready: &DevReady) -> Settings {
    let max_jwt_ttl = Duration::from_secs(3600);
    Settings {
        store,
        sealing_key: None,
        authority: embedded::Options {
            trust_domain: trust_domain.clone(),
            algorithm: Algorithm::Es256,
            key_life: Duration::from_secs(24 * 3600),
            max_jwt_ttl,
            x509_key_life: Duration::from_secs(7 * 24 * 3600),
            max_x509_ttl: Duration::from_secs(24 * 3600),
            upstream: None,
            token: None,
            refresh_hint: Duration::from_secs(300),
            issuer: None,
        },
        limits: policy::Limits {
            default_jwt_ttl: Duration::from_secs(300),
            max_jwt_ttl,
            default_x509_ttl: Duration::from_secs(3600),
            max_x509_ttl: Duration::from_secs(24 * 3600),
            lifted: ready.lifted.clone(),
        },
        attest: attest::Limits { max_executable_bytes: 1 << 30, parallel_hashes: 2 },
        // Asked about processes in its containers alone, and only where an entry turns on it.
        daemons: attest::Daemons { docker: Some(DOCKER_SOCKET.into()) },
        audit: Audit::to_stderr(),
        workload_socket: ready.workload_socket.clone(),
        // One developer is one user, who has a quarter of these.
        admission: admission::Limits { connections: 1024, requests: 1024, streams: 4096 },
        hashing: HashLimits { burst: 4 << 30, per_second: 256 << 20 },
        // Whoever tries things out wants the refusal at once; entries come by saving the file.
        hold: Duration::ZERO,
        admin_socket: ready.admin_socket.clone(),
        admin_access: Access { uids: vec![], gids: vec![], read_only: Some(ready.entries_file.display().to_string()) },
        drain_limit: Duration::from_secs(2),
    }
}
