//! The programs of `tests/interop` as processes: started with nothing but the socket's address,
//! heard line by line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use countersign_tests::{LIMIT, skip};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// A language that has a stock SPIFFE library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Go,
    Python,
    Rust,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Python => "python",
            Self::Rust => "rust",
        }
    }

    /// What the kernel executes: the program, or its interpreter.
    pub(crate) fn executable(self) -> PathBuf {
        let told = std::process::Command::new(run()).args(["path", self.name()]).output().expect("run path");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let path = PathBuf::from(String::from_utf8(told.stdout).expect("a path in UTF-8").trim_end());
        path.canonicalize().unwrap_or(path)
    }

    /// Whether the program is there; without it the test is skipped.
    pub(crate) fn built_or_skip(self) -> bool {
        let built = self.executable().is_file();
        if !built {
            skip(&format!("needs the {self:?} client; build it with: tests/interop/run build {}", self.name()));
        }
        built
    }
}

fn run() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/run")
}

/// A running program; killed when dropped.
pub(crate) struct Client {
    child: Child,
    commands: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Client {
    /// Starts the program of `language`. `address` is for `SPIFFE_ENDPOINT_SOCKET`.
    pub(crate) fn start(language: Language, address: &str, scenario: &[&str]) -> Self {
        let mut command = Command::new(run());
        command.arg(language.name());
        Self::spawn(command, address, scenario)
    }

    /// Starts a program from where it stands.
    pub(crate) fn start_program(program: &Path, address: &str, scenario: &[&str]) -> Self {
        Self::spawn(Command::new(program), address, scenario)
    }

    fn spawn(mut command: Command, address: &str, scenario: &[&str]) -> Self {
        let mut child = command
            .args(scenario)
            .env("SPIFFE_ENDPOINT_SOCKET", address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the client starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { commands: child.stdin.take(), child, lines }
    }

    /// Pid of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it was not waited for yet")
    }

    /// The next event; none when it said all.
    async fn next(&mut self) -> Option<Value> {
        let line = timeout(LIMIT, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("the client said nothing within {LIMIT:?}"));
        let line = line.expect("readable")?;
        Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not an event: {line}")))
    }

    /// The next event, which has to come.
    pub(crate) async fn hear(&mut self) -> Value {
        match self.next().await {
            Some(event) => event,
            None => panic!("the client ended without another event: {}", self.complaint().await),
        }
    }

    /// Tells it to do something, and waits for the event that comes of it.
    pub(crate) async fn ask(&mut self, command: &str) -> Value {
        let commands = self.commands.as_mut().expect("it was not told that there are no more");
        // One that has ended says why on its way out, which is what is heard instead.
        let _ = commands.write_all(format!("{command}\n").as_bytes()).await;
        self.hear().await
    }

    /// All events that are left, of a program that ends by itself and is content.
    pub(crate) async fn end(mut self) -> Vec<Value> {
        drop(self.commands.take());
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        let complaint = self.complaint().await;
        let status = timeout(LIMIT, self.child.wait()).await.expect("the client ends").expect("our child");
        assert!(status.success(), "{status}: {events:?}\n{complaint}");
        events
    }

    async fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            timeout(LIMIT, errors.read_to_string(&mut text)).await.expect("the client ends").expect("text");
        }
        text
    }
}
