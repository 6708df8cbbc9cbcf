//! Drives an agent with the stock Rust SPIFFE library. See `../README.md` for the scenarios.

mod x509;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use spiffe::transport::{GrpcStatusCode, TransportError};
use spiffe::{JwtBundleSet, JwtSource, JwtSvid, WorkloadApiClient, WorkloadApiError};
use tokio::task::JoinSet;
use tokio::time::timeout;

const CALL_LIMIT: Duration = Duration::from_secs(20);

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn say(event: &Value) {
    println!("{event}");
}

fn say_svid(svid: &JwtSvid) -> Outcome {
    let payload = svid.token().split('.').nth(1).ok_or("a token without payload")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    say(&json!({
        "event": "svid",
        "spiffe_id": svid.spiffe_id().to_string(),
        "jti": claims["jti"],
        "exp": claims["exp"],
        "kid": svid.key_id(),
        "audience": svid.audience(),
    }));
    Ok(())
}

/// What a workload of this library usually holds: a client for single calls and a source
/// that follows the bundles.
struct Session {
    client: WorkloadApiClient,
    source: JwtSource,
}

impl Session {
    async fn open() -> Outcome<Self> {
        Ok(Self { client: WorkloadApiClient::connect_env().await?, source: JwtSource::new().await? })
    }

    async fn validate(&self, svid: &JwtSvid, audience: &str) -> Outcome {
        let local = JwtSvid::parse_and_validate(svid.token(), &self.source, &[audience])?;
        let remote = self.client.validate_jwt_token(audience, svid.token()).await?;
        if local.spiffe_id() != svid.spiffe_id() || remote.spiffe_id() != svid.spiffe_id() {
            return Err("the validated SPIFFE IDs differ".into());
        }
        Ok(())
    }

    async fn fetch(&self, audience: &str, times: usize) -> Outcome {
        for _ in 0..times {
            let svid = self.client.fetch_jwt_svid([audience], None).await?;
            self.validate(&svid, audience).await?;
            say_svid(&svid)?;
        }
        Ok(())
    }

    /// Asks `count` times at once, all through the one connection of the client.
    async fn fetch_together(self, audience: &str, count: usize) -> Outcome {
        let session = Arc::new(self);
        let mut calls = JoinSet::new();
        for _ in 0..count {
            let (session, audience) = (Arc::clone(&session), audience.to_owned());
            calls.spawn(async move {
                let svid = session.client.fetch_jwt_svid([&audience], None).await?;
                session.validate(&svid, &audience).await?;
                Outcome::Ok(svid)
            });
        }
        for svid in calls.join_all().await {
            say_svid(&svid?)?;
        }
        Ok(())
    }

    async fn fetch_all(&self, audience: &str) -> Outcome {
        for svid in self.client.fetch_all_jwt_svids([audience], None).await? {
            self.validate(&svid, audience).await?;
            say_svid(&svid)?;
        }
        Ok(())
    }

    async fn refused_validation(&self, audience: &str, other: &str) -> Outcome {
        let svid = self.client.fetch_jwt_svid([audience], None).await?;
        if JwtSvid::parse_and_validate(svid.token(), &self.source, &[other]).is_ok() {
            return Err("the library took a token for another audience".into());
        }
        say_refusal(self.client.validate_jwt_token(other, svid.token()).await)
    }
}

async fn refused(audience: &str) -> Outcome {
    let client = WorkloadApiClient::connect_env().await?;
    say_refusal(client.fetch_jwt_svid([audience], None).await)
}

fn say_refusal<T>(outcome: Result<T, WorkloadApiError>) -> Outcome {
    let code = match outcome {
        Ok(_) => return Err("not refused".into()),
        Err(WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_)) => "PERMISSION_DENIED",
        Err(WorkloadApiError::Transport(TransportError::Status(status))) => name_of(status.code())?,
        Err(error) => return Err(error.into()),
    };
    say(&json!({"event": "refused", "code": code}));
    Ok(())
}

/// The names that the gRPC specification gives to the codes that a refusal can have.
fn name_of(code: GrpcStatusCode) -> Outcome<&'static str> {
    Ok(match code {
        GrpcStatusCode::InvalidArgument => "INVALID_ARGUMENT",
        GrpcStatusCode::NotFound => "NOT_FOUND",
        GrpcStatusCode::PermissionDenied => "PERMISSION_DENIED",
        GrpcStatusCode::ResourceExhausted => "RESOURCE_EXHAUSTED",
        GrpcStatusCode::Unauthenticated => "UNAUTHENTICATED",
        GrpcStatusCode::Unavailable => "UNAVAILABLE",
        GrpcStatusCode::Unimplemented => "UNIMPLEMENTED",
        other => return Err(format!("refused with {other:?}").into()),
    })
}

/// By the source, which is what opens the stream anew when an agent goes and comes back.
async fn watch(count: usize) -> Outcome {
    let source = JwtSource::new().await?;
    let mut updates = source.updated();
    for message in 0..count {
        if message > 0 {
            updates.changed().await?;
        }
        say_bundles(&*source.bundle_set()?);
    }
    Ok(())
}

fn say_bundles(set: &JwtBundleSet) {
    let mut domains: Vec<_> = set.iter().map(|(domain, _)| domain.to_string()).collect();
    let mut kids: Vec<_> =
        set.iter().flat_map(|(_, bundle)| bundle.jwt_authorities()).map(|key| key.key_id().to_owned()).collect();
    domains.sort();
    kids.sort();
    say(&json!({"event": "bundle", "trust_domains": domains, "kids": kids}));
}

async fn run(scenario: &str, arguments: &[&str]) -> Outcome {
    match (scenario, arguments) {
        ("fetch", [audience]) => Session::open().await?.fetch(audience, 1).await,
        ("fetch-twice", [audience]) => Session::open().await?.fetch(audience, 2).await,
        ("fetch-all", [audience]) => Session::open().await?.fetch_all(audience).await,
        ("fetch-together", [audience, count]) => Session::open().await?.fetch_together(audience, count.parse()?).await,
        ("refused", [audience]) => refused(audience).await,
        ("refused-validation", [audience, other]) => Session::open().await?.refused_validation(audience, other).await,
        ("watch", [count, ..]) => watch(count.parse()?).await,
        ("x509-fetch", []) => x509::fetch().await,
        ("x509-refused", []) => x509::refused().await,
        ("x509-hold", []) => x509::hold().await,
        _ => Err("no such scenario".into()),
    }
}

fn limit_of(scenario: &str, arguments: &[&str]) -> Duration {
    match (scenario, arguments) {
        // As long as it is told what to do.
        ("x509-hold", _) => Duration::MAX,
        ("watch", [_, seconds]) => seconds.parse().map_or(CALL_LIMIT, Duration::from_secs),
        ("watch", _) => Duration::from_secs(30),
        _ => CALL_LIMIT,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [scenario, arguments @ ..] = arguments.as_slice() else {
        eprintln!("usage: countersign-interop SCENARIO [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let outcome = match timeout(limit_of(scenario, arguments), run(scenario, arguments)).await {
        Ok(outcome) => outcome,
        Err(_) => Err("not done in time".into()),
    };
    if let Err(error) = outcome {
        say(&json!({"event": "error", "what": error.to_string()}));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
