//! A real agent: `countersign agent` with a configuration, a store and sockets of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::binary::{countersign, weakened_countersign};
use crate::wait::{LIMIT, until};

/// What differs from one agent under test to the next.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// `workload_api.hold`.
    pub hold: &'static str,
    /// More lines for the `[workload_api]` table.
    pub workload_api: &'static str,
    /// More lines for the `[admission]` table.
    pub admission: &'static str,
    /// More lines for the `[authority]` table.
    pub authority: &'static str,
    /// `authority.pkcs11`, as an inline table.
    pub pkcs11: Option<String>,
    /// More lines for the `[jwt]` table.
    pub jwt: &'static str,
    /// More lines for the `[x509]` table.
    pub x509: &'static str,
    /// More lines for the `[attest]` table.
    pub attest: &'static str,
    /// `attest.docker.socket`.
    pub docker_socket: Option<PathBuf>,
    /// `log.filter`.
    pub log: &'static str,
    /// The audit file, if not the agent's own.
    pub audit_file: Option<PathBuf>,
    /// Put before the agent's command: a program that runs it, such as `strace`.
    pub under: Vec<String>,
    /// Protections that are taken out, by name, to see that an attack works then.
    pub without: &'static [&'static str],
    /// Where the agent's folder is; among the temporary files if `None`.
    pub folder_in: Option<PathBuf>,
    /// How the name of the agent's folder begins.
    pub folder_prefix: &'static str,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            hold: "0s",
            workload_api: "",
            admission: "",
            authority: "",
            pkcs11: None,
            jwt: "",
            x509: "",
            attest: "",
            docker_socket: None,
            log: "info",
            audit_file: None,
            under: vec![],
            without: &[],
            folder_in: None,
            folder_prefix: "agent-",
        }
    }
}

/// A running agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    folder: TempDir,
    settings: AgentSettings,
}

impl Agent {
    /// Starts an agent for trust domain `example.org` and waits until it says that it is ready.
    pub async fn start(settings: AgentSettings) -> Self {
        let folder_in = settings.folder_in.clone().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new().prefix(settings.folder_prefix).tempdir_in(folder_in).expect("a folder");
        // Workloads of other users pass through to the socket; nothing else is theirs to read.
        set_mode(folder.path(), 0o711);
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("our folder");
        set_mode(&data, 0o700);
        let key = folder.path().join("sealing.key");
        let bytes: Vec<u8> = (0..32).collect();
        std::fs::write(&key, bytes).expect("the sealing key");
        set_mode(&key, 0o600);
        std::fs::write(folder.path().join("agent.toml"), configuration(folder.path(), &settings)).expect("agent.toml");
        set_mode(&folder.path().join("agent.toml"), 0o644);
        let child = launch(folder.path(), &settings).await;
        Self { child, folder, settings }
    }

    /// Starts it again on the same store, after it ended or was killed.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = launch(self.folder.path(), &self.settings).await;
    }

    /// Starts it again with `under` put before its command, and waits until it is ready or has ended: with
    /// which status it did.
    pub async fn restart_under(&mut self, under: &[String]) -> Option<ExitStatus> {
        self.kill();
        let settings = AgentSettings { under: under.to_vec(), ..self.settings.clone() };
        let (child, ended) = begin(self.folder.path(), &settings).await;
        self.child = child;
        ended
    }

    /// With which status it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// The folder that holds everything of this agent.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where workloads connect.
    pub fn workload_socket(&self) -> PathBuf {
        self.folder.path().join("workload/agent.sock")
    }

    /// Where operators connect.
    pub fn admin_socket(&self) -> PathBuf {
        self.folder.path().join("admin/admin.sock")
    }

    /// Pid of the agent.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs an operator's command against this agent; `input` becomes its standard input.
    pub fn operator(&self, arguments: &[&str], input: &str) -> Output {
        use std::io::Write;
        let mut child = Command::new(program(&self.settings))
            .args(arguments)
            .env("COUNTERSIGN_WEAKENED", self.settings.without.join(","))
            .env("COUNTERSIGN_ADMIN_SOCKET", self.admin_socket())
            .env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", self.workload_socket().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("countersign runs");
        // A command that does not read its input closes it; that is its own matter.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("countersign ends")
    }

    /// Applies entries as an operator, with `--prune`: afterwards these are all there are.
    pub fn apply(&self, entries: &str) {
        let applied = self.operator(&["entry", "apply", "--prune", "-"], entries);
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    }

    /// All audit records so far.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let file = self.settings.audit_file.clone().unwrap_or_else(|| self.folder.path().join("audit.log"));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
    }

    /// Waits for an audit record of process `pid` with this outcome.
    pub async fn audited(&self, pid: u32, outcome: &str) -> serde_json::Value {
        let found = || self.audit().into_iter().find(|record| record["pid"] == pid && record["outcome"] == outcome);
        until(&format!("an audit record of process {pid} with outcome {outcome}"), found).await
    }

    /// Starts it again on the same store, after it was killed, and waits for it to refuse: what it
    /// said, and that it failed.
    pub fn refuses_to_start(&mut self) -> String {
        self.kill();
        // One that starts all the same is a failure, and not a wait without end (timeout(1)).
        let mut agent = Command::new("timeout");
        agent.args(["--signal=KILL", &LIMIT.as_secs().to_string()]).args(&self.settings.under).arg(countersign());
        agent.args(["agent", "--config"]);
        let ended = agent.arg(self.folder.path().join("agent.toml")).output();
        let ended = ended.expect("the agent starts");
        assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stderr).expect("UTF-8")
    }

    /// Asks the agent to stop, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        until("the agent to end", || self.child.try_wait().expect("our child")).await
    }

    /// Sends a signal to the agent.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), signal).expect("our child lives");
    }

    /// Stops all its threads (SIGSTOP), and waits until they are. The signal alone leaves the ones that
    /// run to go on for a moment; `SIGCONT` lets them all go on.
    pub async fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        let is_stopped = |task: std::fs::DirEntry| {
            // A thread that has ended runs nothing any more.
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_else(|_| ") T".to_owned());
            stat.rsplit_once(')').is_some_and(|(_, fields)| fields.starts_with(" T"))
        };
        let all_stopped = || std::fs::read_dir(&tasks).expect("our child").flatten().all(is_stopped).then_some(());
        until("the agent to stand still", all_stopped).await;
    }

    /// Kills it at once, as a power cut would.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the agent ---\n{}", self.log());
        }
    }
}

/// The program as it is installed, or the one that can do without some of its protections.
fn program(settings: &AgentSettings) -> PathBuf {
    if settings.without.is_empty() { countersign() } else { weakened_countersign() }
}

fn configuration(folder: &Path, settings: &AgentSettings) -> String {
    let own_audit = folder.join("audit.log");
    let audit = settings.audit_file.as_deref().unwrap_or(&own_audit).display();
    let folder = folder.display();
    let docker = settings.docker_socket.as_deref().map(|path| format!("docker.socket = \"{}\"", path.display()));
    let docker = docker.unwrap_or_default();
    let pkcs11 = settings.pkcs11.as_deref().map(|table| format!("pkcs11 = {table}")).unwrap_or_default();
    let AgentSettings { hold, workload_api, admission, authority, jwt, x509, attest, log, .. } = settings;
    format!(
        r#"
trust_domain = "example.org"
data_dir = "{folder}/data"

[workload_api]
socket = "{folder}/workload/agent.sock"
hold = "{hold}"
{workload_api}

[admission]
{admission}

[admin_api]
socket = "{folder}/admin/admin.sock"

[authority]
sealing_key = {{ file = "{folder}/sealing.key" }}
{authority}
{pkcs11}

[jwt]
{jwt}

[x509]
{x509}

[attest]
{attest}
{docker}

[audit]
file = "{audit}"

[log]
filter = "{log}"
"#
    )
}

/// Starts the process and waits until it is ready.
async fn launch(folder: &Path, settings: &AgentSettings) -> Child {
    let (child, ended) = begin(folder, settings).await;
    if let Some(status) = ended {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("the agent ended with {status} before it was ready:\n{log}");
    }
    child
}

/// Starts the process and waits for its word to systemd, which is also what we test; or for its end.
async fn begin(folder: &Path, settings: &AgentSettings) -> (Child, Option<ExitStatus>) {
    let notify = folder.join("notify.sock");
    let _ = std::fs::remove_file(&notify);
    let notified = UnixDatagram::bind(&notify).expect("a datagram socket");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log file");
    let mut words = settings.under.clone();
    words.push(program(settings).display().to_string());
    words.extend(["agent", "--config"].map(str::to_owned));
    words.push(folder.join("agent.toml").display().to_string());
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .env("NOTIFY_SOCKET", &notify)
        .env("COUNTERSIGN_WEAKENED", settings.without.join(","))
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone().expect("a descriptor")))
        .stderr(Stdio::from(log))
        .spawn()
        .expect("the agent starts");
    let mut message = [0_u8; 1024];
    let ready = async {
        loop {
            let length = notified.recv(&mut message).await.expect("our socket");
            if String::from_utf8_lossy(&message[..length]).contains("READY=1") {
                return;
            }
        }
    };
    let ended = until("the agent to be ready or to end", || child.try_wait().expect("our child"));
    // `ended` has the limit.
    let status = tokio::select! {
        () = ready => None,
        status = ended => Some(status),
    };
    (child, status)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own file");
}
