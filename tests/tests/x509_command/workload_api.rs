//! A Workload API that says what a test tells it to, on a Unix socket of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign_common::proto::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use countersign_common::proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

pub use countersign_common::proto::workload::X509svid;

/// What every stream is told.
#[derive(Clone)]
pub enum Says {
    /// These are the caller's.
    Grant(X509svidResponse),
    /// The stream ends so; one that is opened then too.
    End(Code),
}

/// A running server. Dropped, it is gone as if it had been killed.
pub struct WorkloadApi {
    runtime: Option<Runtime>,
    says: watch::Sender<Says>,
    calls: Arc<AtomicUsize>,
}

impl WorkloadApi {
    pub fn start(socket: &Path, says: Says) -> Self {
        let runtime = Runtime::new().expect("threads");
        let says = watch::Sender::new(says);
        let calls = Arc::new(AtomicUsize::new(0));
        let service = Service { says: says.subscribe(), calls: calls.clone() };
        // The one before may have been killed.
        let _ = std::fs::remove_file(socket);
        let listener = {
            let _on_this_runtime = runtime.enter();
            UnixListener::bind(socket).expect("our folder")
        };
        let (accepted, connections) = mpsc::channel(1);
        runtime.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                if accepted.send(Ok::<_, std::io::Error>(connection)).await.is_err() {
                    return;
                }
            }
        });
        let server = Server::builder().add_service(SpiffeWorkloadApiServer::new(service));
        runtime.spawn(server.serve_with_incoming(ReceiverStream::new(connections)));
        Self { runtime: Some(runtime), says, calls }
    }

    /// Tells every stream, open ones and those to come.
    pub fn say(&self, says: Says) {
        self.says.send_replace(says);
    }

    /// How often FetchX509SVID was called.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for WorkloadApi {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Service {
    says: watch::Receiver<Says>,
    calls: Arc<AtomicUsize>,
}

type Answers<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = Answers<X509svidResponse>;
    type FetchX509BundlesStream = Answers<X509BundlesResponse>;
    type FetchJWTBundlesStream = Answers<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        if request.metadata().get("workload.spiffe.io").is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument("security header missing"));
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut says = self.says.clone();
        let (sender, answers) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let now = says.borrow_and_update().clone();
                let (answer, is_last) = match now {
                    Says::Grant(answer) => (Ok(answer), false),
                    Says::End(code) => (Err(Status::new(code, "as the test says")), true),
                };
                if sender.send(answer).await.is_err() || is_last || says.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let Says::Grant(granted) = self.says.borrow().clone() else {
            return Err(Status::permission_denied("no identity issued"));
        };
        let own = ("spiffe://example.org".to_owned(), granted.svids[0].bundle.clone());
        let bundles = granted.federated_bundles.into_iter().chain([own]).collect();
        let (sender, answers) = mpsc::channel(1);
        tokio::spawn(async move { sender.send(Ok(X509BundlesResponse { crl: vec![], bundles })).await });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn fetch_jwtsvid(&self, _: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// An answer with one identity of `example.org` for each name; hints are the names.
pub fn granted(names: &[&str]) -> X509svidResponse {
    X509svidResponse { svids: names.iter().map(|name| svid(name)).collect(), ..X509svidResponse::default() }
}

fn svid(name: &str) -> X509svid {
    let id = format!("spiffe://example.org/{name}");
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = params("spiffe://example.org");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = authority.self_signed(&authority_key).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let mut leaf = params(&id);
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).expect("a certificate");
    X509svid {
        spiffe_id: id,
        x509_svid: leaf.der().to_vec(),
        x509_svid_key: key.serialize_der(),
        bundle: root.der().to_vec(),
        hint: name.to_owned(),
    }
}

fn params(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "test");
    params.subject_alt_names = vec![SanType::URI(id.try_into().expect("ASCII"))];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    params
}
