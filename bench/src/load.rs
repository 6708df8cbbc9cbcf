//! The load process: clients that call for a given time, each as soon as it was answered or at a
//! steady rate.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep_until, timeout_at};

use crate::BenchError;
use crate::call::{Call, Client};
use crate::cpu;
use crate::measurement::Measurement;

/// How long after their time the clients may need for the answer that they wait for.
const LATE: Duration = Duration::from_secs(30);

/// How a client uses its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Connection {
    /// All calls on one that was opened before.
    Warm,
    /// A new one for each call; opening it is part of what is measured.
    New,
}

/// What the load process is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Where the agent listens.
    #[arg(long)]
    pub(crate) socket: PathBuf,
    /// The agent's process, whose processor time is read.
    #[arg(long)]
    pub(crate) agent: u32,
    #[arg(long, value_enum)]
    pub(crate) call: Call,
    #[arg(long, value_enum)]
    pub(crate) connection: Connection,
    /// Clients at once, each with a connection of its own.
    #[arg(long)]
    pub(crate) clients: u32,
    /// A call of each client is due every so many microseconds; without, as soon as the one before
    /// was answered.
    #[arg(long)]
    pub(crate) every: Option<u64>,
    /// How long calls are made before they count, in milliseconds.
    #[arg(long)]
    pub(crate) warm_up: u64,
    /// How long calls count, in milliseconds.
    #[arg(long)]
    pub(crate) measured: u64,
}

/// When calls count.
#[derive(Clone, Copy)]
struct Window {
    begin: Instant,
    end: Instant,
}

impl Load {
    /// Puts the load on the agent and gives back the measurement as a line of JSON.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        // The process's one token is issued here; every later call gets the same.
        let mut first = Client::connect(&self.socket, self.call, None).await?;
        first.call().await?;
        let token = first.token();

        let mut clients = Vec::new();
        for _ in 0..self.clients {
            clients.push(Client::connect(&self.socket, self.call, token.clone()).await?);
        }
        let begin = Instant::now() + Duration::from_millis(self.warm_up);
        let window = Window { begin, end: begin + Duration::from_millis(self.measured) };
        let processor = tokio::spawn(processor_time(self.agent, window));
        let loops: Vec<_> =
            clients.into_iter().map(|client| tokio::spawn(self.clone().calls(client, window))).collect();

        let mut latencies = Vec::new();
        for client in loops {
            let late = timeout_at((window.end + LATE).into(), client).await.map_err(|_| BenchError::Late(LATE))?;
            latencies.extend(joined(late)?);
        }
        let agent_cpu = joined(processor.await)?;
        let measurement = Measurement::of(latencies, window.end - window.begin, agent_cpu)?;
        Ok(serde_json::to_string(&measurement)?)
    }

    /// Calls until the time is up. Gives back how long each call took that began in its time; one
    /// for which the client came late, since it still waited for the one before, began when it was
    /// due.
    async fn calls(self, mut client: Client, window: Window) -> Result<Vec<Duration>, BenchError> {
        let mut latencies = Vec::new();
        let mut due = Instant::now();
        loop {
            let begin = if let Some(every) = self.every {
                due += Duration::from_micros(every);
                let is_late = due < Instant::now();
                sleep_until(due.into()).await;
                // The timer is right to a millisecond only.
                if is_late { due } else { Instant::now() }
            } else {
                Instant::now()
            };
            if begin >= window.end {
                return Ok(latencies);
            }
            if self.connection == Connection::New {
                client = Client::connect(&self.socket, self.call, client.token()).await?;
            }
            client.call().await?;
            if begin >= window.begin {
                latencies.push(begin.elapsed());
            }
        }
    }
}

/// What the agent's process takes of all processors in the time that counts.
async fn processor_time(agent: u32, window: Window) -> Result<Duration, BenchError> {
    sleep_until(window.begin.into()).await;
    let before = cpu::time_of(agent)?;
    sleep_until(window.end.into()).await;
    Ok(cpu::time_of(agent)?.saturating_sub(before))
}

/// A client that panicked has failed like one that was refused.
fn joined<T>(ended: Result<Result<T, BenchError>, tokio::task::JoinError>) -> Result<T, BenchError> {
    ended.unwrap_or_else(|error| Err(BenchError::LoadProcess(error.to_string())))
}
