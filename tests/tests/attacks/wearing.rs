//! D: wearing the agent down by what HTTP/2 allows, and by not reading. `flooding` has the rest.

use std::path::Path;

use countersign_tests::{
    Agent, AgentSettings, DATA, Ended, HEADERS, PING, RST_STREAM, RawConnection, SETTINGS, Workload, WorkloadSpec,
    frame, grpc_message, preface, request_headers, root_or_skip, until,
};

use super::{ATTACKER, entry, held, own_uid, program, reason, uid};

/// More of a header block (RFC 9113, section 6.10).
const CONTINUATION: u8 = 0x9;

/// How much the agent may grow under an attack, in KiB.
const GROWTH: u64 = 64 * 1024;
/// The longest payload of a frame that the agent takes (RFC 9113, SETTINGS_MAX_FRAME_SIZE), in bytes.
const LARGEST_PAYLOAD: usize = 16_384;
/// So many of them are more than [`GROWTH`].
const PIECES: usize = 6000;

async fn agent(settings: AgentSettings) -> Agent {
    let agent = Agent::start(settings).await;
    agent.apply(&entry("orders", &[uid(own_uid())]));
    agent
}

fn without(without: &'static [&'static str]) -> AgentSettings {
    AgentSettings { without, ..AgentSettings::default() }
}

async fn serves_others(agent: &Agent) {
    let mut other = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(other.ask("fetch billing").await.code(), "Ok");
}

/// Memory of the agent in KiB.
fn memory(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("our child");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Sends until all is sent or the agent has had enough: either is an answer to a flood. How often
/// it was sent.
fn flood(connection: &mut RawConnection, bytes: &[u8], times: usize) -> usize {
    (0..times).take_while(|_| connection.send(bytes).is_ok()).count()
}

/// Begins a header block that does not end, and goes on with pieces of this size. The connection,
/// and how many pieces the agent took.
fn send_a_block_without_end(agent: &Agent, size: usize, pieces: usize) -> (RawConnection, usize) {
    let mut connection = RawConnection::open(&agent.workload_socket()).expect("a place");
    connection.send(&frame(HEADERS, 0, 1, &[])).expect("taken");
    let taken = flood(&mut connection, &frame(CONTINUATION, 0, 1, &vec![0; size]), pieces);
    (connection, taken)
}

#[tokio::test]
async fn d4_header_floods_and_bombs_end_the_connection() {
    let agent = agent(AgentSettings::default()).await;
    let before = memory(&agent);
    for (size, pieces) in [(0, 100_000), (LARGEST_PAYLOAD, PIECES)] {
        let (mut endless, _) = send_a_block_without_end(&agent, size, pieces);
        endless.until_closed().expect("it is ended");
    }
    // A frame that is longer than any may be.
    let mut long = RawConnection::open(&agent.workload_socket()).expect("a place");
    long.send(&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]).expect("taken");
    long.until_closed().expect("it is ended");
    // One short block that grows: a long field once, then by its index (RFC 7541, section 6.1).
    let mut bomb = RawConnection::open(&agent.workload_socket()).expect("a place");
    let value = vec![b'a'; 3000];
    let field = [&[0x40, 1, b'x', 0x7f, 0xb9, 0x16], value.as_slice(), &[0xbe; 8000]].concat();
    bomb.send(&frame(HEADERS, 0x5, 1, &field)).expect("taken");
    let ended = bomb.end_of(1);
    assert!(!matches!(ended, Ok(Ended { messages: 1.., .. })), "{ended:?}");
    serves_others(&agent).await;
    assert!(memory(&agent) < before + GROWTH, "{before} KiB became {}", memory(&agent));
}

/// Each piece is kept. What the other tests of this row measure is seen to pass their bound here:
/// what keeps those floods small is in the HTTP/2 library, and nothing that could be taken out.
#[tokio::test]
async fn d4_hurts_without_the_protection_header_blocks() {
    let agent = agent(without(&["frame-limits"])).await;
    let before = memory(&agent);
    let (_endless, taken) = send_a_block_without_end(&agent, LARGEST_PAYLOAD, PIECES);
    assert_eq!(taken, PIECES, "the agent takes whatever comes");
    until("what was sent to be kept", || (memory(&agent) > before + GROWTH).then_some(())).await;
}

/// A window of one byte makes the agent send its answer byte by byte, or keep it. An answer that
/// is kept is a request in flight, of which one user in one cgroup has at most 256.
#[tokio::test]
async fn d4_tiny_windows_keep_no_more_than_the_answers() {
    let agent = agent(AgentSettings::default()).await;
    let before = memory(&agent);
    let mut sluggish: Vec<_> = (0..5)
        .map(|_| {
            let mut connection = RawConnection::silent(&agent.workload_socket()).expect("a place");
            connection.send(&preface(&[(4, 1)])).expect("taken");
            for _ in 0..50 {
                connection.call("FetchJWTBundles", &[]).expect("taken");
            }
            prove(&mut connection);
            connection
        })
        .collect();
    until("the streams to be opened", || (served(&agent) == 5 * 50).then_some(())).await;
    // One byte of each stream is sent; the agent waits for more room, and others do not.
    serves_others(&agent).await;
    // Each byte of room is used and no more.
    for connection in &mut sluggish {
        let one_more = frame(8, 0, 1, &[0, 0, 0, 1]);
        flood(connection, &one_more, 1000);
    }
    serves_others(&agent).await;
    assert!(memory(&agent) < before + GROWTH, "{before} KiB became {}", memory(&agent));
}

/// Reads until it has proven that it is the one that asks, and no further.
fn prove(connection: &mut RawConnection) {
    while connection.next_frame().expect("the agent asks").0 != PING {}
}

/// How many streams of bundles were opened.
fn served(agent: &Agent) -> usize {
    let records = agent.audit().into_iter();
    records.filter(|record| record["event"] == "jwt_bundles" && record["outcome"] == "served").count()
}

#[tokio::test]
async fn d4_floods_of_resets_pings_settings_and_empty_data_stay_bounded() {
    let agent = agent(AgentSettings { hold: "30s", ..AgentSettings::default() }).await;
    let before = memory(&agent);
    let socket = agent.workload_socket();
    let reset = move |socket: &Path| {
        let mut connection = RawConnection::open(socket).expect("a place");
        for stream in (1..40_000).step_by(2) {
            let begun = request_headers(stream, "FetchJWTBundles", &[]);
            let call = [begun, grpc_message(stream, &[]), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
            if connection.send(&call).is_err() {
                return;
            }
        }
    };
    let floods: [(u8, u8, u32, &[u8]); 3] =
        [(PING, 0, 0, &[7; 8]), (SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]), (DATA, 0, 1, &[])];
    let attackers: Vec<_> = std::iter::once(std::thread::spawn({
        let socket = socket.clone();
        move || reset(&socket)
    }))
    .chain(floods.map(|(kind, flags, stream, payload)| {
        let socket = socket.clone();
        let bytes = frame(kind, flags, stream, payload);
        std::thread::spawn(move || {
            let mut connection = RawConnection::impatient(&socket).expect("a place");
            connection.send(&request_headers(1, "FetchJWTSVID", &[])).expect("taken");
            // Nothing is read: an agent that answers each one has to stop somewhere.
            flood(&mut connection, &bytes.repeat(100), 2000);
        })
    }))
    .collect();
    serves_others(&agent).await;
    for attacker in attackers {
        attacker.join().expect("it ends");
    }
    serves_others(&agent).await;
    assert!(memory(&agent) < before + GROWTH, "{before} KiB became {}", memory(&agent));
}

/// Sends one message of so many bytes; none if the stream ended without a word.
async fn call_with(agent: &Agent, path: &'static str, bytes: usize) -> Option<tonic::Code> {
    let address = format!("unix://{}", agent.workload_socket().display());
    let channel = tonic::transport::Endpoint::try_from(address).expect("an address").connect().await;
    let mut client = tonic::client::Grpc::new(channel.expect("the agent listens"));
    client.ready().await.expect("it is ready");
    let mut request = tonic::Request::new(tonic_health::pb::HealthCheckRequest { service: "a".repeat(bytes) });
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().expect("ASCII"));
    let codec: tonic_prost::ProstCodec<_, tonic_health::pb::HealthCheckResponse> = tonic_prost::ProstCodec::default();
    let answer = match client.server_streaming(request, path.parse().expect("a path"), codec).await {
        Ok(stream) => stream.into_inner().message().await,
        Err(status) => Err(status),
    };
    answer.map_or_else(|status| Some(status.code()), |answer| answer.map(|_| tonic::Code::Ok))
}

const VALIDATE: &str = "/SpiffeWorkloadAPI/ValidateJWTSVID";
/// Longer than any request of the Workload API, in bytes.
const TOO_LONG: usize = 128 << 10;

#[tokio::test]
async fn d4_messages_are_refused_that_are_longer_than_any_legal_one() {
    let agent = agent(AgentSettings::default()).await;
    // Each call may make the agent keep a message, and calls are many.
    let paths = [
        (VALIDATE, TOO_LONG),
        ("/grpc.health.v1.Health/Check", 8 << 10),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 8 << 10),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", 8 << 10),
    ];
    for (path, bytes) in paths {
        let code = call_with(&agent, path, bytes).await;
        // Reflection ends its stream without a word.
        assert!(code.is_none_or(|code| code == tonic::Code::OutOfRange), "{path}: {code:?}");
    }
}

#[tokio::test]
async fn d4_hurts_without_the_protection_messages() {
    let agent = agent(without(&["frame-limits"])).await;
    // It was kept whole and looked at: what is wrong is what it says.
    assert_eq!(call_with(&agent, VALIDATE, TOO_LONG).await, Some(tonic::Code::InvalidArgument));
}

/// Opens a stream and reads nothing of it, while messages come up, for longer than the agent waits
/// for a client; then reads. Whether the message comes still that it waited with.
async fn read_late(agent: &Agent) -> bool {
    let mut sluggish = RawConnection::silent(&agent.workload_socket()).expect("a place");
    // A window of nothing: no message may be sent, and each change makes one.
    sluggish.send(&preface(&[(INITIAL_WINDOW, 0)])).expect("taken");
    let stream = sluggish.call("FetchJWTBundles", &[]).expect("taken");
    prove(&mut sluggish);
    agent.audited(std::process::id(), "served").await;
    for change in 0..3 {
        let id = format!("more-{change}");
        assert!(
            agent.operator(&["authority", if change % 2 == 0 { "prepare" } else { "activate" }], "").status.success()
        );
        agent.apply(&(entry("orders", &[uid(own_uid())]) + &entry(&id, &[uid(0)])));
    }
    // When a caller who is held has been refused so often, the agent's time is over.
    let nobody = WorkloadSpec { uid: Some(ATTACKER), gid: Some(ATTACKER), ..WorkloadSpec::default() };
    let nobody = WorkloadSpec { program: Some(program(agent, "nobody")), ..nobody };
    let mut held = Workload::start(&agent.workload_socket(), &nobody);
    for _ in 0..TIMES {
        assert_eq!(held.ask("fetch billing").await.code(), "PermissionDenied");
    }
    sluggish.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])).expect("taken");
    // One message is on its way and one is ready to be; the agent waits to make the third one ready.
    (0..3).all(|_| sluggish.message(stream).is_ok())
}

/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2).
const INITIAL_WINDOW: u16 = 4;
/// How long a caller without an entry is held, and how often it comes: together longer than the
/// agent waits for a client to read a message.
const HOLD: &str = "20s";
const TIMES: usize = 2;

#[tokio::test]
async fn d5_a_stream_that_is_never_read_is_ended() {
    if !root_or_skip("a caller of another user") {
        return;
    }
    let agent = agent(AgentSettings { hold: HOLD, ..AgentSettings::default() }).await;
    assert!(!read_late(&agent).await, "it goes on");
    assert_eq!(reason(&agent, std::process::id(), "ended").await, "the client does not read its stream");
    serves_others(&agent).await;
}

#[tokio::test]
async fn d5_hurts_without_the_protection() {
    if !root_or_skip("a caller of another user") {
        return;
    }
    let agent = agent(AgentSettings { hold: HOLD, ..without(&["read-limit"]) }).await;
    assert!(read_late(&agent).await, "what is not read is kept, for as long as the client likes");
    assert!(agent.audit().iter().all(|record| record["outcome"] != "ended"));
}

#[tokio::test]
async fn programs_that_come_and_go_in_one_process_leave_nothing_behind_in_the_agent() {
    let agent = agent(AgentSettings::default()).await;
    let programs: Vec<_> = (0..8).map(|number| program(&agent, &format!("program-{number}"))).collect();
    let first = WorkloadSpec { program: Some(programs[0].clone()), ..WorkloadSpec::default() };
    let mut changing = Workload::start(&agent.workload_socket(), &first);
    let pid = changing.pid();
    for next in programs.iter().skip(1) {
        assert_eq!(changing.ask("fetch billing").await.code(), "Ok");
        changing.say(&format!("exec {}", next.display())).await;
        let runs = || std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == *next);
        until("the next program to run", || runs().then_some(())).await;
    }
    assert_eq!(changing.ask("fetch billing").await.code(), "Ok");
    // One for the connection, which also waits for the exit.
    until("the agent to let go of what the process ran before", || (held(&agent, pid) <= 2).then_some(())).await;
}
