//! A process that holds many open X.509 streams, and says when all of them have heard something new.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use countersign_common::proto::workload::X509svidRequest;
use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use tokio::io::AsyncBufReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::transport::Channel;

use crate::BenchError;
use crate::call::{channel, with_security_header};
use crate::run::say;

/// Streams that wait for their first message at a time: less than the requests that an agent takes.
const OPENED_AT_ONCE: usize = 64;
/// What is said when every stream has its first message.
const OPEN: &str = "open";
/// That it is known which SVID each stream has.
const MARKED: &str = "marked";
/// That each has another one.
const REPLACED: &str = "replaced";

/// What the process is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Hold {
    /// Where the server listens.
    #[arg(long)]
    socket: PathBuf,
    /// How many streams, each on a connection of its own.
    #[arg(long)]
    streams: usize,
}

/// How often each stream was given a new SVID, as the slowest of them sees it.
struct Heard {
    counts: Vec<AtomicU64>,
    news: watch::Sender<u64>,
}

impl Hold {
    /// Opens the streams, says so, and then for each line that is read says when every stream has
    /// been given a new SVID since.
    ///
    /// # Errors
    /// A stream ended.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        let counts = (0..self.streams).map(|_| AtomicU64::new(0)).collect();
        let heard = Arc::new(Heard { counts, news: watch::Sender::new(0) });
        let opening = Arc::new(Semaphore::new(OPENED_AT_ONCE));
        for stream in 0..self.streams {
            // It is closed by nobody.
            let opens = Arc::clone(&opening).acquire_owned().await.ok();
            tokio::spawn(follow(channel(&self.socket).await?, stream, Arc::clone(&heard), opens));
        }
        heard.all_past(&vec![0; self.streams]).await?;
        print(OPEN)?;
        let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(_)) = lines.next_line().await {
            let marks: Vec<u64> = heard.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            print(MARKED)?;
            heard.all_past(&marks).await?;
            print(REPLACED)?;
        }
        Ok(String::new())
    }
}

impl Heard {
    async fn all_past(&self, marks: &[u64]) -> Result<(), BenchError> {
        let mut news = self.news.subscribe();
        // Those before it are past their mark: they never come back.
        let mut next = 0;
        loop {
            let is_past = |at: usize| {
                self.counts
                    .get(at)
                    .zip(marks.get(at))
                    .is_some_and(|(count, mark)| count.load(Ordering::Relaxed) > *mark)
            };
            while next < marks.len() && is_past(next) {
                next += 1;
            }
            if next == marks.len() {
                return Ok(());
            }
            // The sender is in `self`.
            let _ = news.changed().await;
            if *news.borrow_and_update() == u64::MAX {
                return Err(BenchError::Answer("the end of a stream"));
            }
        }
    }
}

/// One stream, until it ends, which it must not.
async fn follow(channel: Channel, number: usize, heard: Arc<Heard>, opens: Option<OwnedSemaphorePermit>) {
    let ended = hear(SpiffeWorkloadApiClient::new(channel), number, &heard, opens).await;
    let why = ended.err().map_or_else(|| "by the server".to_owned(), |status| status.to_string());
    // The others most often end for the same reason.
    if heard.news.send_replace(u64::MAX) != u64::MAX {
        say(&format!("stream {number} ended: {why}"));
    }
}

async fn hear(
    mut client: SpiffeWorkloadApiClient<Channel>,
    number: usize,
    heard: &Heard,
    mut opens: Option<OwnedSemaphorePermit>,
) -> Result<(), tonic::Status> {
    let mut stream = client.fetch_x509svid(with_security_header(X509svidRequest {})).await?.into_inner();
    let mut last = Vec::new();
    while let Some(message) = stream.message().await? {
        drop(opens.take());
        let leaf = message.svids.into_iter().next().map(|svid| svid.x509_svid).unwrap_or_default();
        if leaf != last {
            if let Some(count) = heard.counts.get(number) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            heard.news.send_if_modified(|news| {
                let goes_on = *news != u64::MAX;
                *news += u64::from(goes_on);
                goes_on
            });
        }
        last = leaf;
    }
    Ok(())
}

fn print(word: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout();
    writeln!(out, "{word}").and_then(|()| out.flush()).map_err(BenchError::system("tell how far it is"))
}

/// The process, from where it is started. Ended when dropped, and with it the streams.
pub(crate) struct Holder {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    /// Starts it, and waits until each stream has its first SVID.
    ///
    /// # Errors
    /// A stream was refused or ended.
    pub(crate) fn start(socket: &Path, streams: u32) -> Result<Self, BenchError> {
        let failed = || BenchError::system("start the process that holds the streams");
        let mut command = Command::new(std::env::current_exe().map_err(failed())?);
        command.arg("hold").arg("--socket").arg(socket).args(["--streams", &streams.to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed())?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { return Err(BenchError::Nothing("the streams")) };
        let mut holder = Self { process, input, output: BufReader::new(output) };
        holder.hear(OPEN)?;
        Ok(holder)
    }

    fn hear(&mut self, word: &str) -> Result<(), BenchError> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(BenchError::system("hear of the streams"))?;
        if line.trim() == word {
            Ok(())
        } else {
            Err(BenchError::Process { name: "hold", said: "that a stream ended".to_owned() })
        }
    }

    /// Has it remember which SVID each stream has.
    ///
    /// # Errors
    /// A stream ended.
    pub(crate) fn mark(&mut self) -> Result<(), BenchError> {
        self.input.write_all(b"\n").map_err(BenchError::system("speak to the streams"))?;
        self.hear(MARKED)
    }

    /// Waits until each has another one.
    ///
    /// # Errors
    /// A stream ended.
    pub(crate) fn replaced(&mut self) -> Result<(), BenchError> {
        self.hear(REPLACED)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
