//! The first call of a new process: how long from the connection to the answer. A process of this
//! program, or of a copy of it that was made larger.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::BenchError;
use crate::call::{Call, Client};
use crate::load::{Target, name, said_by};
use crate::measurement::microseconds;
use crate::spread::middle;

/// What the new process is to do.
#[derive(Clone, Debug, Args)]
pub(crate) struct First {
    #[command(flatten)]
    target: Target,
    #[arg(long, value_enum)]
    call: Call,
}

/// What it found.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Took {
    us: f64,
}

impl First {
    /// Connects and calls once; a line of JSON.
    ///
    /// # Errors
    /// The call failed.
    pub(crate) async fn run(self) -> Result<String, BenchError> {
        let begin = Instant::now();
        let mut client = Client::connect(&self.target.socket, self.call, &self.target.audience).await?;
        client.call().await?;
        Ok(serde_json::to_string(&Took { us: microseconds(begin.elapsed()) })?)
    }
}

/// Runs a new process of `program` that calls once; how long that took, in microseconds, without
/// the start of the process.
///
/// # Errors
/// It failed, since the call did.
pub(crate) fn call_us(program: impl AsRef<OsStr>, target: &Target, call: Call) -> Result<f64, BenchError> {
    let mut command = Command::new(program);
    command.arg("first").arg("--socket").arg(&target.socket).args(["--audience", &target.audience]);
    command.args(["--call", &name(call)]);
    Ok(said_by::<Took>("first", &mut command)?.us)
}

/// The middle of `times` new processes of this program.
///
/// # Errors
/// One of them failed.
pub(crate) fn median_us(times: usize, target: &Target, call: Call) -> Result<f64, BenchError> {
    let program = this_program()?;
    let took: Result<Vec<f64>, BenchError> = (0..times).map(|_| call_us(&program, target, call)).collect();
    middle(took?)
}

/// Where this program is.
///
/// # Errors
/// It was deleted.
pub(crate) fn this_program() -> Result<std::path::PathBuf, BenchError> {
    std::env::current_exe().map_err(BenchError::system("find this program"))
}

/// A copy of this program that everybody may run, of at least `bytes`, made different by `salt`:
/// what is behind the end of a program does not change what it does.
///
/// # Errors
/// It cannot be written.
pub(crate) fn copy(path: &Path, bytes: u64, salt: u64) -> Result<(), BenchError> {
    // By another process: were the copy open for writing in this one, a child that is started at that
    // moment would hold it open too, and running it would fail.
    let script = "cat \"$0\" > \"$1\" && size=$(stat -c %s \"$1\") && \
                  { [ \"$size\" -ge \"$2\" ] || head -c $(($2 - size)) /dev/zero >> \"$1\"; } && \
                  printf %s \"$3\" >> \"$1\" && chmod 755 \"$1\"";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]).arg(this_program()?).arg(path).args([bytes.to_string(), salt.to_string()]);
    let copied = shell.status().map_err(BenchError::system("copy this program"))?;
    if copied.success() {
        Ok(())
    } else {
        Err(BenchError::Process { name: "copying", said: format!("that it ended with {copied}") })
    }
}
