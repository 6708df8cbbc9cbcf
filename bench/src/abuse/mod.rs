//! Clients that no library would be, as a process of its own: they hold connections and say nothing,
//! half of a frame or nonsense, never read, or wear HTTP/2 down.

mod calls;
mod rounds;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tokio::time::sleep;

use crate::BenchError;

/// What is said at the beginning.
pub(crate) const BEGINS: &str = "begins";

/// What the process is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Abuse {
    /// Where the agent listens.
    #[arg(long)]
    socket: PathBuf,
    #[arg(long, value_enum)]
    kind: Kind,
    /// How many do it at a time.
    #[arg(long, default_value_t = 1)]
    lanes: usize,
    /// Connections of one round that are held, or frames of one that is not, in hundreds.
    #[arg(long, default_value_t = 10)]
    size: usize,
    /// How long connections are held, and how long a lane rests after each round, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pause: u64,
    /// For how long, in milliseconds.
    #[arg(long)]
    lasts: u64,
}

/// One way to wear the agent down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Connections on which nothing is said.
    Silent,
    /// Connections with half of a frame.
    Half,
    /// Bytes that are no HTTP/2.
    Garbage,
    /// Streams without a window, of which nothing is read.
    Unread,
    /// Calls that are taken back at once (rapid reset).
    Resets,
    /// A block of headers that does not end.
    Continuation,
    /// PING, and no answer is read.
    Pings,
    /// SETTINGS, and no answer is read.
    Settings,
    /// DATA frames without data.
    EmptyData,
    /// A short block of headers that grows when it is read.
    Bomb,
    /// Calls on connections that stay.
    Calls,
    /// A new connection for each call.
    Connections,
    /// Calls of a program whose file changes before each, so that it is hashed anew.
    Hashes,
}

impl Kind {
    /// Those that need no more than a socket.
    pub(crate) const OF_A_SOCKET: [Self; 10] = [
        Self::Silent,
        Self::Half,
        Self::Garbage,
        Self::Unread,
        Self::Resets,
        Self::Continuation,
        Self::Pings,
        Self::Settings,
        Self::EmptyData,
        Self::Bomb,
    ];
}

impl Abuse {
    /// Says that it begins; then round after round until the time is up, whatever comes of it, and
    /// how many there were.
    ///
    /// # Errors
    /// Nobody listens to what it says.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        let mut out = std::io::stdout();
        writeln!(out, "{BEGINS}").and_then(|()| out.flush()).map_err(BenchError::system("say that it begins"))?;
        let end = Instant::now() + Duration::from_millis(self.lasts);
        let lanes: Vec<_> = (0..self.lanes).map(|_| tokio::spawn(self.clone().lane(end))).collect();
        let mut rounds = 0;
        for lane in lanes {
            // One that panicked goes on no more.
            rounds += lane.await.unwrap_or_default();
        }
        Ok(rounds.to_string())
    }

    async fn lane(self, end: Instant) -> u64 {
        if self.kind == Kind::Calls {
            return calls::on_a_connection(self.socket, end).await;
        }
        let mut rounds = 0;
        while Instant::now() < end {
            match self.kind {
                Kind::Connections => calls::on_a_new_one(&self.socket).await,
                Kind::Hashes => calls::hashed_anew(&self.socket).await,
                _ => self.round(end).await,
            }
            rounds += 1;
        }
        rounds
    }

    async fn round(&self, end: Instant) {
        let (socket, kind, size) = (self.socket.clone(), self.kind, self.size);
        let round = tokio::task::spawn_blocking(move || rounds::of(kind, &socket, size)).await;
        // What a round holds is let go of after the pause.
        let _held = round.unwrap_or_default();
        sleep(Duration::from_millis(self.pause).min(end.saturating_duration_since(Instant::now()))).await;
    }
}
