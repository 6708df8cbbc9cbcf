//! A real gRPC server behind the endpoint: stock client, raw bytes, drain.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use super::frames::{FRAME_HEADER, PREFACE};
use super::test_encoder::{DATA, END_HEADERS, END_STREAM, HEADERS, PING, frame, grpc_core_block};
use super::*;
use crate::admission::Kind;
use crate::admission::tests::admission;
use crate::drain::DrainTrigger;
use crate::peer::Peer;

const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const ACK: u8 = 0x1;
const LIMIT: Duration = Duration::from_secs(20);

/// An endpoint that serves grpc.health.v1 to identified callers.
struct Served {
    path: PathBuf,
    admission: Arc<Admission>,
    drain: DrainTrigger,
    serving: JoinHandle<Result<(), EndpointError>>,
    _directory: tempfile::TempDir,
}

fn served(options: Options) -> Served {
    served_with(options, admission(64, 64, 64))
}

fn served_with(options: Options, admission: Arc<Admission>) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let listener = Listener::bind(&SocketOptions { path: path.clone(), mode: 0o777, directory_mode: 0o755 }).unwrap();
    let (_, service) = tonic_health::server::health_reporter();
    let routes = Routes::new(InterceptedService::new(service, only_named_callers));
    let (drain, drained) = drain::channel();
    let serving = tokio::spawn(serve(listener, routes, options, Arc::clone(&admission), drained, Arc::new(|_, _| ())));
    Served { path, admission, drain, serving, _directory: directory }
}

fn only_named_callers(request: Request<()>) -> Result<Request<()>, Status> {
    let caller = request.extensions().get::<Arc<Peer>>();
    let is_us = caller.is_some_and(|peer| u32::try_from(peer.pid()) == Ok(std::process::id()));
    is_us.then_some(request).ok_or_else(|| Status::permission_denied("not this process"))
}

async fn channel(path: &Path) -> Channel {
    Endpoint::try_from(format!("unix://{}", path.display())).unwrap().connect().await.unwrap()
}

fn overall() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("done within the limit")
}

/// The next frame that the server sends: type, flags, payload.
async fn next_frame(stream: &mut UnixStream) -> (u8, u8, Vec<u8>) {
    let mut header = [0; FRAME_HEADER];
    within(stream.read_exact(&mut header)).await.unwrap();
    let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
    let mut payload = vec![0; length];
    within(stream.read_exact(&mut payload)).await.unwrap();
    (header[3], header[4], payload)
}

#[tokio::test]
async fn a_stock_client_is_served_and_known() {
    let served = served(Options::default());
    let reply = HealthClient::new(channel(&served.path).await).check(overall()).await.unwrap();
    assert_eq!(reply.into_inner().status, 1);
}

#[tokio::test]
async fn services_that_are_not_there_are_unimplemented() {
    let served = served(Options::default());
    let mut client = ServerReflectionClient::new(channel(&served.path).await);
    let status = client.server_reflection_info(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

/// What the Python, C++, Ruby and PHP libraries send. Without the walker h2 answers with a
/// RST_STREAM.
#[tokio::test]
async fn a_client_of_grpc_core_is_served() {
    let served = served(Options::default());
    let mut stream = UnixStream::connect(&served.path).await.unwrap();
    let authority = served.path.to_str().unwrap().replace('/', "%2F");
    let request = [
        &PREFACE[..],
        &frame(SETTINGS, 0, 0, b""),
        &frame(HEADERS, END_HEADERS, 1, &grpc_core_block(&authority, "/grpc.health.v1.Health/Check")),
        &frame(DATA, END_STREAM, 1, &[0; 5]),
    ];
    stream.write_all(&request.concat()).await.unwrap();
    loop {
        let (kind, _, payload) = next_frame(&mut stream).await;
        assert!([SETTINGS, HEADERS, DATA, 0x8].contains(&kind), "the server sent a frame of type {kind}");
        if kind == DATA {
            assert_eq!(payload, [0, 0, 0, 0, 2, 0x08, 0x01], "SERVING");
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_pings_often_is_answered_and_kept() {
    let served = served(Options::default());
    let mut stream = UnixStream::connect(&served.path).await.unwrap();
    stream.write_all(&[&PREFACE[..], &frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();
    for number in 0..500_u64 {
        stream.write_all(&frame(PING, 0, 0, &number.to_be_bytes())).await.unwrap();
        loop {
            let (kind, flags, payload) = next_frame(&mut stream).await;
            assert_ne!(kind, GOAWAY);
            if kind == PING && flags & ACK != 0 {
                assert_eq!(payload, number.to_be_bytes());
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_breaks_the_framing_is_told_and_ended() {
    let served = served(Options::default());
    let mut stream = UnixStream::connect(&served.path).await.unwrap();
    let too_long = frame(DATA, 0, 1, &[0; 20_000]);
    stream.write_all(&[&PREFACE[..], &frame(SETTINGS, 0, 0, b""), &too_long[..100]].concat()).await.unwrap();
    loop {
        let (kind, _, payload) = next_frame(&mut stream).await;
        if kind == GOAWAY {
            assert_eq!(payload[4..8], 6_u32.to_be_bytes(), "FRAME_SIZE_ERROR");
            break;
        }
    }
    within(stream.read_to_end(&mut Vec::new())).await.unwrap();
}

#[tokio::test]
async fn a_drain_takes_the_name_away_and_lets_calls_end() {
    let served = served(Options::default());
    let mut client = HealthClient::new(channel(&served.path).await);
    client.check(overall()).await.unwrap();
    served.drain.request();
    within(served.serving).await.unwrap().unwrap();
    assert!(!served.path.exists());
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_ended_when_its_time_is_up() {
    let served = served(Options { drain_limit: Duration::from_millis(1), ..Options::default() });
    let mut client = HealthClient::new(channel(&served.path).await);
    let mut watch = client.watch(overall()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    served.drain.request();
    within(served.serving).await.unwrap().unwrap();
    within(watch.message()).await.unwrap_err();
}

/// The bound that no service has to set for itself.
#[tokio::test]
async fn a_header_list_past_the_bound_is_refused() {
    let served = served(Options::default());
    let mut client = HealthClient::new(channel(&served.path).await);
    let mut request = Request::new(overall());
    request.metadata_mut().insert("x-large", "a".repeat(20_000).parse().unwrap());
    client.check(request).await.unwrap_err();
    client.check(overall()).await.unwrap();
}

#[tokio::test]
async fn a_stream_is_counted_as_one_until_it_ends_and_an_answered_request_as_nothing() {
    let served = served(Options::default());
    let mut client = HealthClient::new(channel(&served.path).await);
    client.check(overall()).await.unwrap();
    let mut watch = client.watch(overall()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    let used = |kind| served.admission.in_use(kind).used;
    within(until(|| (used(Kind::Connection), used(Kind::Request), used(Kind::Stream)) == (1, 0, 1))).await;
    drop(watch);
    within(until(|| used(Kind::Stream) == 0)).await;
}

#[tokio::test]
async fn who_has_its_share_of_requests_or_streams_is_told_to_come_later() {
    let none = served_with(Options::default(), admission(64, 0, 0));
    let refused = HealthClient::new(channel(&none.path).await).check(overall()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "the agent cannot serve this request now"));
    let served = served_with(Options::default(), admission(64, 64, 0));
    let mut client = HealthClient::new(channel(&served.path).await);
    client.check(overall()).await.unwrap();
    let mut watch = client.watch(overall()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}
