//! Who uses what of the agent, as operators see it.

use std::sync::Arc;

use countersign_common::clock::{Clock, Timestamp};
use countersign_common::proto::admin::{self, ShowUsageRequest, ShowUsageResponse, usage_server};
use tonic::{Request, Response, Status};

use crate::admission::{Admission, HashBudget, KeyUse, Kind};
use crate::authority::Authority as _;
use crate::authority::embedded::EmbeddedAuthority;

/// How many callers are listed; the others are counted.
const MAX_CALLERS: usize = 1000;

/// What is shared between the callers of the workload socket.
#[derive(Clone)]
pub struct Usage {
    /// Connections, requests and streams.
    pub admission: Arc<Admission>,
    /// Bytes of executables.
    pub hash_budget: Arc<HashBudget>,
    /// When the agent started.
    pub started: Timestamp,
}

/// The service that shows it.
pub(super) struct UsageService {
    usage: Usage,
    authority: Arc<EmbeddedAuthority>,
    clock: Arc<dyn Clock>,
}

impl UsageService {
    pub(super) fn new(usage: Usage, authority: Arc<EmbeddedAuthority>, clock: Arc<dyn Clock>) -> Self {
        Self { usage, authority, clock }
    }

    fn places(&self, kind: Kind) -> admin::Places {
        let places = self.usage.admission.in_use(kind);
        admin::Places { used: places.used as u64, limit: places.limit as u64, refused: places.refused }
    }

    fn caller(&self, caller: &KeyUse) -> admin::Caller {
        let [connections, requests, streams] = caller.held.map(|held| held as u64);
        admin::Caller {
            uid: caller.key.uid(),
            cgroup: caller.key.cgroup().map(ToString::to_string).unwrap_or_default(),
            connections,
            requests,
            streams,
            hash_bytes_left: self.usage.hash_budget.left(&caller.key),
            refused: caller.refused,
        }
    }
}

#[tonic::async_trait]
impl usage_server::Usage for UsageService {
    async fn show(&self, _: Request<ShowUsageRequest>) -> Result<Response<ShowUsageResponse>, Status> {
        let entries = Arc::clone(&self.authority.entries().borrow());
        let callers = self.usage.admission.by_key();
        let (hashed_files, hashed_bytes) = self.usage.hash_budget.hashed();
        Ok(Response::new(ShowUsageResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.usage.started.until(self.clock.now()).as_secs(),
            trust_domain: self.authority.trust_domain().to_string(),
            revision: entries.revision,
            entries: entries.entries.len() as u64,
            connections: Some(self.places(Kind::Connection)),
            requests: Some(self.places(Kind::Request)),
            streams: Some(self.places(Kind::Stream)),
            hashed_files,
            hashed_bytes,
            callers: callers.iter().take(MAX_CALLERS).map(|caller| self.caller(caller)).collect(),
            callers_left_out: callers.len().saturating_sub(MAX_CALLERS) as u64,
        }))
    }
}
