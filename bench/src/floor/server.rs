//! A server of the Workload API that knows nothing: tonic on a Unix socket with its stock stream
//! of connections and the runtime of the agent. Nobody is asked who they are.

use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;

use clap::Args;
use countersign_common::proto::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use countersign_common::proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest, X509svidResponse,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::BenchError;

/// What it says once it listens.
pub(super) const READY: &str = "ready";

/// Sizes of what a stream's message holds, in bytes: those of a P-256 SVID and its authority.
const LEAF: usize = 490;
const KEY: usize = 138;
const BUNDLE: usize = 480;

/// What the process that is the floor is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct FloorServer {
    /// Where it listens.
    #[arg(long)]
    socket: PathBuf,
}

impl FloorServer {
    /// Serves until its standard input ends.
    ///
    /// # Errors
    /// It cannot listen.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        let failed = || BenchError::system("listen as the floor server");
        let listener = UnixListener::bind(&self.socket).map_err(failed())?;
        let mut out = std::io::stdout();
        writeln!(out, "{READY}").and_then(|()| out.flush()).map_err(failed())?;
        let news = watch::Sender::new(0_u64);
        let serving = Server::builder()
            .add_service(SpiffeWorkloadApiServer::new(Nothing { news: news.subscribe() }))
            .serve_with_incoming(UnixListenerStream::new(listener));
        tokio::select! {
            served = serving => served?,
            () = told(&news) => {}
        }
        Ok(String::new())
    }
}

/// Has a message sent on every stream for each byte that is read, until there are no more.
async fn told(news: &watch::Sender<u64>) {
    let mut input = tokio::io::stdin();
    let mut byte = [0];
    while let Ok(1) = input.read(&mut byte).await {
        news.send_modify(|count| *count += 1);
    }
}

/// Answers everything at once.
#[derive(Debug)]
struct Nothing {
    /// How many messages were sent on every stream beside the first.
    news: watch::Receiver<u64>,
}

type Held<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Nothing {
    type FetchX509SVIDStream = Held<X509svidResponse>;
    type FetchX509BundlesStream = Held<X509BundlesResponse>;
    type FetchJWTBundlesStream = Held<JwtBundlesResponse>;

    /// One message, and then the stream stays open, with another one for each that is pushed.
    async fn fetch_x509svid(&self, _: Request<X509svidRequest>) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let mut news = self.news.clone();
        // The first message comes at once, whatever was pushed before.
        news.mark_changed();
        Ok(Response::new(Box::pin(WatchStream::from_changes(news).map(|count| Ok(numbered(count))))))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }

    async fn fetch_jwtsvid(&self, _: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        Ok(Response::new(JwtsvidResponse::default()))
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        Ok(Response::new(ValidateJwtsvidResponse::default()))
    }
}

/// A message of the right size; its leaf tells it from the others.
fn numbered(count: u64) -> X509svidResponse {
    let mut leaf = vec![1; LEAF - size_of::<u64>()];
    leaf.extend(count.to_be_bytes());
    let svid = X509svid {
        spiffe_id: "spiffe://example.org/load".to_owned(),
        x509_svid: leaf,
        x509_svid_key: vec![2; KEY],
        bundle: vec![3; BUNDLE],
        hint: String::new(),
    };
    X509svidResponse { svids: vec![svid], ..Default::default() }
}
