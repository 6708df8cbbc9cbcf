//! Operators: who asks, what they may do, what they get told.
//!
//! A gate stands in front of every method and lets operators pass, before a byte of a message
//! is read. Everything that changes something is recorded before it takes effect: without a
//! record there is no change. Unlike on the workload socket, refusals here say all there is to say.

mod access;
mod authority;
mod backup;
mod bundles;
mod federation;
mod operator;
mod registry;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod usage;
#[cfg(feature = "weakened")]
mod weakened_entries;

use std::sync::Arc;

use countersign_common::clock::Clock;
use countersign_common::proto::admin::authority_server::AuthorityServer;
use countersign_common::proto::admin::backup_server::BackupServer;
use countersign_common::proto::admin::bundles_server::BundlesServer;
use countersign_common::proto::admin::registry_server::RegistryServer;
use countersign_common::proto::admin::usage_server::UsageServer;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;

use crate::audit::Audit;
use crate::authority::embedded::EmbeddedAuthority;
use crate::registry::Snapshot;
use crate::store::Store;

pub use access::Access;
pub use usage::Usage;

use self::access::Gate;
use self::authority::AuthorityService;
use self::backup::BackupService;
use self::bundles::BundlesService;
use self::operator::Journal;
use self::registry::RegistryService;
use self::usage::UsageService;

/// The largest message in bytes, either way: room for all the entries that a store holds.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What the admin API works on.
#[derive(Clone)]
pub struct Admin {
    /// Registration entries, and bundles of other trust domains.
    pub store: Store,
    /// The entries that workloads are matched to.
    pub registry: watch::Receiver<Arc<Snapshot>>,
    /// Keys and bundle.
    pub authority: Arc<EmbeddedAuthority>,
    /// Where changes are recorded.
    pub audit: Arc<Audit>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who uses what.
    pub usage: Usage,
    /// Who may ask.
    pub access: Access,
}

/// The services of the admin socket.
pub fn routes(admin: Admin) -> Routes {
    let Admin { store, registry, authority, audit, clock, usage, access } = admin;
    let usage = UsageService::new(usage, authority.clone(), Arc::clone(&clock));
    let usage = UsageServer::new(usage).max_encoding_message_size(MAX_MESSAGE_BYTES);
    let journal = Journal::new(audit, clock);
    let gate = Gate::new(access.clone(), journal.clone());
    let backups = BackupServer::new(BackupService::new(store.clone(), journal.clone()));
    let bundles = BundlesService::new(store.clone(), Arc::clone(&authority), access.clone(), journal.clone());
    let bundles = BundlesServer::new(bundles);
    let entries = RegistryService::new(store, registry, Arc::clone(&authority), access, journal.clone());
    let entries = RegistryServer::new(entries).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let keys = AuthorityServer::new(AuthorityService::new(authority, journal));
    Routes::new(InterceptedService::new(entries, gate.clone()))
        .add_service(InterceptedService::new(keys, gate.clone()))
        .add_service(InterceptedService::new(backups, gate.clone()))
        .add_service(InterceptedService::new(bundles, gate.clone()))
        .add_service(InterceptedService::new(usage, gate))
}
