//! `countersign jwt validate`.

use std::io::{Read, Write, stdin, stdout};

use countersign_common::proto::workload::ValidateJwtsvidRequest;
use countersign_common::secret::BearerToken;
use countersign_common::untrusted::inert_lines;
use prost_types::value::Kind;
use tonic::Code;

use crate::cli::outcome::{CliError, Outcome};
use crate::cli::workload_socket::WorkloadSocket;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign jwt fetch --audience billing -o token | countersign jwt validate --audience billing -

Exit codes: 0 valid, 1 not valid, 2 wrong usage, 3 no agent or not now";

/// The longest token that is read, in bytes.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    socket: WorkloadSocket,
    /// The audience that the token must be for: your own name.
    #[arg(long, short)]
    audience: String,
    /// The token, or - to read it from standard input, where other users cannot see it.
    #[arg(default_value = "-", value_name = "TOKEN|-")]
    token: String,
}

impl Validate {
    pub(super) async fn run(self) -> Result<Outcome, CliError> {
        let token = match self.token.as_str() {
            "-" => from_stdin()?,
            token => BearerToken::new(token.to_owned()),
        };
        let request = ValidateJwtsvidRequest { audience: self.audience, svid: token.expose().to_owned() };
        let answer = self.socket.connect().await?.validate_jwtsvid(request).await;
        let answer = answer.map_err(|status| match status.code() {
            Code::InvalidArgument => CliError::refused(format!("not valid: {}", status.message())),
            _ => CliError::from_status(&status),
        })?;
        let claims = answer.into_inner().claims.unwrap_or_default();
        let claims: serde_json::Map<_, _> =
            claims.fields.into_iter().map(|(name, value)| (name, to_json(value))).collect();
        let printed = serde_json::to_string_pretty(&claims).map_err(CliError::output)?;
        writeln!(stdout(), "{}", inert_lines(&printed)).map_err(CliError::output)?;
        Ok(Outcome::Done)
    }
}

fn from_stdin() -> Result<BearerToken, CliError> {
    let mut text = String::new();
    stdin()
        .take(MAX_TOKEN_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| CliError::usage(format!("standard input: {error}")))?;
    let token = BearerToken::new(text);
    match token.expose().trim() {
        "" => Err(CliError::usage("standard input has no token")),
        trimmed => Ok(BearerToken::new(trimmed.to_owned())),
    }
}

/// Numbers of a `Struct` are doubles; whole ones print as whole ones.
fn to_json(value: prost_types::Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        Some(Kind::NumberValue(value)) if value.fract() == 0.0 && value.abs() < 9e15 => (value as i64).into(),
        Some(Kind::NumberValue(value)) => value.into(),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(to_json).collect(),
        Some(Kind::StructValue(object)) => object
            .fields
            .into_iter()
            .map(|(name, value)| (name, to_json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
