//! The operational log, and the names used in it.
//!
//! The log says how the agent fares; who got what is the business of `audit`. One event is one
//! line on standard error: text that a caller chose cannot begin a line of its own.

pub mod names;
mod one_line;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::Dispatch;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt::{MakeWriter, Subscriber};
use tracing_subscriber::layer::SubscriberExt;

use one_line::OneLine;

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Text,
    /// One JSON object per line.
    Json,
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter says something that is not a filter.
    #[error(
        "log filter {filter:?}: {source}; write a level (\"info\") or target=level pairs (\"info,{}=debug\")",
        names::target::POLICY
    )]
    Filter {
        /// What was configured.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A log was set up before.
    #[error("the log of this process is already set up; set it up once, at the start")]
    AlreadySetUp,
}

/// Sends the events that `filter` lets through to standard error. Where that is the journal
/// (`$JOURNAL_STREAM`, systemd.exec(5)), which keeps the time itself, lines have no time. They
/// never have colour: an escape character in a line is one that somebody put there.
///
/// `filter` is a list of `level` and `target=level`, as tracing-subscriber's `Targets` reads it.
///
/// # Errors
/// The filter is malformed, or this process has a log already.
pub fn init(filter: &str, format: Format) -> Result<(), TelemetryError> {
    let log = log(filter, format, !is_journal_stderr(), io::stderr)?;
    tracing::dispatcher::set_global_default(log).map_err(|_| TelemetryError::AlreadySetUp)
}

/// Checks a filter without setting anything up, for the reader of the configuration.
///
/// # Errors
/// The filter is malformed.
pub fn check_filter(filter: &str) -> Result<(), TelemetryError> {
    parse_filter(filter).map(drop)
}

/// The HTTP/2 library warns of each answer to a PING that is not its own, which every countersign is
/// (`peer`): a line for each connection of any workload, with the number that was asked for. Who
/// wants to see it can name the target.
const NOT_OF_THE_COUNTERSIGN: &str = "h2::proto::ping_pong=error";

fn parse_filter(filter: &str) -> Result<Targets, TelemetryError> {
    // What stands later in a filter replaces what stands before it.
    let whole = format!("{NOT_OF_THE_COUNTERSIGN},{filter}");
    whole.parse().map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })
}

fn log<W>(filter: &str, format: Format, timestamps: bool, writer: W) -> Result<Dispatch, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // What the log does not take is lost. Told of on standard error, which takes no more either, it
    // would end the work that had something to say (the standard library panics then).
    let filter = parse_filter(filter)?;
    let log = Subscriber::builder()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(OneLine::new(writer));
    Ok(match (format, timestamps) {
        (Format::Text, true) => Dispatch::new(log.finish().with(filter)),
        (Format::Text, false) => Dispatch::new(log.without_time().finish().with(filter)),
        (Format::Json, true) => Dispatch::new(log.json().finish().with(filter)),
        (Format::Json, false) => Dispatch::new(log.json().without_time().finish().with(filter)),
    })
}

fn is_journal_stderr() -> bool {
    let stderr = io::stderr().as_fd().try_clone_to_owned().and_then(|fd| std::fs::File::from(fd).metadata());
    let stream = std::env::var("JOURNAL_STREAM").ok();
    is_journal(stream.as_deref(), stderr.ok().map(|file| (file.dev(), file.ino())))
}

/// `stream` names the file of the journal as `device:inode`. The variable is inherited by children
/// whose standard error goes elsewhere, so it counts only if it names `stderr`.
fn is_journal(stream: Option<&str>, stderr: Option<(u64, u64)>) -> bool {
    let journal = stream
        .and_then(|stream| stream.split_once(':'))
        .and_then(|(dev, ino)| Some((dev.parse().ok()?, ino.parse().ok()?)));
    journal.is_some() && journal == stderr
}

#[cfg(test)]
mod tests;
