//! The Workload Endpoint: sockets, the accept loop, the HTTP/2 connection
//! (`SPIFFE_Workload_Endpoint.md`). The admin socket is served the same way.
//!
//! A service finds its caller in the extensions of a request, as an `Arc<Peer>`.

mod accept;
mod authority;
mod connection;
mod directory;
mod frames;
mod gate;
mod header_block;
mod hpack;
mod huffman;
mod outgoing;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod socket;
#[cfg(test)]
mod test_encoder;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::admission::Admission;
use crate::drain::{self, Drain};
use accept::AcceptLoop;
use gate::Gate;

pub use connection::{Caller, OnIntrusion};
pub use socket::{Listener, MAX_PATH, SocketError, SocketOptions};

/// Largest header list of a request in bytes (RFC 9113, SETTINGS_MAX_HEADER_LIST_SIZE).
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// Flow control windows, of a stream and of a connection: requests are small.
const WINDOW: u32 = 64 * 1024;
/// Accepted connections that wait to be served.
const ACCEPTED_QUEUE: usize = 16;

/// The bounds of an endpoint.
#[derive(Clone, Debug)]
pub struct Options {
    /// Calls and streams open at once on one connection.
    pub max_streams: u32,
    /// How long a client may take to send the HTTP/2 preface.
    pub preface_limit: Duration,
    /// How often a quiet connection is asked whether it lives (HTTP/2 PING).
    pub keepalive_interval: Duration,
    /// How long it may take to answer before it is ended.
    pub keepalive_limit: Duration,
    /// How long the first answer to a request may take.
    pub request_limit: Duration,
    /// How long calls under way may go on after a drain is requested.
    pub drain_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_streams: 100,
            preface_limit: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(60),
            keepalive_limit: Duration::from_secs(20),
            request_limit: Duration::from_secs(30),
            drain_limit: Duration::from_secs(5),
        }
    }
}

/// Why an endpoint stopped serving before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The listening socket is broken.
    #[error("the socket does not accept connections any more: {0}")]
    Accept(#[source] io::Error),
    /// The gRPC server gave up.
    #[error("the gRPC server stopped: {0}")]
    Server(#[source] tonic::transport::Error),
    /// It was ended from outside, or panicked.
    #[error("the endpoint's task ended: {0}; this is a fault of the agent")]
    Task(#[source] JoinError),
}

/// Serves `routes` on `listener` until a drain is requested and the calls under way are done
/// or their time is up. The name of the socket goes at the request; a service or method that
/// is not in `routes` is answered `Unimplemented`. Who may connect, and whose requests are
/// worked on when, `admission` decides. Bytes that the peer of a connection did not send itself
/// end it, and `on_intrusion` hears of it.
///
/// # Errors
/// The endpoint stopped without being asked to.
pub async fn serve(
    listener: Listener,
    routes: Routes,
    options: Options,
    admission: Arc<Admission>,
    drain: Drain,
    on_intrusion: OnIntrusion,
) -> Result<(), EndpointError> {
    let (stop_trigger, stop) = drain::channel();
    let (accepted, connections) = mpsc::channel(ACCEPTED_QUEUE);
    let accept_loop = AcceptLoop {
        admission: Arc::clone(&admission),
        preface_limit: options.preface_limit,
        drain: drain.clone(),
        stop,
        on_intrusion,
        lingering: Arc::new(Semaphore::new(accept::LINGERING)),
        accepted,
    };
    let told = drain.clone();
    let server = server(&options)
        .layer(Gate::new(admission))
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), async move { told.requested().await });
    let time_up = async {
        drain.requested().await;
        sleep(options.drain_limit).await;
        stop_trigger.request();
        std::future::pending().await
    };
    // A final fault of the socket ends both at once. The loop that was told to drain drops its
    // sender; the server then waits for the calls under way.
    // Whichever way this function is left, dropping `stop_trigger` ends what is still open.
    let mut both = JoinSet::new();
    // A task, so that a thread that serves connections accepts them, too: another one would have to be woken.
    both.spawn(async {
        let accepting = async { accept_loop.run(listener).await.map_err(EndpointError::Accept) };
        let serving = async { server.await.map_err(EndpointError::Server) };
        tokio::try_join!(accepting, serving).map(drop)
    });
    tokio::select! {
        Some(ended) = both.join_next() => ended.map_err(EndpointError::Task)?,
        never = time_up => never,
    }
}

fn server(options: &Options) -> Server {
    Server::builder()
        .max_concurrent_streams(options.max_streams)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_max_header_list_size(MAX_HEADER_LIST)
        .http2_keepalive_interval(Some(options.keepalive_interval))
        .http2_keepalive_timeout(Some(options.keepalive_limit))
        .timeout(options.request_limit)
}

#[cfg(test)]
mod tests;
