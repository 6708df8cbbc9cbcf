//! A workload for the suites: reads commands from standard input, one a line, and answers
//! each with one JSON object a line.
//!
//! - `fetch AUDIENCE...`: `FetchJWTSVID`
//! - `fetch-as SPIFFE_ID AUDIENCE...`: the same for one identity
//! - `validate AUDIENCE TOKEN`: `ValidateJWTSVID`
//! - `watch`: opens `FetchJWTBundles`; answers with each message until the stream ends
//! - `x509`: `FetchX509SVID`
//! - `reconnect`: the next command opens a new connection
//! - `setuid UID`: changes its own user
//! - `exec PROGRAM`: becomes another program
//! - `exit`: ends at once

use std::io::BufRead;
use std::os::unix::process::CommandExt;

use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use countersign_common::proto::workload::{JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, X509svidRequest};
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut client = None;
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
            ("exec", [program]) => panic!("{}", std::process::Command::new(program).exec()),
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
        ("x509", _) => client.fetch_x509svid(secured(X509svidRequest {})).await.map(|_| json!({"code": "Ok"})),
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
