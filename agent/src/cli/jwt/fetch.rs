//! `countersign jwt fetch`: once, or kept fresh in a file.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use countersign_common::clock::{Clock, Timestamp};
use countersign_common::proto::workload::{Jwtsvid, JwtsvidRequest};
use countersign_common::untrusted::inert_lines;
use tonic::Code;

use super::token_file::{self, Seen};
use crate::app::SystemClock;
use crate::cli::outcome::{CliError, Outcome};
use crate::cli::table;
use crate::cli::workload_socket::{ANSWER_LIMIT, WorkloadClient, WorkloadSocket};

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign jwt fetch --audience billing                     who am I, without showing the token
  countersign jwt fetch --audience billing -o token            the token itself, for a script
  countersign jwt fetch --audience billing --write token.jwt   into a file of mode 0600
  countersign jwt fetch --audience billing --write token.jwt --watch

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no agent or not now";

/// At least so long between two fetches: a clock that is off must not make this a busy loop.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// After a failed renewal: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    #[command(flatten)]
    socket: WorkloadSocket,
    /// For whom the token is to be; may be given more than once where the entry allows it.
    #[arg(long, short, required = true)]
    audience: Vec<String>,
    /// Which identity, for a process that has several; by default all are listed, and
    /// -o token and --write take the first.
    #[arg(long)]
    spiffe_id: Option<String>,
    /// Print the token: alone, or with what it says as JSON. Without this the token is not shown.
    #[arg(long, short, value_enum)]
    output: Option<Output>,
    /// Put the token into this file, replaced as a whole, readable by its owner only.
    #[arg(long, value_name = "PATH")]
    write: Option<PathBuf>,
    /// Go on: fetch again at half of the token's life, and remove the file if its token expires.
    #[arg(long)]
    watch: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Token,
    Json,
}

impl Fetch {
    pub(super) async fn run(self) -> Result<Outcome, CliError> {
        let mut client = self.socket.connect().await?;
        let first = self.fetch(&mut client).await?;
        self.deliver(&first)?;
        if !self.watch {
            return Ok(Outcome::Done);
        }
        self.keep_fresh(client, first).await
    }

    async fn fetch(&self, client: &mut WorkloadClient) -> Result<Vec<Jwtsvid>, CliError> {
        let request =
            JwtsvidRequest { audience: self.audience.clone(), spiffe_id: self.spiffe_id.clone().unwrap_or_default() };
        let answer = client.fetch_jwtsvid(request).await.map_err(|status| match status.code() {
            Code::PermissionDenied => CliError::refused(
                "refused: the agent grants this process no such token. Its operator finds the reason in the audit log",
            ),
            Code::InvalidArgument => CliError::refused(format!("refused: {}", status.message())),
            _ => CliError::from_status(&status),
        })?;
        Ok(answer.into_inner().svids)
    }

    /// Fetches again at half-life, for ever. A renewal that fails is tried again, later
    /// each time; the token in the file stays while it is valid and goes when it is not.
    async fn keep_fresh(&self, mut client: WorkloadClient, mut held: Vec<Jwtsvid>) -> Result<Outcome, CliError> {
        let mut backoff = BACKOFF.0;
        let mut wait = half_life(&held, SystemClock.now())?;
        loop {
            tokio::time::sleep(wait).await;
            match self.renew(&mut client, &held).await {
                Ok(svids) => {
                    self.deliver(&svids)?;
                    (held, backoff) = (svids, BACKOFF.0);
                    wait = half_life(&held, SystemClock.now())?;
                }
                Err(error) => {
                    let left = self.withdraw_expired(&held)?;
                    wait = left.map_or(backoff, |left| left.min(backoff));
                    backoff = (backoff * 2).min(BACKOFF.1);
                    writeln!(std::io::stderr(), "countersign: {error} (trying again in {} s)", wait.as_secs())
                        .map_err(CliError::output)?;
                }
            }
        }
    }

    /// Hands the answer to whom it is for: the file, standard output, or both.
    fn deliver(&self, svids: &[Jwtsvid]) -> Result<(), CliError> {
        if let (Some(path), Some(first)) = (&self.write, svids.first()) {
            token_file::replace(path, &first.svid)?;
        }
        match self.output {
            // The default identity (`SPIFFE_Workload_API.md`, section 6.2.1): a script wants one token.
            Some(Output::Token) => print(svids.first().map(|first| first.svid.as_str()).unwrap_or_default()),
            Some(Output::Json) => print(&as_json(svids)?),
            None => print(&as_table(svids)?),
        }
    }

    /// Fetches again; an agent that does not answer is given up when the token in the file expires.
    async fn renew(&self, client: &mut WorkloadClient, held: &[Jwtsvid]) -> Result<Vec<Jwtsvid>, CliError> {
        let limit = self.left_in_file(held)?.map_or(ANSWER_LIMIT, |(_, left)| left.clamp(MIN_WAIT, ANSWER_LIMIT));
        let silent = |_| Err(CliError::unreachable("the agent does not answer; is it running?"));
        tokio::time::timeout(limit, self.fetch(client)).await.unwrap_or_else(silent)
    }

    /// Removes the file if its token has expired; if not, tells how long it is valid.
    fn withdraw_expired(&self, held: &[Jwtsvid]) -> Result<Option<Duration>, CliError> {
        match self.left_in_file(held)? {
            Some((path, Duration::ZERO)) => token_file::withdraw(path).map(|()| None),
            left => Ok(left.map(|(_, left)| left)),
        }
    }

    /// The file that a token is kept in, and how long that token is valid.
    fn left_in_file(&self, held: &[Jwtsvid]) -> Result<Option<(&Path, Duration)>, CliError> {
        let (Some(path), Some(first)) = (&self.write, held.first()) else {
            return Ok(None);
        };
        Ok(Some((path, SystemClock.now().until(token_file::see(&first.svid)?.expires))))
    }
}

/// How long until the first of the tokens reaches half of its life.
fn half_life(svids: &[Jwtsvid], now: Timestamp) -> Result<Duration, CliError> {
    let mut wait = Duration::MAX;
    for svid in svids {
        let Seen { issued, expires, .. } = token_file::see(&svid.svid)?;
        let half = issued.after(issued.until(expires) / 2);
        wait = wait.min(now.until(half).max(MIN_WAIT));
    }
    Ok(wait)
}

fn as_table(svids: &[Jwtsvid]) -> Result<String, CliError> {
    let mut rows = vec![["SPIFFE ID", "AUDIENCE", "EXPIRES", "JTI", "HINT"].map(str::to_owned)];
    for svid in svids {
        let seen = token_file::see(&svid.svid)?;
        rows.push([
            svid.spiffe_id.clone(),
            seen.audience.join(", "),
            seen.expires.to_string(),
            seen.jti,
            svid.hint.clone(),
        ]);
    }
    table::columns(&rows)
}

fn as_json(svids: &[Jwtsvid]) -> Result<String, CliError> {
    let mut list = Vec::new();
    for svid in svids {
        let seen = token_file::see(&svid.svid)?;
        list.push(serde_json::json!({
            "spiffe_id": svid.spiffe_id,
            "svid": svid.svid,
            "hint": svid.hint,
            "audience": seen.audience,
            "jti": seen.jti,
            "expires": seen.expires.to_string(),
        }));
    }
    serde_json::to_string_pretty(&serde_json::json!({ "svids": list })).map_err(CliError::output)
}

fn print(text: &str) -> Result<(), CliError> {
    writeln!(stdout(), "{}", inert_lines(text.trim_end())).map_err(CliError::output)
}
