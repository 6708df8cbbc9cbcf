//! A workload for the suites: reads commands from standard input, one a line, and answers
//! each with one JSON object a line.
//!
//! - `fetch AUDIENCE...`: `FetchJWTSVID`
//! - `fetch-as SPIFFE_ID AUDIENCE...`: the same for one identity
//! - `validate AUDIENCE TOKEN`: `ValidateJWTSVID`
//! - `watch`: opens `FetchJWTBundles`; answers with each message until the stream ends
//! - `watch-x509-bundles`: the same for `FetchX509Bundles`, certificates in base64
//! - `watch-x509`: opens `FetchX509SVID`; answers with each message, certificates and keys in base64,
//!   until the stream ends
//! - `fetch-x509`: the same, for the first message alone
//! - `reconnect`: the next command opens a new connection
//! - `setuid UID`: changes its own user
//! - `exec PROGRAM`: becomes another program
//! - `exit`: ends at once
//!
//! What no honest workload does, on a connection of its own that outlives the program:
//!
//! - `raw-open`: connects, and says nothing but that it speaks HTTP/2
//! - `raw-watch`: opens `FetchJWTBundles` there and waits for the first message
//! - `raw-end`: waits for the end of that stream
//! - `raw-fetch AUDIENCE`: `FetchJWTSVID` there, to its end
//! - `raw-send AUDIENCE`: begins `FetchJWTSVID` there, and reads nothing; `raw-end` does
//! - `raw-give PATH`: passes the descriptor to whoever listens at PATH (unix(7), SCM_RIGHTS)
//! - `raw-take PATH`: listens at PATH, and goes on with the descriptor that is passed
//! - `fork PROGRAM`: starts another process, which goes on with the connection and with this one's
//!   input and output, and says so; waits for it
//! - `exec-leaving MANNERS READER PROGRAM...`: starts READER, which goes on like that, and whose
//!   answers to the agent's own questions are `honest`, none (`mute`) or in this process's name
//!   (`posing`); becomes PROGRAM
//! - `flood-connections COUNT KIND`: opens connections and keeps them: `silent`, or with `half` a frame
//! - `flood-heard`: on how many of these the agent has said something
//! - `flood-calls COUNT METHOD`: sends so many calls, a hundred on a connection, and reads no answer but
//!   the agent's first question
//! - `exec-over PROGRAM`: becomes another program, which goes on with the connection, and says so
//! - `hand-over PROGRAM`: starts another process, which goes on with the connection and with
//!   this one's input and output, and says so; ends itself

use std::io::{BufRead, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use countersign_common::proto::workload::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest, X509svid, X509svidRequest,
    X509svidResponse,
};
use countersign_tests::{HEADERS, Manners, PING, RawConnection, preface};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use prost::Message;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::zombie_processes, reason = "who hands over ends at once, and leaves the other to init")]
async fn main() {
    let mut client = None;
    let mut raw = Raw::adopted();
    let mut flood = Vec::<RawConnection>::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("readable input");
        let words: Vec<&str> = line.split(' ').collect();
        match (words[0], &words[1..]) {
            ("reconnect", _) => client = None,
            ("exit", _) => return,
            ("setuid", [uid]) => {
                let uid = nix::unistd::Uid::from_raw(uid.parse().expect("a uid"));
                nix::unistd::setresuid(uid, uid, uid).expect("allowed");
                say(json!({"code": "Ok"}));
            }
            ("exec", [program]) => panic!("{}", Command::new(program).exec()),
            ("flood-connections", [count, kind]) => flood.extend(connections(number(count), *kind == "half")),
            ("flood-heard", _) => {
                let heard = flood.iter().filter(|connection| connection.has_heard()).count();
                say(json!({"code": "Ok", "heard": heard}));
            }
            ("flood-calls", [count, method]) => flood.extend(calls(number(count), method)),
            ("exec-over", [program]) => panic!("{}", raw.hand_to(program).exec()),
            ("hand-over", [program]) => {
                raw.hand_to(program).spawn().expect("it runs");
                return;
            }
            ("fork", [program]) => {
                let mut child = raw.lend_to(program, "honest").spawn().expect("it runs");
                child.wait().expect("our child");
                return;
            }
            ("exec-leaving", [manners, reader, program, arguments @ ..]) => {
                raw.lend_to(reader, manners).spawn().expect("it runs");
                panic!("{}", Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).exec());
            }
            ("raw-give", [path]) => say(raw.give(path)),
            ("raw-take", [path]) => say(raw.take(path)),
            ("raw-open" | "raw-watch" | "raw-end" | "raw-fetch" | "raw-send", arguments) => {
                let answer = raw.perform(words[0], arguments);
                say(answer.unwrap_or_else(|error| json!({"code": "Closed", "message": error.to_string()})));
            }
            (command, arguments) => {
                if client.is_none() {
                    client =
                        connect().await.map_err(|error| say(json!({"code": "NoConnection", "message": error}))).ok();
                }
                if let Some(client) = &mut client {
                    perform(client, command, arguments).await;
                }
            }
        }
    }
}

/// A connection that goes on in another program: its descriptor, its next stream and the stream
/// that is watched are in the environment.
#[derive(Default)]
struct Raw {
    connection: Option<RawConnection>,
    watched: u32,
}

const ADOPTED: &str = "WORKLOAD_ADOPTED";

/// How it answers the agent's own questions.
const MANNERS: &str = "WORKLOAD_MANNERS";

impl Raw {
    fn adopted() -> Self {
        let Ok(adopted) = std::env::var(ADOPTED) else { return Self::default() };
        let numbers: Vec<u32> = adopted.split(' ').map(|number| number.parse().expect("a number")).collect();
        let [descriptor, next_stream, watched] = numbers[..] else { panic!("three numbers: {adopted}") };
        assert_eq!(descriptor, 2, "it came as standard error");
        let socket = std::io::stderr().as_fd().try_clone_to_owned().expect("a socket");
        let manners = match std::env::var(MANNERS).as_deref() {
            Ok("mute") => Manners::Mute,
            Ok("posing") => Manners::InTheNameOf(std::os::unix::process::parent_id().try_into().expect("a pid")),
            _ => Manners::Honest,
        };
        say(json!({"code": "Adopted"}));
        Self { connection: Some(RawConnection::adopt(socket, next_stream, manners)), watched }
    }

    /// A command that goes on with a copy of the connection.
    fn lend_to(&self, program: &str, manners: &str) -> Command {
        let connection = self.connection.as_ref().expect("a connection to lend");
        let mut command = Command::new(program);
        command.env(ADOPTED, format!("2 {} {}", connection.next_stream(), self.watched)).env(MANNERS, manners);
        command.stderr(connection.copy().expect("a descriptor"));
        command
    }

    fn give(&mut self, path: &str) -> Value {
        let connection = self.connection.as_ref().expect("a connection to give");
        let taker = UnixStream::connect(path).expect("somebody listens");
        let next_stream = connection.next_stream().to_be_bytes();
        let copy = connection.copy().expect("a descriptor");
        let descriptors = [copy.as_raw_fd()];
        let (slices, control) = ([IoSlice::new(&next_stream)], [ControlMessage::ScmRights(&descriptors)]);
        sendmsg::<()>(taker.as_raw_fd(), &slices, &control, MsgFlags::empty(), None).expect("it is taken");
        json!({"code": "Ok"})
    }

    fn take(&mut self, path: &str) -> Value {
        let listener = UnixListener::bind(path).expect("our name");
        // So that one of another user can give.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("our name");
        say(json!({"code": "Listening"}));
        let (giver, _) = listener.accept().expect("somebody gives");
        let mut next_stream = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut next_stream)];
        recvmsg(&giver, &mut slices, &mut control, RecvFlags::empty()).expect("a message");
        let passed = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let socket = passed.expect("a descriptor");
        self.connection = Some(RawConnection::adopt(socket, u32::from_be_bytes(next_stream), Manners::Honest));
        json!({"code": "Taken"})
    }

    fn perform(&mut self, command: &str, arguments: &[&str]) -> std::io::Result<Value> {
        if self.connection.is_none() {
            self.connection = Some(RawConnection::open(&socket())?);
        }
        let connection = self.connection.as_mut().expect("opened");
        let ended = match (command, arguments) {
            ("raw-open", _) => return Ok(json!({"code": "Ok"})),
            ("raw-watch", _) => {
                self.watched = connection.call("FetchJWTBundles", &[])?;
                connection.message(self.watched)?;
                return Ok(json!({"code": "Ok"}));
            }
            ("raw-fetch" | "raw-send", [audience]) => {
                let request = JwtsvidRequest { audience: vec![(*audience).to_owned()], spiffe_id: String::new() };
                let stream = connection.call("FetchJWTSVID", &request.encode_to_vec())?;
                if command == "raw-send" {
                    self.watched = stream;
                    return Ok(json!({"code": "Ok"}));
                }
                connection.end_of(stream)?
            }
            _ => connection.end_of(self.watched)?,
        };
        let code = if ended.denied { "PermissionDenied" } else { "Other" };
        Ok(json!({"code": code, "messages": ended.messages}))
    }

    fn hand_to(&mut self, program: &str) -> Command {
        let (socket, next_stream) = match self.connection.take() {
            Some(connection) => connection.give_up(),
            None => panic!("no connection to hand over"),
        };
        let mut command = Command::new(program);
        command.env(ADOPTED, format!("2 {next_stream} {}", self.watched)).stderr(socket);
        command
    }
}

fn number(word: &str) -> usize {
    word.parse().expect("a number")
}

fn socket() -> PathBuf {
    let address = std::env::var("SPIFFE_ENDPOINT_SOCKET").expect("SPIFFE_ENDPOINT_SOCKET");
    address.strip_prefix("unix://").expect("a path").into()
}

/// Connections that the agent may have closed already: whoever floods does not look.
fn connections(count: usize, half_a_frame: bool) -> Vec<RawConnection> {
    let socket = socket();
    let open = || {
        let mut connection = RawConnection::silent(&socket).ok()?;
        if half_a_frame {
            let _ = connection.send(&[preface(&[]).as_slice(), &[0, 0, 40, HEADERS]].concat());
        }
        Some(connection)
    };
    let opened: Vec<_> = std::iter::repeat_with(open).take(count).flatten().collect();
    say(json!({"code": "Ok", "opened": opened.len()}));
    opened
}

fn calls(count: usize, method: &str) -> Vec<RawConnection> {
    let socket = socket();
    let request = JwtsvidRequest { audience: vec!["billing".to_owned()], spiffe_id: String::new() }.encode_to_vec();
    let mut opened = Vec::new();
    for first in (0..count).step_by(100) {
        let Ok(mut connection) = RawConnection::open(&socket) else { continue };
        for _ in first..count.min(first + 100) {
            let _ = connection.call(method, if method == "FetchJWTSVID" { &request } else { &[] });
        }
        // Whose calls were not all turned away has to prove that it asks, or it takes no stream at
        // all. So the first calls are taken before any of another connection are sent: those could be
        // taken in their place, and nothing would be asked here.
        if first == 0 {
            while connection.next_frame().is_ok_and(|(kind, ..)| kind != PING) {}
        }
        opened.push(connection);
    }
    say(json!({"code": "Ok", "connections": opened.len()}));
    opened
}

async fn connect() -> Result<SpiffeWorkloadApiClient<Channel>, String> {
    let address = std::env::var("SPIFFE_ENDPOINT_SOCKET").expect("SPIFFE_ENDPOINT_SOCKET");
    let channel =
        Endpoint::try_from(address).map_err(|e| e.to_string())?.connect().await.map_err(|e| format!("{e:?}"))?;
    Ok(SpiffeWorkloadApiClient::new(channel))
}

async fn perform(client: &mut SpiffeWorkloadApiClient<Channel>, command: &str, arguments: &[&str]) {
    let answer = match (command, arguments) {
        ("fetch", audiences) => fetch(client, "", audiences).await,
        ("fetch-as", [id, audiences @ ..]) => fetch(client, id, audiences).await,
        ("validate", [audience, token]) => validate(client, audience, token).await,
        ("watch", _) => watch(client).await,
        ("watch-x509-bundles", _) => watch_x509_bundles(client).await,
        ("watch-x509", _) => watch_x509(client).await,
        ("fetch-x509", _) => fetch_x509(client).await,
        _ => panic!("no such command: {command} {arguments:?}"),
    };
    say(answer.unwrap_or_else(|status| refused(&status)));
}

async fn fetch(client: &mut SpiffeWorkloadApiClient<Channel>, id: &str, audiences: &[&str]) -> Result<Value, Status> {
    let audience = audiences.iter().map(|&audience| audience.to_owned()).collect();
    let answer = client.fetch_jwtsvid(secured(JwtsvidRequest { audience, spiffe_id: id.to_owned() })).await?;
    let svids = answer.into_inner().svids.into_iter();
    let svids: Vec<_> = svids.map(|s| json!({"spiffe_id": s.spiffe_id, "svid": s.svid, "hint": s.hint})).collect();
    Ok(json!({"code": "Ok", "svids": svids}))
}

async fn validate(client: &mut SpiffeWorkloadApiClient<Channel>, audience: &str, token: &str) -> Result<Value, Status> {
    let request = ValidateJwtsvidRequest { audience: audience.to_owned(), svid: token.to_owned() };
    let answer = client.validate_jwtsvid(secured(request)).await?.into_inner();
    Ok(json!({"code": "Ok", "spiffe_id": answer.spiffe_id, "claims": answer.claims.unwrap_or_default().fields.len()}))
}

/// Each message as it comes; what ends the stream is the last answer.
async fn watch(client: &mut SpiffeWorkloadApiClient<Channel>) -> Result<Value, Status> {
    let mut stream = client.fetch_jwt_bundles(secured(JwtBundlesRequest {})).await?.into_inner();
    while let Some(message) = stream.message().await? {
        let bundles = message.bundles.into_iter();
        let bundles: serde_json::Map<_, _> =
            bundles.map(|(domain, jwks)| (domain, String::from_utf8(jwks).expect("UTF-8").into())).collect();
        say(json!({"code": "Ok", "bundles": bundles}));
    }
    Ok(json!({"code": "End"}))
}

async fn watch_x509_bundles(client: &mut SpiffeWorkloadApiClient<Channel>) -> Result<Value, Status> {
    let mut stream = client.fetch_x509_bundles(secured(X509BundlesRequest {})).await?.into_inner();
    while let Some(message) = stream.message().await? {
        let bundles: serde_json::Map<_, _> =
            message.bundles.into_iter().map(|(domain, der)| (domain, STANDARD.encode(der).into())).collect();
        say(json!({"code": "Ok", "bundles": bundles}));
    }
    Ok(json!({"code": "End"}))
}

async fn watch_x509(client: &mut SpiffeWorkloadApiClient<Channel>) -> Result<Value, Status> {
    let mut stream = client.fetch_x509svid(secured(X509svidRequest {})).await?.into_inner();
    while let Some(message) = stream.message().await? {
        say(x509(&message));
    }
    Ok(json!({"code": "End"}))
}

async fn fetch_x509(client: &mut SpiffeWorkloadApiClient<Channel>) -> Result<Value, Status> {
    let mut stream = client.fetch_x509svid(secured(X509svidRequest {})).await?.into_inner();
    Ok(stream.message().await?.map_or_else(|| json!({"code": "End"}), |message| x509(&message)))
}

fn x509(message: &X509svidResponse) -> Value {
    let one = |svid: &X509svid| {
        json!({
            "spiffe_id": svid.spiffe_id,
            "chain": STANDARD.encode(&svid.x509_svid),
            "key": STANDARD.encode(&svid.x509_svid_key),
            "bundle": STANDARD.encode(&svid.bundle),
            "hint": svid.hint,
        })
    };
    let svids: Vec<_> = message.svids.iter().map(one).collect();
    let federated: Vec<_> = message.federated_bundles.keys().collect();
    json!({"code": "Ok", "svids": svids, "federated": federated, "crl": message.crl.len()})
}

fn secured<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().expect("ASCII"));
    request
}

fn refused(status: &Status) -> Value {
    json!({"code": format!("{:?}", status.code()), "message": status.message()})
}

fn say(answer: Value) {
    println!("{answer}");
}
