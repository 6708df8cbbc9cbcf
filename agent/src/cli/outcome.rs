//! How a command ends: exit codes that scripts can use, and errors that say what to do.

use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;

use countersign_common::untrusted::inert_lines;
use tonic::{Code, Status};

/// How a command ended; each is one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 0: done.
    Done,
    /// 1: refused, not valid, or not possible.
    Refused,
    /// 1: done, and there is a difference (`diff`).
    Different,
    /// 2: the command itself was wrong; also what clap exits with. For `diff` also: it cannot tell.
    Usage,
    /// 3: no agent answers, or it cannot serve now; trying again may help.
    Unreachable,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::Refused | Outcome::Different => 1,
            Outcome::Usage => 2,
            Outcome::Unreachable => 3,
        })
    }
}

/// Why a command was not done. What it prints may repeat words of a file under review, or of
/// whoever answers at a socket.
#[derive(Debug, thiserror::Error)]
#[error("{}", inert_lines(message))]
pub(super) struct CliError {
    outcome: Outcome,
    message: String,
}

impl CliError {
    /// Refused, not valid, or not possible.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Refused, message: message.into() }
    }

    /// Not possible, for a reason that has reasons: all of them, outermost first. Some
    /// errors tell their source themselves; it is not told twice.
    pub(super) fn caused_by(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let told = inner.to_string();
            if !message.contains(&told) {
                message = format!("{message}: {told}");
            }
            cause = inner.source();
        }
        Self::refused(message)
    }

    /// The command itself was wrong.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Usage, message: message.into() }
    }

    /// No agent answers, or it cannot serve now.
    pub(super) fn unreachable(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Unreachable, message: message.into() }
    }

    /// Standard output or standard error did not take what was to be printed.
    pub(super) fn output(error: impl Display) -> Self {
        Self::refused(format!("cannot print: {error}"))
    }

    /// What an agent answered instead of doing it, or why it did not answer.
    pub(super) fn from_status(status: &Status) -> Self {
        // An answer of the agent has no source: this status was made on the way.
        if let Some(cause) = status.source() {
            return Self::unreachable(format!("the agent does not answer: {}; is it running?", root_cause(cause)));
        }
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => Self::unreachable(status.message()),
            Code::Unimplemented => Self::refused(format!("the agent does not serve this: {}", status.message())),
            _ => Self::refused(status.message()),
        }
    }

    /// The same, for a command whose exit code for "refused" has another meaning.
    pub(super) fn instead_of_refused(self, outcome: Outcome) -> Self {
        match self.outcome {
            Outcome::Refused => Self { outcome, ..self },
            _ => self,
        }
    }

    /// The exit code that goes with it.
    pub(super) fn outcome(&self) -> Outcome {
        self.outcome
    }
}

/// The innermost cause: what the kernel said, not the layers above it.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_says_and_what_the_way_says_have_codes_of_their_own() {
        let said = |status: Status| CliError::from_status(&status).outcome();
        assert_eq!(said(Status::not_found("no entry has the id a")), Outcome::Refused);
        assert_eq!(said(Status::unavailable("not now")), Outcome::Unreachable);
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(said(Status::from_error(Box::new(broken))), Outcome::Unreachable);
    }

    #[test]
    fn an_error_says_what_is_behind_it_once() {
        let io = std::io::Error::from(std::io::ErrorKind::NotFound);
        let source = crate::authority::AuthorityError::Load(crate::store::StoreError::Directory {
            path: "/data".into(),
            source: io,
        });
        let error = crate::app::AppError::Database { path: "/data/db".into(), source };
        assert_eq!(
            CliError::caused_by(&error).to_string(),
            "the database /data/db: cannot read the authority's state from the store: the database's directory /data \
             cannot be used: entity not found; create it, owned by the agent's user, mode 0700"
        );
    }

    #[test]
    fn an_error_does_not_command_the_terminal() {
        let said = CliError::from_status(&Status::permission_denied("two\nlines \u{1b}[2J\u{9b}2J"));
        assert_eq!(said.to_string(), "two\nlines \\u001b[2J\\u009b2J");
    }
}
