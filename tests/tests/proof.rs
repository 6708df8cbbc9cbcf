//! The proof of the caller, as honest clients meet it: none has to know of it.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use countersign_tests::{
    Agent, AgentSettings, DATA, Manners, PING, RawConnection, Workload, frame, grpc_message, preface, request_headers,
};

const ENTRY: &str =
    "id: orders\nspiffe_id: spiffe://example.org/orders\nselectors: [\"unix:uid:UID\"]\njwt: {audiences: [billing]}\n";

/// `JWTSVIDRequest { audience: ["billing"] }`.
const REQUEST: &[u8] = b"\x0a\x07billing";

async fn agent() -> Agent {
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&ENTRY.replace("UID", &nix::unistd::geteuid().to_string()));
    agent
}

fn call(stream: u32) -> Vec<u8> {
    [request_headers(stream, "FetchJWTSVID", &[]), grpc_message(stream, REQUEST)].concat()
}

/// Reads until each of `calls` has a message, and says how often the agent asked for the proof.
fn answers(connection: &mut RawConnection, mut calls: Vec<u32>) -> usize {
    let mut asked = 0;
    while !calls.is_empty() {
        let (kind, _, stream, payload) = connection.next_frame().expect("the agent answers");
        if kind == PING {
            asked += 1;
        }
        if kind == DATA && !payload.is_empty() {
            assert!(asked > 0, "a message came before the proof");
            calls.retain(|call| *call != stream);
        }
    }
    asked
}

#[tokio::test]
async fn a_request_that_comes_with_the_preface_is_answered() {
    let agent = agent().await;
    let mut connection = RawConnection::silent(&agent.workload_socket()).expect("a place");
    connection.send(&[preface(&[]), call(1)].concat()).expect("taken");
    assert_eq!(answers(&mut connection, vec![1]), 1);
    connection.send(&call(3)).expect("taken");
    assert_eq!(answers_without_proof(&mut connection, 3), 0, "one answer proves the connection");
}

fn answers_without_proof(connection: &mut RawConnection, call: u32) -> usize {
    let mut asked = 0;
    loop {
        let (kind, _, stream, payload) = connection.next_frame().expect("the agent answers");
        asked += usize::from(kind == PING);
        if kind == DATA && stream == call && !payload.is_empty() {
            return asked;
        }
    }
}

#[tokio::test]
async fn ten_requests_at_once_on_one_connection_are_one_proof() {
    let agent = agent().await;
    let mut connection = RawConnection::silent(&agent.workload_socket()).expect("a place");
    let streams: Vec<u32> = (0..10).map(|number| 2 * number + 1).collect();
    let calls: Vec<u8> = streams.iter().flat_map(|stream| call(*stream)).collect();
    connection.send(&[preface(&[]), calls].concat()).expect("taken");
    assert_eq!(answers(&mut connection, streams), 1);
}

#[tokio::test]
async fn a_client_that_sends_byte_by_byte_is_answered() {
    let agent = agent().await;
    let mut connection = RawConnection::silent(&agent.workload_socket()).expect("a place");
    for byte in [preface(&[]), call(1)].concat() {
        connection.send(&[byte]).expect("taken");
    }
    assert_eq!(answers(&mut connection, vec![1]), 1);
}

/// A client that is busy when it is asked is served when it goes on, and nobody waits for it.
#[tokio::test]
async fn a_client_that_answers_late_is_answered_then() {
    let agent = agent().await;
    let socket = std::os::unix::net::UnixStream::connect(agent.workload_socket()).expect("a place");
    let mut connection = RawConnection::adopt(socket.into(), 3, Manners::Mute);
    connection.send(&[preface(&[]), call(1)].concat()).expect("taken");
    let challenge = loop {
        let (kind, _, _, payload) = connection.next_frame().expect("the agent asks");
        if kind == PING {
            break payload;
        }
    };
    let mut other = Workload::start(&agent.workload_socket(), &Default::default());
    assert_eq!(other.ask("fetch billing").await.code(), "Ok");
    let pid = std::process::id();
    assert!(agent.audit().iter().all(|record| record["pid"] != pid), "who has not answered is not answered");
    connection.send(&frame(PING, 0x1, 0, &challenge)).expect("taken");
    assert_eq!(answers_without_proof(&mut connection, 1), 0);
}
