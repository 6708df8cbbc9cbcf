//! Connections over a pair of sockets, with a clock that stands still.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use super::super::frames::PREFACE;
use super::super::test_encoder::{DATA, END_HEADERS, HEADERS, frame, grpc_core_block};
use super::*;
use crate::drain::{self, DrainTrigger};

struct Ends {
    client: UnixStream,
    server: Connection,
    stop: DrainTrigger,
    places: Arc<Semaphore>,
}

fn connected() -> Ends {
    let (client, server) = UnixStream::pair().unwrap();
    peer::tell_senders(&server).unwrap();
    let places = Arc::new(Semaphore::new(1));
    let place = Arc::clone(&places).try_acquire_owned().unwrap();
    let caller = Arc::new(Peer::of(&server).unwrap());
    let (stop, stopped) = drain::channel();
    let server = Connection::new(server, caller, place, Duration::from_secs(10), stopped, Arc::new(|_, _| ()));
    Ends { client, server, stop, places }
}

#[tokio::test]
async fn what_a_client_sends_arrives_with_a_plain_authority() {
    let Ends { mut client, mut server, stop: _stop, .. } = connected();
    let bytes = |authority: &str| {
        let headers = frame(HEADERS, END_HEADERS, 1, &grpc_core_block(authority, "/a/b"));
        [&PREFACE[..], &headers, &frame(DATA, 0, 1, &[b'%'; 10_000])].concat()
    };
    client.write_all(&bytes("%2Frun%2Fx.sock")).await.unwrap();
    client.shutdown().await.unwrap();
    let mut arrived = Vec::new();
    server.read_to_end(&mut arrived).await.unwrap();
    assert!(arrived == bytes("-2Frun-2Fx.sock"));
}

#[tokio::test]
async fn bytes_that_are_held_back_are_no_end_of_input() {
    let Ends { mut client, mut server, stop: _stop, .. } = connected();
    client.write_all(PREFACE).await.unwrap();
    server.read_exact(&mut [0; 24]).await.unwrap();
    let headers = frame(HEADERS, END_HEADERS, 1, b"\x83\x86");
    client.write_all(&headers[..10]).await.unwrap();
    let mut first = [0];
    let reading = server.read(&mut first);
    tokio::pin!(reading);
    assert!(is_pending(reading.as_mut()).await);
    client.write_all(&headers[10..]).await.unwrap();
    assert_eq!(reading.await.unwrap(), 1);
    assert_eq!(first, headers[..1]);
}

#[tokio::test]
async fn broken_framing_ends_the_connection_after_the_bytes_that_show_it() {
    let Ends { mut client, mut server, stop: _stop, .. } = connected();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut arrived = Vec::new();
    let error = server.read_to_end(&mut arrived).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(arrived, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(server.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::InvalidData, "it stays ended");
    server.write_all(b"GOAWAY").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_not_waited_for() {
    let Ends { mut client, mut server, stop: _stop, .. } = connected();
    client.write_all(&PREFACE[..23]).await.unwrap();
    server.read_exact(&mut [0; 23]).await.unwrap();
    assert_eq!(server.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sent_the_preface_may_be_quiet() {
    let Ends { mut client, mut server, stop: _stop, .. } = connected();
    client.write_all(PREFACE).await.unwrap();
    server.read_exact(&mut [0; 24]).await.unwrap();
    let mut byte = [0];
    let reading = tokio::time::timeout(Duration::from_secs(3600), server.read(&mut byte));
    assert!(reading.await.is_err(), "an hour goes by and the connection waits");
}

#[tokio::test]
async fn a_stop_ends_reading_and_writing() {
    let Ends { client: _client, mut server, stop, .. } = connected();
    let mut byte = [0];
    {
        let reading = server.read(&mut byte);
        tokio::pin!(reading);
        assert!(is_pending(reading.as_mut()).await);
        stop.request();
        assert_eq!(reading.await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
    assert_eq!(server.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn the_place_is_given_back_with_the_connection() {
    let ends = connected();
    assert_eq!(ends.places.available_permits(), 0);
    drop(ends.server);
    assert_eq!(ends.places.available_permits(), 1);
}

/// Whether a future is not ready when it is polled once.
async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}
