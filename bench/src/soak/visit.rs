//! A process that comes, asks, and goes; and what it says of how it was answered.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use crate::BenchError;
use crate::caller::{Caller, Given, Told, next, now};

/// What is said for each message of a stream.
pub(super) const OPEN: &str = "open";

/// What the process is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Visit {
    /// Where the agent listens.
    #[arg(long)]
    socket: PathBuf,
    #[arg(long, value_enum)]
    wants: Wants,
    #[arg(long, default_value = crate::setting::AUDIENCE)]
    audience: String,
}

/// What a visitor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wants {
    /// A token.
    Jwt,
    /// A token, its validation, and an X509-SVID.
    All,
    /// X509-SVIDs for as long as its input is open; says when it has the first.
    Stream,
}

/// How it went: one line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) tokens: u64,
    pub(crate) validations: u64,
    pub(crate) x509_svids: u64,
    /// Requests that were refused, and the last reason.
    pub(crate) refusals: u64,
    pub(crate) refusal: String,
    /// Why it was not answered.
    pub(crate) unreachable: Option<String>,
    /// What was wrong with what it was given.
    pub(crate) wrong: Option<String>,
}

impl Seen {
    /// Takes in one answer; what was served, if it was.
    pub(super) fn note<T>(&mut self, told: Told<T>) -> Option<T> {
        match told {
            Told::Served(value) => return Some(value),
            Told::Refused(why) => {
                self.refusals += 1;
                self.refusal = why;
            }
            Told::Unreachable(why) => self.unreachable = Some(why),
        }
        None
    }

    fn note_x509(&mut self, message: &countersign_common::proto::workload::X509svidResponse) {
        match Given::of(message, now()) {
            Ok(_) => self.x509_svids += 1,
            Err(wrong) => self.wrong = Some(wrong),
        }
    }
}

impl Visit {
    /// Asks, and says how it went.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        let mut seen = Seen::default();
        if let Some(mut caller) = seen.note(Caller::connect(&self.socket).await) {
            if self.wants == Wants::Stream {
                Self::stream(&mut caller, &mut seen).await;
            } else {
                self.ask(&mut caller, &mut seen).await;
            }
        }
        Ok(serde_json::to_string(&seen)?)
    }

    async fn ask(&self, caller: &mut Caller, seen: &mut Seen) {
        if let Some(token) = seen.note(caller.jwt(&self.audience).await) {
            seen.tokens += 1;
            if self.wants == Wants::All && seen.note(caller.validate(&token, &self.audience).await).is_some() {
                seen.validations += 1;
            }
        }
        if self.wants == Wants::All
            && let Some(message) = seen.note(caller.x509_once().await)
        {
            seen.note_x509(&message);
        }
    }

    async fn stream(caller: &mut Caller, seen: &mut Seen) {
        let Some(mut stream) = seen.note(caller.x509().await) else { return };
        let (mut input, mut byte) = (tokio::io::stdin(), [0]);
        loop {
            tokio::select! {
                told = next(&mut stream) => match seen.note(told) {
                    Some(message) => {
                        seen.note_x509(&message);
                        // Whoever started it may be gone.
                        let _ = writeln!(std::io::stdout(), "{OPEN}");
                    }
                    None => return,
                },
                // Nothing is written there: it ends.
                _ = input.read(&mut byte) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_noted_for_what_it_is() {
        let mut seen = Seen::default();
        assert_eq!(seen.note(Told::Served(7)), Some(7));
        assert_eq!(seen, Seen::default());
        assert_eq!(seen.note::<u8>(Told::Refused("no entry".to_owned())), None);
        assert_eq!((seen.refusals, seen.refusal.as_str(), &seen.unreachable), (1, "no entry", &None));
        assert_eq!(seen.note::<u8>(Told::Unreachable("gone".to_owned())), None);
        assert_eq!(seen.unreachable.as_deref(), Some("gone"));
    }
}
