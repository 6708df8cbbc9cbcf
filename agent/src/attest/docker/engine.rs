//! A conversation with the daemon: HTTP/1.1, over a connection that is there already.
//!
//! Versions of the Engine API come and go with the daemon's: at least one of any two that a client
//! could name is refused by some daemon in use. So the daemon's own version is asked for, which every
//! daemon serves, and what is read is the same in all of them.

use countersign_common::selector::Selector;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::DockerError;
use super::answer::{self, Container, Info};

/// The longest body of an answer that is read, in bytes. Docker's own about a container has about
/// 5000, beside its labels and its environment.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The longest head of an answer that is read, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// The version of the API that a daemon speaks (Docker Engine API, "Ping").
const API_VERSION: &str = "api-version";

const PING: &str = "its version";
const CONTAINER: &str = "a container";
const INFO: &str = "its image store";

/// The daemon on one connection, which ends with it.
pub(super) struct Engine {
    requests: SendRequest<Empty<Bytes>>,
    version: String,
    _driving: JoinSet<()>,
}

impl Engine {
    /// Begins a conversation.
    pub(super) async fn open(stream: UnixStream) -> Result<Self, DockerError> {
        let handshake = Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream));
        let (requests, connection) = handshake.await?;
        let mut driving = JoinSet::new();
        driving.spawn(async {
            // What ends the connection also ends the request that waits for it.
            let _ = connection.await;
        });
        let mut engine = Self { requests, version: String::new(), _driving: driving };
        let answer = engine.ask("/_ping".to_owned(), PING).await?;
        let version = answer.headers().get(API_VERSION).and_then(|version| version.to_str().ok());
        let version = version.filter(|version| is_version(version)).map(str::to_owned);
        body(answer, PING).await?;
        engine.version = version.ok_or(DockerError::Malformed { what: PING, line: 0, column: 0 })?;
        Ok(engine)
    }

    /// The running container `id`.
    pub(super) async fn container(&mut self, id: &str) -> Result<Container, DockerError> {
        // It becomes part of a path.
        if !is_id(id) {
            return Err(DockerError::Unknown { id: id.to_owned() });
        }
        let answer = self.get(&format!("containers/{id}/json"), CONTAINER).await;
        let answer = answer.map_err(|error| match error {
            DockerError::Status { status: 404, .. } => DockerError::Unknown { id: id.to_owned() },
            error => error,
        });
        answer::read::<Container>(CONTAINER, &answer?)?.checked(id)
    }

    /// The digest of the configuration of the image that container `id` runs.
    pub(super) async fn image_config(&mut self, id: &str) -> Result<Option<Selector>, DockerError> {
        let container = self.container(id).await?;
        let info = self.get("info", INFO).await?;
        container.image_config(&answer::read::<Info>(INFO, &info)?)
    }

    async fn get(&mut self, path: &str, what: &'static str) -> Result<Bytes, DockerError> {
        let answer = self.ask(format!("/v{}/{path}", self.version), what).await?;
        body(answer, what).await
    }

    async fn ask(&mut self, path: String, what: &'static str) -> Result<Response<Incoming>, DockerError> {
        self.requests.ready().await?;
        // HTTP/1.1 wants a host, and a Unix socket has none (RFC 9110, section 7.2).
        let request = Request::get(path).header(header::HOST, "docker").body(Empty::new());
        let request = request.map_err(|_| DockerError::Malformed { what, line: 0, column: 0 })?;
        let answer = self.requests.send_request(request).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(DockerError::Status { what, status: status.as_u16() }),
        }
    }
}

/// The whole body, within its bound.
async fn body(answer: Response<Incoming>, what: &'static str) -> Result<Bytes, DockerError> {
    match Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(DockerError::TooLong { what, limit: MAX_ANSWER_BYTES }),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => DockerError::Conversation(*error),
            Err(_) => DockerError::Malformed { what, line: 0, column: 0 },
        }),
    }
}

/// `1.41`: it becomes part of a path.
fn is_version(text: &str) -> bool {
    let digits = |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| digits(major) && digits(minor))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
