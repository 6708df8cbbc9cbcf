//! D: wearing the agent down by what HTTP/2 allows, and by not reading. `flooding` has the rest.

use std::path::Path;

use countersign_tests::{
    Agent, AgentSettings, DATA, Ended, HEADERS, LIMIT, PING, RST_STREAM, RawConnection, SETTINGS, Workload,
    WorkloadSpec, frame, grpc_message, preface, request_headers, until,
};

use super::{entry, own_uid, program, reason, uid};

/// More of a header block (RFC 9113, section 6.10).
const CONTINUATION: u8 = 0x9;

/// How much the agent may grow under an attack, in KiB.
const GROWTH: u64 = 64 * 1024;

async fn agent(settings: AgentSettings) -> Agent {
    let agent = Agent::start(settings).await;
    agent.apply(&entry("orders", &[uid(own_uid())]));
    agent
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

/// Sends until all is sent or the agent has had enough: either is an answer to a flood.
fn flood(connection: &mut RawConnection, bytes: &[u8], times: usize) {
    for _ in 0..times {
        if connection.send(bytes).is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn d4_header_floods_and_bombs_end_the_connection() {
    let agent = agent(AgentSettings::default()).await;
    let before = memory(&agent);
    // A header block without end, in pieces.
    let mut endless = RawConnection::open(&agent.workload_socket()).expect("a place");
    endless.send(&frame(HEADERS, 0, 1, &[])).expect("taken");
    flood(&mut endless, &frame(CONTINUATION, 0, 1, &[]), 100_000);
    endless.until_closed().expect("it is ended");
    let mut large = RawConnection::open(&agent.workload_socket()).expect("a place");
    flood(&mut large, &frame(CONTINUATION, 0, 1, &[0; 16_384]), 1000);
    large.until_closed().expect("it is ended");
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

/// A header block without end, which the agent holds back until it is complete.
async fn grows_with_a_header_block(without: &'static [&'static str]) -> u64 {
    let agent = agent(AgentSettings { without, ..AgentSettings::default() }).await;
    let before = memory(&agent);
    let mut large = RawConnection::open(&agent.workload_socket()).expect("a place");
    large.send(&frame(HEADERS, 0, 1, &[])).expect("taken");
    flood(&mut large, &frame(CONTINUATION, 0, 1, &[0; 16_384]), 8000);
    serves_others(&agent).await;
    memory(&agent).saturating_sub(before)
}

#[tokio::test]
async fn d4_works_without_the_protection() {
    assert!(grows_with_a_header_block(&[]).await < GROWTH);
    assert!(grows_with_a_header_block(&["frame-limits"]).await > GROWTH);
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

#[tokio::test]
async fn d4_messages_are_refused_that_are_longer_than_any_legal_one() {
    let agent = agent(AgentSettings::default()).await;
    let address = format!("unix://{}", agent.workload_socket().display());
    let channel = tonic::transport::Endpoint::try_from(address).expect("an address").connect().await;
    let channel = channel.expect("the agent listens");
    // Each call may make the agent keep a message, and calls are many.
    let paths = [
        ("/SpiffeWorkloadAPI/ValidateJWTSVID", 128 << 10),
        ("/grpc.health.v1.Health/Check", 8 << 10),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 8 << 10),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", 8 << 10),
    ];
    for (path, bytes) in paths {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.expect("it is ready");
        let mut request = tonic::Request::new(tonic_health::pb::HealthCheckRequest { service: "a".repeat(bytes) });
        request.metadata_mut().insert("workload.spiffe.io", "true".parse().expect("ASCII"));
        let codec: tonic_prost::ProstCodec<_, tonic_health::pb::HealthCheckResponse> =
            tonic_prost::ProstCodec::default();
        let called = client.server_streaming(request, path.parse().expect("a path"), codec).await;
        let answer = match called {
            Ok(stream) => stream.into_inner().message().await,
            Err(status) => Err(status),
        };
        // Reflection ends its stream without a word.
        let refused = answer.map_or_else(|status| status.code() == tonic::Code::OutOfRange, |answer| answer.is_none());
        assert!(refused, "{path}");
    }
}

/// A stream that is opened and not read, and so many changes that its messages have no room.
async fn unread_stream(without: &'static [&'static str]) -> (Agent, RawConnection) {
    let agent = agent(AgentSettings { without, ..AgentSettings::default() }).await;
    let mut sluggish = RawConnection::silent(&agent.workload_socket()).expect("a place");
    // A window of nothing: no message may be sent, and each change makes one.
    sluggish.send(&preface(&[(4, 0)])).expect("taken");
    sluggish.call("FetchJWTBundles", &[]).expect("taken");
    // It reads until it has proven that it is the one that asks.
    while sluggish.next_frame().expect("the agent asks").0 != PING {}
    agent.audited(std::process::id(), "served").await;
    for change in 0..3 {
        let id = format!("more-{change}");
        assert!(
            agent.operator(&["authority", if change % 2 == 0 { "prepare" } else { "activate" }], "").status.success()
        );
        agent.apply(&(entry("orders", &[uid(own_uid())]) + &entry(&id, &[uid(0)])));
    }
    (agent, sluggish)
}

#[tokio::test]
async fn d5_a_stream_that_is_never_read_is_ended() {
    // Begun first, so that it would be ended first.
    let (weakened, _kept) = unread_stream(&["read-limit"]).await;
    let (agent, _ended) = unread_stream(&[]).await;
    let begun = std::time::Instant::now();
    assert_eq!(reason(&agent, std::process::id(), "ended").await, "the client does not read its stream");
    assert!(begun.elapsed() < LIMIT);
    serves_others(&agent).await;
    let ended = weakened.audit().into_iter().any(|record| record["outcome"] == "ended");
    assert!(!ended, "it works without the protection");
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

/// How many pidfds of this process the agent holds.
fn held(agent: &Agent, pid: u32) -> usize {
    let folder = format!("/proc/{}/fdinfo", agent.pid());
    let files = std::fs::read_dir(folder).expect("our child");
    let of_process = |text: String| text.lines().any(|line| line == format!("Pid:\t{pid}"));
    files
        .filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok())
        .filter(|text| of_process(text.clone()))
        .count()
}
