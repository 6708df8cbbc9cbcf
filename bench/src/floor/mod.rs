//! The floor: what a server of the same stack costs that does nothing, in a process of its own.

mod server;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;

use crate::BenchError;
use crate::load::Target;

pub(crate) use server::FloorServer;

/// A running floor server; ended when dropped.
#[derive(Debug)]
pub(crate) struct Floor {
    process: Child,
    /// It ends when this is closed, so that it outlives nobody.
    input: ChildStdin,
    folder: TempDir,
}

impl Floor {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start() -> Result<Self, BenchError> {
        let failed = || BenchError::system("start the floor server");
        let folder = tempfile::Builder::new().prefix("floor-").tempdir().map_err(failed())?;
        let mut command = Command::new(std::env::current_exe().map_err(failed())?);
        command.arg("floor-server").arg("--socket").arg(folder.path().join("floor.sock"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed())?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { return Err(BenchError::Nothing("the floor server")) };
        let floor = Self { process, input, folder };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(failed())?;
        if line.trim() == server::READY {
            Ok(floor)
        } else {
            Err(BenchError::Process { name: "floor-server", said: "that it does not listen".to_owned() })
        }
    }

    /// Sends another message, which is not like the one before, on every stream of X509-SVIDs.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn push(&mut self) -> Result<(), BenchError> {
        self.input.write_all(b"\n").map_err(BenchError::system("speak to the floor server"))
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("floor.sock")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// For a load process.
    pub(crate) fn target(&self) -> Target {
        Target { socket: self.socket(), server: Some(self.pid()), audience: String::new(), same_token: false }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
