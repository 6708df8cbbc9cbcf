//! Operators: who asks, what they may do, what they get told.
//!
//! Everything that changes something is recorded before it takes effect. Unlike on the
//! workload socket, refusals here say all there is to say.

mod access;
mod authority;
mod registry;

use std::sync::Arc;

use countersign_common::clock::Clock;
use countersign_common::proto::admin::authority_server::AuthorityServer;
use countersign_common::proto::admin::registry_server::RegistryServer;
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::audit::{Audit, Caller, Record};
use crate::authority::embedded::EmbeddedAuthority;
use crate::peer::Peer;
use crate::store::Store;

pub use access::Access;

/// The largest request in bytes: a generous file of entries.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// What the admin API works on.
#[derive(Clone)]
pub struct Admin {
    /// Registration entries.
    pub store: Store,
    /// Keys and bundle.
    pub authority: Arc<EmbeddedAuthority>,
    /// Where changes are recorded.
    pub audit: Arc<Audit>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who may ask.
    pub access: Access,
}

/// The services of the admin socket.
pub fn routes(admin: Admin) -> Routes {
    let entries = RegistryServer::new(admin.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    Routes::new(entries).add_service(AuthorityServer::new(admin))
}

impl Admin {
    /// The operator behind a request.
    fn operator<T>(&self, request: &Request<T>) -> Result<Arc<Peer>, Status> {
        // Only a connection that did not come through our endpoint has no peer.
        let peer = request.extensions().get::<Arc<Peer>>().ok_or_else(|| Status::permission_denied("who are you?"))?;
        self.access.may_ask(peer)?;
        Ok(Arc::clone(peer))
    }

    /// The operator behind a request that changes something.
    fn writer<T>(&self, request: &Request<T>) -> Result<Arc<Peer>, Status> {
        let peer = self.operator(request)?;
        self.access.may_write()?;
        Ok(peer)
    }

    /// Records what an operator does. A change that cannot be recorded does not happen.
    fn record(&self, event: &'static str, outcome: &'static str, peer: &Peer, what: String) -> Result<(), Status> {
        let caller = Caller { pid: peer.pid(), uid: peer.connected_as().uid, ..Caller::default() };
        let time = self.clock.now().to_string();
        let record = Record { time, event, outcome, reason: what, caller, ..Record::default() };
        self.audit.record(&record).map_err(|error| Status::unavailable(error.to_string()))
    }
}
