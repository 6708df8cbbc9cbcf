//! Many open X.509 streams: what one costs the agent, how long all of them take to hear of a new
//! authority, and what another caller's requests take meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use countersign_common::proto::workload::X509svidRequest;
use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use countersign_tests::{Agent, AgentSettings};
use serde::Serialize;
use tokio::io::AsyncBufReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::BenchError;
use crate::call::{AUDIENCE, Call};
use crate::load::Connection;
use crate::measurement::Measurement;
use crate::report::Scenario;
use crate::rounds::{Plan, load, say};

/// Streams on one connection.
const STREAMS_OF_CONNECTION: u32 = 50;
/// Streams that wait for their first message at a time.
const OPENED_AT_ONCE: usize = 500;
/// The caller whose requests are looked at, 200 a second on a connection of its own.
const OTHER: Scenario = Scenario { clients: 1, connection: Connection::Warm, every_us: Some(5000) };

/// What the process that holds the streams is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Hold {
    /// Where the agent listens.
    #[arg(long)]
    socket: PathBuf,
    /// How many streams.
    #[arg(long)]
    streams: u32,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    streams: u32,
    /// Until every stream had its first message.
    opened_ms: f64,
    /// Resident memory of the agent, in KiB: before, with all streams, after the last was closed.
    resident_kib: [u64; 3],
    /// From the operator's command to a new SVID at the last stream.
    replaced_ms: f64,
    /// The other caller without streams, with them while nothing happens, and meanwhile.
    alone: Measurement,
    idle: Measurement,
    replacing: Measurement,
}

/// How often each stream was given a new SVID, as the slowest of them sees it.
struct Heard {
    counts: Vec<AtomicU64>,
    news: watch::Sender<u64>,
}

impl Hold {
    /// Opens the streams, says so, and then for each line that is read says when every stream has
    /// been given a new SVID since.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        let count = self.streams as usize;
        let heard =
            Arc::new(Heard { counts: (0..count).map(|_| AtomicU64::new(0)).collect(), news: watch::Sender::new(0) });
        let mut channel = self.connect().await?;
        let opening = Arc::new(Semaphore::new(OPENED_AT_ONCE));
        for stream in 0..count {
            if stream > 0 && stream % STREAMS_OF_CONNECTION as usize == 0 {
                channel = self.connect().await?;
            }
            // It is closed by nobody.
            let opens = Arc::clone(&opening).acquire_owned().await.ok();
            tokio::spawn(follow(channel.clone(), stream, Arc::clone(&heard), opens));
        }
        heard.all_past(&vec![0; count]).await?;
        print("open")?;
        let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(_)) = lines.next_line().await {
            let marks: Vec<u64> = heard.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            print("marked")?;
            heard.all_past(&marks).await?;
            print("replaced")?;
        }
        Ok(String::new())
    }

    async fn connect(&self) -> Result<Channel, BenchError> {
        Ok(Endpoint::try_from(format!("unix://{}", self.socket.display()))?.connect().await?)
    }
}

impl Heard {
    async fn all_past(&self, marks: &[u64]) -> Result<(), BenchError> {
        let mut news = self.news.subscribe();
        let is_past = |(count, mark): (&AtomicU64, &u64)| count.load(Ordering::Relaxed) > *mark;
        while !self.counts.iter().zip(marks).all(is_past) {
            // The sender is in `self`.
            let _ = news.changed().await;
            if *news.borrow() == u64::MAX {
                return Err(BenchError::Answer("the end of a stream"));
            }
        }
        Ok(())
    }
}

/// One stream, until it ends, which it must not.
async fn follow(channel: Channel, number: usize, heard: Arc<Heard>, opens: Option<OwnedSemaphorePermit>) {
    let ended = hear(SpiffeWorkloadApiClient::new(channel), number, &heard, opens).await;
    let why = ended.err().map_or_else(|| "by the agent".to_owned(), |status| status.to_string());
    say(&format!("stream {number} ended: {why}"));
    heard.news.send_replace(u64::MAX);
}

async fn hear(
    mut client: SpiffeWorkloadApiClient<Channel>,
    number: usize,
    heard: &Heard,
    opens: Option<OwnedSemaphorePermit>,
) -> Result<(), tonic::Status> {
    let mut request = tonic::Request::new(X509svidRequest {});
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    let mut stream = client.fetch_x509svid(request).await?.into_inner();
    let (mut last, mut opens) = (Vec::new(), opens);
    while let Some(message) = stream.message().await? {
        drop(opens.take());
        let leaf = message.svids.into_iter().next().map(|svid| svid.x509_svid).unwrap_or_default();
        if leaf != last {
            heard.counts[number].fetch_add(1, Ordering::Relaxed);
            heard.news.send_modify(|news| *news += 1);
        }
        last = leaf;
    }
    Ok(())
}

fn print(word: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout();
    writeln!(out, "{word}").and_then(|()| out.flush()).map_err(BenchError::system("tell how far it is"))
}

/// The process that holds the streams.
struct Holder {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start(agent: &Agent, streams: u32) -> Result<Self, BenchError> {
        let failed = || BenchError::system("start the process that holds the streams");
        let mut command = Command::new(std::env::current_exe().map_err(failed())?);
        command.arg("hold").arg("--socket").arg(agent.workload_socket()).args(["--streams", &streams.to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed())?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { return Err(BenchError::Nothing("the streams")) };
        let mut holder = Self { process, input, output: BufReader::new(output) };
        holder.hear("open")?;
        Ok(holder)
    }

    fn hear(&mut self, word: &str) -> Result<(), BenchError> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(BenchError::system("hear of the streams"))?;
        if line.trim() == word { Ok(()) } else { Err(BenchError::LoadProcess("a stream ended".to_owned())) }
    }

    fn mark(&mut self) -> Result<(), BenchError> {
        self.input.write_all(b"\n").map_err(BenchError::system("speak to the streams"))?;
        self.hear("marked")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Opens the streams at a new agent, and has its authority replaced under them.
///
/// # Errors
/// A stream ended, a request failed, or the agent did not do what was asked.
pub(crate) async fn measure(streams: u32, plan: &Plan) -> Result<Report, BenchError> {
    let settings = AgentSettings {
        workload_api: "max_connections = 4000",
        admission: "max_streams = 60000\nmax_requests = 8000",
        ..AgentSettings::default()
    };
    let agent = Arc::new(Agent::start(settings).await);
    agent.apply(&format!(
        "id: load\nspiffe_id: spiffe://example.org/load\nselectors: [\"unix:uid:{}\"]\n\
         allow: [writable_executable]\njwt: {{audiences: [{AUDIENCE}]}}\n",
        nix::unistd::geteuid()
    ));
    let alone = load(&agent, Call::Fetch, OTHER, plan)?;
    let before = resident(&agent)?;
    let begin = Instant::now();
    let mut holder = Holder::start(&agent, streams)?;
    let opened_ms = milliseconds(begin.elapsed());
    say(&format!("{streams} streams are open"));
    let with = resident(&agent)?;
    let idle = load(&agent, Call::Fetch, OTHER, plan)?;
    holder.mark()?;
    let loaded = tokio::task::spawn_blocking({
        let (agent, plan) = (Arc::clone(&agent), plan.clone());
        move || load(&agent, Call::Fetch, OTHER, &plan)
    });
    let begin = replace(&agent, plan).await?;
    holder.hear("replaced")?;
    let replaced_ms = milliseconds(begin.elapsed());
    let replacing = loaded.await.unwrap_or(Err(BenchError::Nothing("the other caller")))?;
    drop(holder);
    let resident_kib = [before, with, settled(&agent).await?];
    Ok(Report { streams, opened_ms, resident_kib, replaced_ms, alone, idle, replacing })
}

/// Makes a new authority the one that signs and has all SVIDs of the one before replaced, in the
/// middle of what is measured; when that began.
async fn replace(agent: &Agent, plan: &Plan) -> Result<Instant, BenchError> {
    sleep(Duration::from_millis(plan.warm_up_ms + plan.measured_ms / 4)).await;
    let shown = agent.operator(&["authority", "show", "-o", "json"], "");
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout)?;
    let active = shown["x509_authorities"].as_array().into_iter().flatten().find(|key| key["state"] == "active");
    let id =
        active.and_then(|key| key["subject_key_id"].as_str()).ok_or(BenchError::Nothing("the active authority"))?;
    let begin = Instant::now();
    let done = agent.operator(&["authority", "taint", id], "");
    let said = || String::from_utf8_lossy(&done.stderr).trim().to_owned();
    if done.status.success() { Ok(begin) } else { Err(BenchError::LoadProcess(said())) }
}

/// Resident memory in KiB (proc(5), `status`).
fn resident(agent: &Agent) -> Result<u64, BenchError> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid()));
    let status = status.map_err(BenchError::system("read the memory of the agent"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).ok_or(BenchError::Nothing("memory"))
}

/// Resident memory once it falls no more, a few seconds later at most.
async fn settled(agent: &Agent) -> Result<u64, BenchError> {
    let mut last = resident(agent)?;
    for _ in 0..20 {
        sleep(Duration::from_millis(250)).await;
        last = last.min(resident(agent)?);
    }
    Ok(last)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The figures for people.
pub(crate) fn table(report: &Report) -> String {
    let [before, with, after] = report.resident_kib;
    let each = (with.saturating_sub(before)) as f64 / f64::from(report.streams);
    let line = |name: &str, found: &Measurement| format!("{name:<34}{:<12.0}{:.0}", found.p50_us, found.p99_us);
    [
        format!("{} X.509 streams, {STREAMS_OF_CONNECTION} on a connection", report.streams),
        format!("opened in {:.0} ms; all have a new SVID {:.0} ms after taint", report.opened_ms, report.replaced_ms),
        format!("resident: {before} KiB before, {with} KiB with them ({each:.1} KiB each), {after} KiB after"),
        String::new(),
        format!("{:<34}{:<12}{}", "ANOTHER CALLER", "P50 US", "P99 US"),
        line("no streams", &report.alone),
        line("streams, nothing happens", &report.idle),
        line("all SVIDs replaced", &report.replacing),
    ]
    .join("\n")
}
