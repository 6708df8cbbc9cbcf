//! The daemon as it is, and as it should never be: scripted, on a real Unix socket.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::peer::Peer;
use crate::peer::children::is_root;

const PING: &str = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK";
const AGES: Duration = Duration::from_secs(3600);

fn id() -> String {
    "7b".repeat(32)
}

fn image() -> String {
    format!("sha256:{}", "50".repeat(32))
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn container() -> String {
    let told = json!({
        "Id": id(), "Image": image(), "State": {"Running": true},
        "Config": {"Labels": {"team": "orders"}, "Env": ["PASSWORD=hunter2"]},
    });
    ok(&told.to_string())
}

/// Answers each request with the next answer, then closes; the requests are told.
async fn serve(mut stream: UnixStream, answers: Vec<String>, requests: mpsc::UnboundedSender<String>) {
    for answer in answers {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        requests.send(String::from_utf8(head).unwrap()).unwrap();
        // Who was told enough hangs up.
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// What the agent makes of a daemon that answers so, and what it asked for.
async fn asked(answers: &[&str]) -> (Result<Vec<Selector>, DockerError>, Vec<String>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (requests, mut told) = mpsc::unbounded_channel();
    let answers = answers.iter().map(|&answer| answer.to_owned()).collect();
    let serving = tokio::spawn(serve(theirs, answers, requests));
    let selectors = async { Ok(Engine::open(ours).await?.container(&id()).await?.selectors()) };
    let selectors = tokio::time::timeout(AGES, selectors).await.unwrap();
    serving.await.unwrap();
    let mut lines = Vec::new();
    while let Ok(request) = told.try_recv() {
        lines.push(request.lines().next().unwrap().to_owned());
    }
    (selectors, lines)
}

async fn refusal(answers: &[&str]) -> DockerError {
    asked(answers).await.0.unwrap_err()
}

#[tokio::test]
async fn the_daemon_is_asked_for_the_container_in_its_own_version() {
    let (selectors, requests) = asked(&[PING, &container()]).await;
    let written: Vec<_> = selectors.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(written, ["docker:label:team:orders", "docker:env:PASSWORD", &format!("docker:image_id:{}", image())]);
    assert_eq!(requests, ["GET /_ping HTTP/1.1", &format!("GET /v1.41/containers/{}/json HTTP/1.1", id())]);
}

#[tokio::test]
async fn an_answer_in_chunks_is_an_answer() {
    let body = container().split_once("\r\n\r\n").unwrap().1.to_owned();
    let (one, two) = body.split_at(20);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    assert_eq!(asked(&[PING, &chunked]).await.0.unwrap().len(), 3);
}

#[tokio::test]
async fn a_container_that_the_daemon_does_not_know_is_an_error_and_not_nothing() {
    let unknown = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}";
    let refused = refusal(&[PING, unknown]).await;
    assert!(matches!(&refused, DockerError::Unknown { id: asked } if *asked == id()), "{refused}");
    // A daemon that knows not even its version is another matter.
    let refused = refusal(&[unknown]).await;
    assert_eq!(refused.to_string(), "Docker answers with status 404 when asked for its version; see its log");
}

#[tokio::test]
async fn a_status_other_than_ok_is_an_error() {
    for status in [201, 204, 301, 400, 500, 503] {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let refused = refusal(&[PING, &answer]).await;
        assert!(matches!(refused, DockerError::Status { status: told, .. } if told == status), "{refused}");
    }
}

#[tokio::test]
async fn what_is_not_an_answer_about_this_container_is_an_error() {
    let another = container().replace(&id(), &"8c".repeat(32));
    let stopped = ok(&json!({"Id": id(), "Image": image(), "State": {"Running": false}, "Config": {}}).to_string());
    let chatter = ok("{}");
    let broken = ok("{\"Id\": \"PASSWORD=hunter2\", ");
    let not_http = "PASSWORD=hunter2\r\n\r\n".to_owned();
    let without_version = ok("OK");
    for (answers, said) in [
        ([PING, &another], format!("Docker was asked about container {} and answered about another", id())),
        (
            [PING, &stopped],
            format!("Docker says that container {} does not run, and yet the process is in its cgroup", id()),
        ),
        ([PING, &chatter], "Docker's answer for a container is not as this agent knows it, at line 1 column 2".into()),
        ([PING, &broken], "Docker's answer for a container is not as this agent knows it, at line 1 column 27".into()),
        ([PING, &not_http], "the conversation with Docker broke off: invalid HTTP version parsed".into()),
        (
            [&without_version, &without_version],
            "Docker's answer for its version is not as this agent knows it, at line 0 column 0".into(),
        ),
    ] {
        let refused = refusal(&answers).await;
        assert_eq!(refused.to_string(), said);
        assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(3 << 20));
    let refused = refusal(&[PING, &endless]).await;
    assert_eq!(refused.to_string(), "Docker answers with more than 1048576 bytes when asked for a container");
    let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{{", 1_u64 << 40);
    let refused = refusal(&[PING, &announced]).await;
    assert!(matches!(refused, DockerError::TooLong { .. } | DockerError::Conversation(_)), "{refused}");
    let long_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(128 << 10));
    let refused = refusal(&[PING, &long_head]).await;
    assert!(matches!(refused, DockerError::Conversation(_)), "{refused}");
}

#[tokio::test]
async fn a_daemon_that_hangs_up_is_an_error() {
    let half = &container()[..120];
    for answers in [vec![], vec![PING], vec![PING, half], vec![&PING[..20]]] {
        let refused = refusal(&answers).await;
        assert!(matches!(refused, DockerError::Conversation(_)), "{refused}");
    }
}

#[tokio::test]
async fn what_is_no_id_is_never_part_of_a_path() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (requests, _told) = mpsc::unbounded_channel();
    let serving = tokio::spawn(serve(theirs, vec![PING.to_owned()], requests));
    let mut engine = Engine::open(ours).await.unwrap();
    for id in ["", "../images", &"7B".repeat(32), &"7b".repeat(33)] {
        assert!(matches!(engine.container(id).await, Err(DockerError::Unknown { .. })), "{id}");
    }
    serving.await.unwrap();
}

/// A daemon of root's at a path, which answers one connection after another.
struct Served {
    _directory: tempfile::TempDir,
    daemon: Arc<Daemon>,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Served {
    fn new(conversations: Vec<Vec<String>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for answers in conversations {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, answers, sender.clone()).await;
            }
        });
        Self { _directory: directory, daemon: daemon(Some(path)), requests }
    }

    async fn tell(&self, topic: Topic) -> Result<usize, AttestorError> {
        self.daemon.tell(0, topic, &id()).await.map(|selectors| selectors.len())
    }

    fn requests(&mut self) -> usize {
        std::iter::from_fn(|| self.requests.try_recv().ok()).count()
    }
}

fn daemon(socket: Option<PathBuf>) -> Arc<Daemon> {
    Arc::new(Daemon::new(socket, Arc::new(Slots::new(256, 256))))
}

#[tokio::test]
async fn an_answer_is_remembered_and_a_failure_is_not() {
    if is_root() {
        let failing = vec![PING.to_owned(), "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".to_owned()];
        let fine = vec![PING.to_owned(), container()];
        let containerd = r#"{"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}"#;
        let moved = vec![PING.to_owned(), container(), ok(containerd)];
        let own = vec![PING.to_owned(), container(), ok("{}")];
        let mut served = Served::new(vec![failing, fine, moved, own]);
        assert!(served.tell(Topic::Container).await.is_err());
        for _ in 0..3 {
            assert_eq!(served.tell(Topic::Container).await.unwrap(), 3);
        }
        assert_eq!(served.requests(), 4);
        let refused = served.tell(Topic::ImageConfig).await.unwrap_err();
        assert!(matches!(refused, AttestorError::Docker(DockerError::ContainerdStore)), "{refused}");
        for _ in 0..3 {
            assert_eq!(served.tell(Topic::ImageConfig).await.unwrap(), 1);
        }
        assert_eq!(served.requests(), 6);
    }
}

#[tokio::test]
async fn many_who_ask_about_one_container_make_few_questions() {
    if is_root() {
        let fine = || vec![PING.to_owned(), container()];
        let mut served = Served::new((0..QUESTIONS).map(|_| fine()).collect());
        let mut asking = JoinSet::new();
        for _ in 0..64 {
            let daemon = Arc::clone(&served.daemon);
            asking.spawn(async move { daemon.tell(0, Topic::Container, &id()).await.unwrap().len() });
        }
        while let Some(told) = asking.join_next().await {
            assert_eq!(told.unwrap(), 3);
        }
        assert!(served.requests() <= 2 * QUESTIONS_PER_USER, "each question is two requests");
    }
}

#[tokio::test]
async fn without_a_configured_daemon_a_container_cannot_be_told() {
    let refused = daemon(None).tell(0, Topic::Container, &id()).await.unwrap_err().to_string();
    assert!(refused.ends_with("and no daemon may be asked about it; set socket in [attest.docker]"), "{refused}");
}

/// The socket is one that nobody ever answers at: to be asked would be an error.
#[tokio::test]
async fn a_process_in_no_container_of_dockers_is_not_asked_about() {
    let slots = Arc::new(Slots::new(1, 1));
    let evidence = Arc::new(Peer::of_this_process().evidence().unwrap());
    for attestor in Docker::attestors(Some("/nowhere/docker.sock".into()), slots) {
        let wanted = attestor.kinds().iter().copied().collect();
        assert_eq!(attestor.attest(&evidence, &wanted).await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_keeps_silent_is_late() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let told = async {
        Engine::open(ours).await?;
        Ok::<_, AttestorError>(())
    };
    let late = within_the_limit(told).await.unwrap_err();
    assert!(matches!(late, AttestorError::Late(limit) if limit == ANSWER_LIMIT), "{late}");
}
