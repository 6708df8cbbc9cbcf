//! Connections over a pair of sockets, with a clock that stands still.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::frames::PREFACE;
use super::super::test_encoder::{DATA, END_HEADERS, HEADERS, PING, frame, grpc_core_block};
use super::*;
use crate::admission::tests::admission;
use crate::admission::{Admission, Kind};
use crate::drain::{self, DrainTrigger};

struct Ends {
    client: UnixStream,
    server: Connection,
    caller: Caller,
    intruders: Arc<Mutex<Vec<String>>>,
    stop: DrainTrigger,
    admission: Arc<Admission>,
}

fn connected() -> Ends {
    let (client, server) = UnixStream::pair().unwrap();
    peer::tell_senders(&server).unwrap();
    let caller = Arc::new(Peer::of(&server).unwrap());
    let admission = admission(1, 1, 1);
    let place = admission.place(Kind::Connection, &Key::of(&caller).unwrap(), caller.pid()).unwrap();
    let (stop, stopped) = drain::channel();
    let intruders = Arc::<Mutex<Vec<_>>>::default();
    let told = Arc::clone(&intruders);
    let on_intrusion: OnIntrusion = Arc::new(move |_, error| told.lock().unwrap().push(error.to_string()));
    let limit = Duration::from_secs(10);
    let server = Connection::new(server, Arc::clone(&caller), place, limit, stopped, on_intrusion);
    Ends { client, server, caller, intruders, stop, admission }
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

/// Its key is read slowly: minutes until it is this one's turn. Its place is another's before.
#[tokio::test(start_paused = true)]
async fn who_has_gone_away_holds_no_place_until_its_turn_to_be_read() {
    let Ends { mut client, mut server, caller, admission, stop: _stop, .. } = connected();
    let key = Key::of(&caller).unwrap();
    let mut held = admission.place(Kind::Request, &key, caller.pid()).unwrap();
    assert!(admission.place(Kind::Request, &key, caller.pid()).is_none());
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    while held.poll_may_read(cx).is_ready() {}
    client.write_all(PREFACE).await.unwrap();
    let mut first = [0];
    let reading = server.read(&mut first);
    tokio::pin!(reading);
    assert!(is_pending(reading.as_mut()).await, "not read now");
    drop(client);
    assert_eq!(reading.await.unwrap(), 0, "nothing is read, and it ends");
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
    assert_eq!(arrived, b"G", "the first wrong byte is the last that passes");
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
async fn the_challenge_goes_between_the_servers_frames_and_its_answer_proves() {
    let Ends { mut client, mut server, caller, stop: _stop, .. } = connected();
    let settings = frame(4, 0, 0, &[]);
    let answer = frame(DATA, 0, 1, b"0123456789");
    server.write_all(&[&settings[..], &answer[..13]].concat()).await.unwrap();
    // Half a frame of the server's is out when the challenge is due.
    let evidence = caller.evidence().unwrap();
    assert!(is_pending(std::pin::pin!(server.read(&mut [0]))).await);
    server.write_all(&[&answer[13..], &settings[..]].concat()).await.unwrap();
    let mut came = vec![0; 2 * settings.len() + answer.len() + 17];
    client.read_exact(&mut came).await.unwrap();
    let challenge = came[settings.len() + answer.len()..][9..17].to_vec();
    let own = frame(PING, 0, 0, &challenge);
    assert_eq!(came, [settings.clone(), answer, own, settings].concat());
    client.write_all(&[&PREFACE[..], &frame(PING, 1, 0, &challenge)].concat()).await.unwrap();
    server.read_exact(&mut [0; 24]).await.unwrap();
    evidence.proven().await.unwrap();
}

#[tokio::test]
async fn a_challenge_goes_out_while_the_server_is_quiet() {
    let Ends { mut client, mut server, caller, stop: _stop, .. } = connected();
    server.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let reading = tokio::spawn(async move { server.read(&mut [0]).await });
    client.read_exact(&mut [0; 9]).await.unwrap();
    let evidence = caller.evidence().unwrap();
    let mut challenge = [0; 17];
    client.read_exact(&mut challenge).await.unwrap();
    assert_eq!(challenge[..9], frame(PING, 0, 0, &[0; 8])[..9]);
    drop((evidence, client));
    assert_eq!(reading.await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn bytes_of_another_process_end_the_connection_and_are_told() {
    let Ends { mut client, mut server, caller, intruders, stop: _stop, .. } = connected();
    client.write_all(PREFACE).await.unwrap();
    server.read_exact(&mut [0; 24]).await.unwrap();
    let theirs = OwnedFd::from(client.into_std().unwrap());
    let mut child = Command::new("printf").arg("theirs").stdout(Stdio::from(theirs)).spawn().unwrap();
    child.wait().unwrap();
    assert_eq!(server.read(&mut [0; 9]).await.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(server.write(b"x").await.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    let said =
        format!("process {} speaks on the connection of another process, which is refused from then on", child.id());
    assert_eq!(*intruders.lock().unwrap(), [said]);
    assert!(caller.evidence().is_err());
}

#[tokio::test]
async fn the_place_is_given_back_with_the_connection() {
    let ends = connected();
    assert_eq!(ends.admission.in_use(Kind::Connection).used, 1);
    drop(ends.server);
    assert_eq!(ends.admission.in_use(Kind::Connection).used, 0);
}

/// Whether a future is not ready when it is polled once.
async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}
