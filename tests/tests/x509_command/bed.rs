//! A folder with a socket, a directory for an SVID, and commands that know both.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use countersign_tests::{countersign, until};
use tempfile::TempDir;

/// Where one test takes place.
pub struct Bed {
    folder: TempDir,
}

impl Bed {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("svid")).expect("our folder");
        std::fs::set_permissions(folder.path().join("svid"), PermissionsExt::from_mode(0o700)).expect("ours");
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("agent.sock")
    }

    /// The directory that commands write to.
    pub fn directory(&self) -> String {
        self.path("svid").display().to_string()
    }

    /// A file in that directory.
    pub fn file(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path("svid").join(name)).ok()
    }

    /// Waits until the file `svid.pem` is another one than `other`.
    pub async fn renewed(&self, other: &str) -> String {
        until("another chain", || self.file("svid.pem").filter(|chain| chain != other)).await
    }

    /// `countersign x509` with these words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(countersign());
        command.arg("x509").args(words).stdin(Stdio::null());
        command.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", self.socket().display()));
        command.env_remove("NOTIFY_SOCKET");
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("it runs")
    }

    /// `x509 fetch --write --watch` with `more`.
    pub fn watch(&self, more: &[&str]) -> Watch {
        let directory = self.directory();
        self.start(self.command(&[&["fetch", "--write", &directory, "--watch"], more].concat()))
    }

    /// The command, running; what it says is kept in a file.
    pub fn start(&self, mut command: Command) -> Watch {
        let told = self.path("told");
        let standard_error = File::create(&told).expect("our folder");
        let child = command.stdout(Stdio::null()).stderr(standard_error).spawn().expect("it runs");
        Watch { child, told }
    }
}

/// A command that goes on; killed when dropped.
pub struct Watch {
    child: Child,
    told: PathBuf,
}

impl Watch {
    /// What it has said on standard error so far.
    pub fn told(&self) -> String {
        std::fs::read_to_string(&self.told).unwrap_or_default()
    }

    pub async fn has_told(&mut self, words: &str) {
        until(words, || self.told().contains(words).then_some(())).await;
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the command to end", || self.child.try_wait().expect("our child")).await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was printed by a command that had to end with `code`: results if it did what it should,
/// and if not the reason.
pub fn printed(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (result, reason) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{result}{reason}");
    if code == 0 { result } else { reason }
}

/// The lines of base64 in the blocks with this label.
pub fn blocks(text: &str, label: &str) -> Vec<String> {
    let (begin, end) = (format!("-----BEGIN {label}-----\n"), format!("-----END {label}-----\n"));
    text.split(&begin).skip(1).filter_map(|rest| rest.split_once(&end)).map(|(block, _)| block.to_owned()).collect()
}

/// The mode of a file, through links.
pub fn mode(path: &Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o7777
}
