//! The Workload API on the wire (`SPIFFE_Workload_API.md`): each RPC is the same sentence:
//! check the request's form, ask `identity`, put the answer into wire types.

mod header;
mod status;
mod wire;

use std::pin::Pin;
use std::sync::Arc;

use countersign_common::proto::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use countersign_common::proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::identity::{self, Authorities, Identity, Refusal};
use crate::peer::Peer;
use crate::weakened::Protection;

/// The largest request message in bytes: as many audiences as an entry can allow, each as long as
/// one can be, and the names around them. A client makes the agent keep as much for each call.
const MAX_REQUEST_BYTES: usize = 112 * 1024;

/// A stream of messages, ended by a status or by the stream's own end.
type MessageStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service `SpiffeWorkloadAPI`.
struct WorkloadApi {
    identity: Arc<Identity>,
}

/// Adds the Workload API to what an endpoint serves. Every request must carry the security header.
pub fn routes(identity: Arc<Identity>, routes: Routes) -> Routes {
    let limit = if Protection::FrameLimits.is_out() { usize::MAX } else { MAX_REQUEST_BYTES };
    let service = SpiffeWorkloadApiServer::new(WorkloadApi { identity }).max_decoding_message_size(limit);
    routes.add_service(tonic::service::interceptor::InterceptedService::new(service, header::require))
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = MessageStream<X509svidResponse>;
    type FetchX509BundlesStream = MessageStream<X509BundlesResponse>;
    type FetchJWTBundlesStream = MessageStream<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let svids = self.identity.watch_x509_svids(&peer_of(&request)?).await;
        messages(svids, wire::x509_svids)
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let bundles = self.identity.watch_bundles(&peer_of(&request)?, Authorities::X509).await;
        messages(bundles, |bundles| wire::x509_bundles(&bundles))
    }

    async fn fetch_jwtsvid(&self, request: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        let peer = peer_of(&request)?;
        let request = match wire::jwt_request(request.into_inner()) {
            Ok(request) => request,
            Err(malformed) => return Err(self.refuse("jwt_svid", &peer, malformed).await),
        };
        let issued = self.identity.fetch_jwt_svids(&peer, &request).await.map_err(|refusal| status::of(&refusal))?;
        Ok(Response::new(wire::jwt_response(&issued)))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let bundles = self.identity.watch_bundles(&peer_of(&request)?, Authorities::Jwt).await;
        messages(bundles, |bundles| wire::jwt_bundles(&bundles))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let peer = peer_of(&request)?;
        let ValidateJwtsvidRequest { audience, svid } = request.into_inner();
        let (audience, token) = match wire::validation_request(audience, svid) {
            Ok(request) => request,
            Err(malformed) => return Err(self.refuse("validate_jwt_svid", &peer, malformed).await),
        };
        let valid = self
            .identity
            .validate_jwt_svid(&peer, &audience, token.expose())
            .await
            .map_err(|error| status::of_validation(&error))?;
        Ok(Response::new(wire::validation_response(valid)))
    }
}

impl WorkloadApi {
    /// Refuses a request whose form is wrong, and has it recorded like every refusal.
    async fn refuse(&self, event: &'static str, peer: &Peer, malformed: wire::Malformed) -> Status {
        self.identity.record_malformed(event, peer, malformed.to_string()).await;
        status::malformed(&malformed)
    }
}

/// A stream of values as one of messages.
fn messages<V: Send + 'static, M>(
    opened: Result<identity::MessageStream<V>, Refusal>,
    on_wire: impl Fn(V) -> M + Send + 'static,
) -> Result<Response<MessageStream<M>>, Status> {
    let values = opened.map_err(|refusal| status::of(&refusal))?;
    Ok(Response::new(Box::pin(values.map(move |item| match item {
        Ok(value) => Ok(on_wire(value)),
        Err(refusal) => Err(status::of(&refusal)),
    }))))
}

/// Who is at the other end, as the endpoint identified it at accept.
fn peer_of<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    // Only a connection that did not come through our endpoint has no caller.
    request.extensions().get::<Arc<Peer>>().cloned().ok_or_else(status::denied)
}

#[cfg(test)]
mod tests;
