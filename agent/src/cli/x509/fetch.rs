//! `countersign x509 fetch`: once, or kept fresh in a directory.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use countersign_common::clock::{Clock, Timestamp};
use countersign_common::document::{duration_text, parse_duration};

use super::after_renewal::AfterRenewal;
use super::folder::Folder;
use super::follow::{Ended, Next, Source};
use super::keeper::{Keeper, report};
use super::message::{Choice, Identities};
use super::shown::{Format, print};
use crate::app::SystemClock;
use crate::cli::outcome::{CliError, Outcome};
use crate::cli::workload_socket::{ANSWER_LIMIT, WorkloadSocket};
use crate::health::Notifier;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign x509 fetch                                   who am I, without showing a key
  countersign x509 fetch -o pem                            the chain and its key, for a script
  countersign x509 fetch --write /run/orders --wait 30s    before a service starts
  countersign x509 fetch --write /run/orders --watch --on-renew systemctl reload orders
  countersign x509 fetch --write /run/orders --watch --signal SIGHUP --pid-file /run/orders.pid

Files in DIR, all replaced in one step:
  svid.pem            the chain, leaf first        key.pem      its private key
  svid_and_key.pem    both in one file             bundle.pem   whom to trust in this trust domain
  federated/TRUST-DOMAIN.pem                       whom to trust in another one
A program that opens svid.pem and key.pem itself may open one before and the other after that
step; it should take svid_and_key.pem, or be told by --on-renew or --signal. DIR must exist, and
nobody else may be able to write to it. For a service of another user:
  install -d -m 2750 -g orders /run/orders; countersign x509 fetch --write /run/orders --key-mode 0640

--watch ends only if the agent says that asking again is of no use. When the agent takes the
identity back the files are removed, and it goes on asking; files that expired are removed too.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no agent or not now";

#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    #[command(flatten)]
    socket: WorkloadSocket,
    #[command(flatten)]
    choice: Choice,
    /// How to print the answer.
    #[arg(long, short, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
    /// Keep the SVID, its key and the bundles in this directory.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Mode of the files with the key: 0600, 0640, 0400 or 0440.
    #[arg(long, requires = "write", default_value = "0600", value_parser = key_mode, value_name = "MODE")]
    key_mode: u32,
    /// Go on: take each renewal, and come back to the agent when it has restarted.
    #[arg(long)]
    watch: bool,
    /// Try for so long to get the first SVID, such as 30s; without this once.
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    wait: Option<Duration>,
    #[command(flatten)]
    after: AfterRenewal,
}

impl Fetch {
    pub(super) async fn run(mut self) -> Result<Outcome, CliError> {
        // Before the agent makes a key that could not be kept.
        let folder = self.write.as_deref().map(|path| Folder::take(path, self.key_mode)).transpose()?;
        let mut keeper = Keeper::new(folder, std::mem::take(&mut self.after));
        let mut source = Source::new(&self.socket);
        let first = self.first(&mut source).await?;
        let name = first.svids.first().map(|svid| svid.spiffe_id.to_string()).unwrap_or_default();
        keeper.take(first).await?;
        self.print(&keeper)?;
        if !self.watch {
            return Ok(Outcome::Done);
        }
        // A fault of the service manager's line is no reason to let the SVID expire.
        Notifier::from_environment().and_then(|line| line.ready(&name)).unwrap_or_else(report);
        self.keep(source, keeper).await
    }

    /// The first identities: by one try, or by as many as `--wait` has time for.
    async fn first(&self, source: &mut Source<'_>) -> Result<Identities, CliError> {
        let Some(wait) = self.wait else {
            return self.hear(source, ANSWER_LIMIT).await.map_err(|ended| ended.error);
        };
        let mut last = None;
        let trying = async {
            loop {
                match self.hear(source, wait).await {
                    Ok(first) => return Ok(first),
                    Err(Ended { error, next: Next::Never }) => return Err(error),
                    Err(Ended { error, .. }) => last = Some(error),
                }
            }
        };
        let in_time = tokio::time::timeout(wait, trying).await;
        let silent = || CliError::unreachable(format!("the agent did not answer within {}", duration_text(wait)));
        in_time.unwrap_or_else(|_| Err(last.unwrap_or_else(silent)))
    }

    /// The next message that can be used. One that cannot is dropped; the stream stays, and what it
    /// brought before counts (`SPIFFE_Workload_API.md`, section 4.5).
    async fn hear(&self, source: &mut Source<'_>, patience: Duration) -> Result<Identities, Ended> {
        let message = source.next(patience).await?;
        let identities = Identities::read(message).map_err(|error| Ended { error, next: Next::Later })?;
        source.served_well();
        // An identity that a message does not have any more was taken back (section 5.2.1).
        let chosen = identities.choose(&self.choice).map_err(|error| Ended { error, next: Next::Withdraw })?;
        let expired = chosen.svids.first().map(|svid| svid.leaf.not_after).filter(|until| *until < now());
        match expired {
            None => Ok(chosen),
            Some(until) => {
                let told =
                    format!("the agent answered with an SVID that expired at {until}; is this machine's clock right?");
                Err(Ended { error: CliError::refused(told), next: Next::Later })
            }
        }
    }

    /// Takes every message, for ever.
    async fn keep(&self, mut source: Source<'_>, mut keeper: Keeper) -> Result<Outcome, CliError> {
        loop {
            match self.hear_or_expire(&mut source, &mut keeper).await {
                None => source.leave(),
                Some(Ok(identities)) => {
                    keeper.take(identities).await.unwrap_or_else(report);
                    self.print(&keeper)?;
                }
                Some(Err(Ended { error, next: Next::Never })) => return Err(error),
                Some(Err(Ended { error, next })) => {
                    if next == Next::Withdraw {
                        keeper.withdraw().await;
                    }
                    match source.pause().as_millis() {
                        0 => report(error),
                        pause => report(format!("{error} (trying again in {pause} ms)")),
                    }
                }
            }
        }
    }

    /// The next message, with an eye on the clock while it does not come. None if what is held
    /// expired meanwhile: then the stream is not worth waiting on.
    async fn hear_or_expire(&self, source: &mut Source<'_>, keeper: &mut Keeper) -> Option<Result<Identities, Ended>> {
        let patience = keeper.patience(now());
        let mut heard = pin!(self.hear(source, patience));
        loop {
            tokio::select! {
                heard = &mut heard => return Some(heard),
                () = tokio::time::sleep(keeper.until_look(now())) => {
                    if keeper.look(now()).await {
                        return None;
                    }
                }
            }
        }
    }

    fn print(&self, keeper: &Keeper) -> Result<(), CliError> {
        keeper.held().map_or(Ok(()), |held| print(held, self.output))
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// Modes that let the owner read, a group at most read, and nobody else anything.
fn key_mode(text: &str) -> Result<u32, &'static str> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ (0o400 | 0o440 | 0o600 | 0o640)) => Ok(mode),
        _ => Err("a key is 0600, 0640, 0400 or 0440: nobody but a group may read it beside its owner"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_for_everybody() {
        assert_eq!(key_mode("0640"), Ok(0o640));
        assert_eq!(key_mode("600"), Ok(0o600));
        for mode in ["0644", "0660", "0700", "0", "", "rw", "-600", "2640", "0800"] {
            assert!(key_mode(mode).is_err(), "{mode}");
        }
    }
}
