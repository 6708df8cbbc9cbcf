//! A real workload process: told what to do line by line, answers line by line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::binary::workload_program;
use crate::wait::LIMIT;

/// How a workload process is to be.
#[derive(Clone, Debug, Default)]
pub struct WorkloadSpec {
    /// Run as this user; as the tests' own if `None`.
    pub uid: Option<u32>,
    /// Run as this group.
    pub gid: Option<u32>,
    /// The program, if not the suites' workload program itself: a copy of it.
    pub program: Option<PathBuf>,
    /// `cgroup.procs` of the cgroup to run in.
    pub cgroup_procs: Option<PathBuf>,
    /// Put before the program: one that runs it, such as `unshare`.
    pub under: Vec<String>,
}

/// A running workload; killed when dropped.
#[derive(Debug)]
pub struct Workload {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// What a workload says that it was told by the agent: one JSON object.
#[derive(Clone, Debug)]
pub struct Answer(pub Value);

impl Answer {
    /// The gRPC code, `Ok` included.
    pub fn code(&self) -> &str {
        self.0["code"].as_str().unwrap_or("none")
    }

    /// The token of the first SVID.
    pub fn token(&self) -> &str {
        self.0["svids"][0]["svid"].as_str().unwrap_or_else(|| panic!("no token in {}", self.0))
    }

    /// A claim of the first SVID.
    pub fn claim(&self, name: &str) -> Value {
        use base64::Engine;
        let part = self.token().split('.').nth(1).expect("three parts");
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("base64url");
        serde_json::from_slice::<Value>(&json).expect("claims")[name].clone()
    }
}

impl Workload {
    /// Starts a workload of the agent that listens at `socket`. It does not connect yet.
    pub fn start(socket: &Path, spec: &WorkloadSpec) -> Self {
        let program = spec.program.clone().unwrap_or_else(workload_program);
        let mut command = match &spec.cgroup_procs {
            // Moved before it becomes the workload, as systemd and container runtimes do it.
            Some(procs) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg("echo $$ > \"$0\" && exec \"$@\"").arg(procs).arg(&program);
                shell
            }
            None => match spec.under.split_first() {
                Some((first, words)) => {
                    let mut under = Command::new(first);
                    under.args(words).arg(&program);
                    under
                }
                None => Command::new(&program),
            },
        };
        command
            .env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", socket.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(gid) = spec.gid {
            command.gid(gid);
        }
        if let Some(uid) = spec.uid {
            command.uid(uid);
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, input, output }
    }

    /// Copies the suites' workload program to `path`, made different by `salt` appended to
    /// it (the hash changes, the program does not), for everybody to run.
    pub fn install(path: &Path, salt: &str) -> PathBuf {
        let new = path.with_extension("new");
        // By another process: were the copy open for writing in this one, a child that another test
        // starts at that moment would hold it open too, and running it would fail.
        let copy = "cat \"$0\" > \"$1\" && printf %s \"$2\" >> \"$1\" && chmod 755 \"$1\"";
        let mut shell = std::process::Command::new("/bin/sh");
        let copied = shell.arg("-c").arg(copy).arg(workload_program()).arg(&new).arg(salt).status();
        assert!(copied.expect("a shell").success(), "cannot copy the workload program to {}", new.display());
        // Put in place by rename: a running image cannot be written to.
        std::fs::rename(&new, path).expect("our folder");
        path.to_owned()
    }

    /// Pid of the process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it still runs")
    }

    /// Says a command without waiting for the answer.
    pub async fn say(&mut self, command: &str) {
        self.input.write_all(format!("{command}\n").as_bytes()).await.expect("the workload listens");
    }

    /// The next answer.
    pub async fn hear(&mut self) -> Answer {
        let line = tokio::time::timeout(LIMIT, self.output.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no answer within {LIMIT:?}")).expect("readable");
        let line = line.expect("the workload ended without an answer");
        Answer(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not an answer: {line}")))
    }

    /// Says a command and waits for its answer.
    pub async fn ask(&mut self, command: &str) -> Answer {
        self.say(command).await;
        self.hear().await
    }

    /// Waits until the process has ended by itself; another may go on with its input and output.
    pub async fn ended(&mut self) {
        let ended = tokio::time::timeout(LIMIT, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("not ended within {LIMIT:?}")).expect("our child");
    }

    /// Ends the process and waits until it is gone.
    pub async fn end(mut self) {
        self.child.kill().await.expect("our child");
    }
}
