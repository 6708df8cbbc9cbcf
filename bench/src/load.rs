//! The load process: clients that call for a given time, each as soon as it was answered (closed
//! loop) or when its time has come, whatever became of the call before (open loop).

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep_until, timeout_at};

use crate::BenchError;
use crate::call::{Call, Client};
use crate::measurement::Measurement;
use crate::pacer::Pacer;
use crate::process;
use crate::setting::Plan;

/// How long after their time the clients may need for the answer that they wait for.
const LATE: Duration = Duration::from_secs(30);

/// How long after their time the clients of an open loop go on with calls that are overdue.
const OVERDUE: Duration = Duration::from_secs(5);

/// How a client uses its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Connection {
    /// All calls on one that was opened before.
    Warm,
    /// A new one for each call; opening it is part of what is measured.
    New,
}

/// Who is put under load.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// Where it listens.
    #[arg(long)]
    pub(crate) socket: PathBuf,
    /// Its process, whose processor time is read.
    #[arg(long)]
    pub(crate) server: Option<u32>,
    /// What tokens are asked for.
    #[arg(long)]
    pub(crate) audience: String,
    /// Every warm token has to be the first one.
    #[arg(long)]
    pub(crate) same_token: bool,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Work {
    #[arg(long, value_enum)]
    pub(crate) call: Call,
    #[arg(long, value_enum)]
    pub(crate) connection: Connection,
    /// Clients at once, each with a connection of its own.
    #[arg(long)]
    pub(crate) clients: u32,
    /// Calls a second of all clients together, in an open loop; without, in a closed one.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
}

/// What the load process is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    work: Work,
    /// How long calls are made before they count, in milliseconds.
    #[arg(long)]
    warm_up: u64,
    /// How long calls count, in milliseconds.
    #[arg(long)]
    measured: u64,
}

/// When calls count.
#[derive(Clone, Copy)]
struct Window {
    begin: Instant,
    end: Instant,
}

impl Work {
    /// In a closed loop, on warm connections.
    pub(crate) fn closed(call: Call, clients: u32) -> Self {
        Self { call, connection: Connection::Warm, clients, rate: None }
    }

    /// In an open loop at `rate` calls a second, on warm connections.
    pub(crate) fn open(call: Call, clients: u32, rate: f64) -> Self {
        Self { rate: Some(rate), ..Self::closed(call, clients) }
    }

    /// One client that opens a connection for each call.
    pub(crate) fn connecting(call: Call) -> Self {
        Self { connection: Connection::New, ..Self::closed(call, 1) }
    }
}

/// One load process, from its start to its end. It ends by itself: it gives its clients a limit.
///
/// # Errors
/// It failed, since a call did.
pub(crate) fn measure(target: &Target, work: Work, plan: &Plan) -> Result<Measurement, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::system("find this program"))?;
    let mut command = Command::new(program);
    command.arg("load").arg("--socket").arg(&target.socket).args(["--audience", &target.audience]);
    command.args(target.server.map(|pid| format!("--server={pid}")));
    command.args(target.same_token.then_some("--same-token"));
    command.args(["--call", &name(work.call), "--connection", &name(work.connection)]);
    command.args(["--clients", &work.clients.to_string()]).args(work.rate.map(|rate| format!("--rate={rate}")));
    command.args(["--warm-up", &plan.warm_up_ms.to_string(), "--measured", &plan.measured_ms.to_string()]);
    said_by("load", &mut command)
}

/// Runs a process of this program to its end, and reads what it found: a line of JSON.
///
/// # Errors
/// It failed.
pub(crate) fn said_by<T: for<'a> Deserialize<'a>>(name: &'static str, command: &mut Command) -> Result<T, BenchError> {
    let ended = command.stdin(Stdio::null()).output().map_err(BenchError::system("start a process of this program"))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(BenchError::Process { name, said });
    }
    Ok(serde_json::from_slice(&ended.stdout)?)
}

/// As the command line spells it.
pub(crate) fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl Load {
    /// Puts the load on the server and gives back the measurement as a line of JSON.
    ///
    /// # Errors
    /// A call failed, or none was made.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        // The process's one token is issued here; every later call gets the same.
        let mut first = Client::connect(&self.target.socket, self.work.call, &self.target.audience).await?;
        first.prepare(self.target.same_token).await?;
        let mut clients = Vec::new();
        for number in 0..self.work.clients {
            clients.push(first.again(&self.target.socket, number).await?);
        }
        let begin = Instant::now() + Duration::from_millis(self.warm_up);
        let window = Window { begin, end: begin + Duration::from_millis(self.measured) };
        let cpu = self.target.server.map(|pid| tokio::spawn(processor_time(pid, window)));
        let loops: Vec<_> = (0..)
            .zip(clients)
            .map(|(number, client)| tokio::spawn(self.clone().calls(client, number, window)))
            .collect();

        let mut latencies = Vec::new();
        for client in loops {
            let late = timeout_at((window.end + LATE).into(), client).await.map_err(|_| BenchError::Late(LATE))?;
            latencies.extend(joined(late)?);
        }
        let cpu = match cpu {
            Some(cpu) => Some(joined(cpu.await)?),
            None => None,
        };
        Ok(serde_json::to_string(&Measurement::of(latencies, window.end - window.begin, cpu)?)?)
    }

    /// Calls until the time is up. Gives back how long each call took that began in its time. In
    /// an open loop it began when it was due, even if the client still waited for the one before
    /// or had no processor: what a slow answer does to those behind it is counted.
    async fn calls(self, mut client: Client, number: u32, window: Window) -> Result<Vec<Duration>, BenchError> {
        let mut pacer = match self.work.rate {
            Some(rate) => {
                let period = Duration::from_secs_f64(f64::from(self.work.clients) / rate);
                // One after the other, so that not all of them call at once.
                Some(Pacer::start(period.mul_f64(f64::from(number) / f64::from(self.work.clients)), period)?)
            }
            None => None,
        };
        let mut latencies = Vec::new();
        loop {
            let begin = match &mut pacer {
                Some(pacer) => pacer.due().await?,
                None => Instant::now(),
            };
            if begin >= window.end {
                return Ok(latencies);
            }
            if pacer.is_some() && Instant::now() >= window.end + OVERDUE {
                // A server that cannot keep up is found to be as slow as this, and no failure.
                latencies.push(begin.elapsed());
                continue;
            }
            if self.work.connection == Connection::New {
                client = client.again(&self.target.socket, number).await?;
            }
            client.call().await?;
            if begin >= window.begin {
                latencies.push(begin.elapsed());
            }
        }
    }
}

/// What the server's process takes of all processors in the time that counts.
async fn processor_time(pid: u32, window: Window) -> Result<Duration, BenchError> {
    sleep_until(window.begin.into()).await;
    let before = process::cpu_time(pid)?;
    sleep_until(window.end.into()).await;
    Ok(process::cpu_time(pid)?.saturating_sub(before))
}

/// A client that panicked has failed like one that was refused.
fn joined<T>(ended: Result<Result<T, BenchError>, tokio::task::JoinError>) -> Result<T, BenchError> {
    ended.unwrap_or_else(|error| Err(BenchError::Process { name: "load", said: error.to_string() }))
}
