//! Why there are no figures.

use std::path::PathBuf;
use std::time::Duration;

use countersign_common::selector::SelectorKind;

/// What kept something from being measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A kind of selector that the load process is not given.
    #[error("no value is known here for the selector {0}; choose among unix:uid, unix:gid, unix:path")]
    Selector(SelectorKind),
    /// The machine or the user does not allow for it; nothing has failed.
    #[error("cannot be measured here: {0}")]
    NotHere(String),
    /// Something of the system.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A client could not connect.
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    /// A request was refused or failed.
    #[error("a request failed: {0}")]
    Request(#[from] tonic::Status),
    /// A request was answered, but not as it should be.
    #[error("a request was answered with {0}")]
    Answer(&'static str),
    /// Nothing came within the limit.
    #[error("the clients were not done within {0:?} after their time")]
    Late(Duration),
    /// A process that was started failed, and has said why.
    #[error("the {name} process failed: {said}")]
    Process {
        /// Which one.
        name: &'static str,
        /// What it said.
        said: String,
    },
    /// Figures that are none.
    #[error("no figures for {0}: nothing was measured")]
    Nothing(&'static str),
    /// The crypto library could not do what it is asked for as a floor.
    #[error("the crypto library failed to {0}")]
    Crypto(&'static str),
    /// A line of JSON.
    #[error("the figures have no JSON form: {0}")]
    Json(#[from] serde_json::Error),
    /// A file that is to be compared.
    #[error("cannot read {} as the figures.json that `all` or `run` writes (--out): {why}", path.display())]
    Figures {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A long run was not as it should be.
    #[error("the long run failed\n{0}")]
    Soak(String),
    /// Scenarios without figures.
    #[error("not everything was measured: {0}")]
    Incomplete(String),
}

impl BenchError {
    /// For `map_err`, of something that the kernel refused.
    pub(crate) fn system(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}
