//! What all that goes on in a run shares: the agent's sockets, the programs, and who counts.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use countersign_tests::Agent;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::life::Life;
use super::tally::Tally;
use super::visit::{OPEN, Seen, Wants};
use crate::BenchError;
use crate::admin::Admin;
use crate::load::name;
use crate::setting::AUDIENCE;

/// Programs whose entries come and go.
pub(super) const SLOTS: usize = 6;
/// The identity that is there all the time.
pub(super) const STEADY: &str = "spiffe://example.org/steady";
/// No process takes longer, on any machine that this is meant for.
const LIMIT: Duration = Duration::from_secs(60);

/// The shared part.
pub(super) struct Bed {
    pub(super) workload_socket: PathBuf,
    pub(super) admin_socket: PathBuf,
    folder: PathBuf,
    pub(super) tally: Tally,
    pub(super) life: Life,
}

/// A visitor that holds a stream.
pub(super) struct Holding {
    child: Child,
    /// It goes away when this is closed.
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Bed {
    /// Puts the programs beside the agent: this one, by other names. They go with the agent's folder.
    pub(super) fn make(agent: &Agent) -> Result<Self, BenchError> {
        let bed = Self {
            workload_socket: agent.workload_socket(),
            admin_socket: agent.admin_socket(),
            folder: agent.folder().to_owned(),
            tally: Tally::default(),
            life: Life::new(),
        };
        let this = std::env::current_exe().map_err(BenchError::system("find this program"))?;
        for program in (0..SLOTS).map(|slot| bed.slot(slot)).chain([bed.stranger(), bed.abuser()]) {
            named(&this, &program).map_err(BenchError::system("give this program another name"))?;
        }
        Ok(bed)
    }

    /// The program of a slot.
    pub(super) fn slot(&self, slot: usize) -> PathBuf {
        self.folder.join(format!("slot-{slot}"))
    }

    /// A program that no entry ever names.
    pub(super) fn stranger(&self) -> PathBuf {
        self.folder.join("stranger")
    }

    /// A program that is entitled, and misbehaves.
    pub(super) fn abuser(&self) -> PathBuf {
        self.folder.join("abuser")
    }

    /// The entries of this process and of the one that misbehaves.
    pub(super) async fn apply_lasting_entries(&self) -> Result<(), BenchError> {
        let this = std::env::current_exe().map_err(BenchError::system("find this program"))?;
        let entries = entry("steady", &this, &[AUDIENCE]) + &entry("abuser", &self.abuser(), &[AUDIENCE]);
        let mut admin = Admin::connect(&self.admin_socket).await?;
        Ok(admin.apply(&entries).await?)
    }

    /// Has a program visit; `None` if it was not answered since the agent was restarted meanwhile.
    /// What it was given is counted.
    pub(super) async fn visit(&self, program: &Path, wants: Wants, audience: &str) -> Option<Seen> {
        let epoch = self.life.now().await;
        let said = match timeout(LIMIT, self.command(program, wants, audience).output()).await {
            Ok(Ok(ended)) => serde_json::from_slice(&ended.stdout).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("it was not done within {LIMIT:?}")),
        };
        self.tally.processes.add(1);
        match said {
            Ok(seen) => self.judged(seen, epoch),
            Err(error) => {
                self.tally.error(format!("a visitor ({}): {error}", program.display()));
                None
            }
        }
    }

    /// Counts what was seen, errors among it; `None` if a restart is to blame.
    fn judged(&self, seen: Seen, epoch: super::life::Epoch) -> Option<Seen> {
        self.tally.tokens.add(seen.tokens);
        self.tally.validations.add(seen.validations);
        self.tally.x509_svids.add(seen.x509_svids);
        if let Some(wrong) = &seen.wrong {
            self.tally.error(wrong.clone());
        }
        let Some(unreachable) = &seen.unreachable else { return Some(seen) };
        if self.life.is(epoch) {
            self.tally.error(format!("a visitor was not answered: {unreachable}"));
        } else {
            self.tally.interrupted.add(1);
        }
        None
    }

    /// Starts a visitor and kills it after so long, wherever it is then.
    pub(super) async fn visit_cut_short(&self, program: &Path, after: Duration) {
        self.life.now().await;
        self.tally.processes.add(1);
        let Ok(mut child) = self.command(program, Wants::All, AUDIENCE).spawn() else { return };
        if timeout(after, child.wait()).await.is_err() {
            self.tally.killed.add(1);
        }
        // It may have ended by itself just now.
        let _ = child.kill().await;
    }

    /// Starts a visitor that holds a stream, and waits until it has its first SVID; `None` as for
    /// [`Self::visit`].
    pub(super) async fn hold(&self, program: &Path) -> Option<Holding> {
        let epoch = self.life.now().await;
        self.tally.processes.add(1);
        let mut command = self.command(program, Wants::Stream, AUDIENCE);
        let mut child = command.stdin(Stdio::piped()).spawn().ok()?;
        let (input, output) = child.stdin.take().zip(child.stdout.take())?;
        let mut output = BufReader::new(output).lines();
        let said = timeout(LIMIT, output.next_line()).await;
        match said {
            Ok(Ok(Some(line))) if line == OPEN => Some(Holding { child, input, output }),
            Ok(Ok(Some(line))) => {
                let seen: Option<Seen> = serde_json::from_str(&line).ok();
                let refused = seen.and_then(|seen| self.judged(seen, epoch)).map(|seen| seen.refusal);
                if let Some(refusal) = refused {
                    self.tally.error(format!("a stream of an entitled process was refused: {refusal}"));
                }
                None
            }
            other => {
                self.tally.error(format!("a visitor with a stream said nothing: {other:?}"));
                None
            }
        }
    }

    fn command(&self, program: &Path, wants: Wants, audience: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("visit").arg("--socket").arg(&self.workload_socket);
        command.args(["--wants", &name(wants), "--audience", audience]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Files of the audit record: more than one after it was rotated.
    pub(super) fn audit_files(&self) -> usize {
        let names = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|file| file.file_name());
        names.filter(|name| name.to_string_lossy().starts_with("audit.log")).count()
    }

    /// What is counted of the store's folder and of the audit record, in bytes.
    pub(super) fn sizes(&self) -> (u64, u64) {
        let of = |folder: PathBuf, prefix: &str| -> u64 {
            let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let meant = files.filter(|file| file.file_name().to_string_lossy().starts_with(prefix));
            meant.filter_map(|file| file.metadata().ok()).map(|found| found.len()).sum()
        };
        (of(self.folder.join("data"), ""), of(self.folder.clone(), "audit.log"))
    }
}

impl Holding {
    /// Has it go: by the end of its input, or by force. Messages that came are counted.
    pub(super) async fn end(mut self, bed: &Bed, by_force: bool) {
        if by_force {
            bed.tally.killed.add(1);
            // It may have ended by itself, with the agent.
            let _ = self.child.kill().await;
        }
        drop(self.input);
        let mut messages = 1;
        while let Ok(Ok(Some(line))) = timeout(LIMIT, self.output.next_line()).await {
            messages += u64::from(line == OPEN);
            let wrong = serde_json::from_str::<Seen>(&line).ok().and_then(|seen| seen.wrong);
            if let Some(wrong) = wrong {
                bed.tally.error(wrong);
            }
        }
        bed.tally.x509_svids.add(messages);
        let _ = timeout(LIMIT, self.child.wait()).await;
    }
}

/// An entry for whoever runs this program as this user.
pub(super) fn entry(id: &str, program: &Path, audiences: &[&str]) -> String {
    let audiences = audiences.join(", ");
    format!(
        "---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: [\"unix:uid:{}\", \"unix:path:{}\"]\n\
         allow: [writable_executable]\njwt: {{audiences: [{audiences}]}}\n",
        nix::unistd::geteuid(),
        program.display()
    )
}

/// The same file by another name, or a copy on another file system.
fn named(this: &Path, name: &Path) -> std::io::Result<()> {
    if std::fs::hard_link(this, name).is_err() {
        std::fs::copy(this, name)?;
        std::fs::set_permissions(name, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
