//! On what the figures were taken, and how busy it was with other things.

use std::fs;

use countersign_common::clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::BenchError;

/// The machine, as it says itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// Model of the processor.
    pub(crate) processor: String,
    /// Processors that this process may use.
    pub(crate) cores: usize,
}

impl Machine {
    /// This one.
    pub(crate) fn this() -> Result<Self, BenchError> {
        let failed = || BenchError::system("find out about the machine");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(failed())?;
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").map_err(failed())?;
        let cores = std::thread::available_parallelism().map_err(failed())?.get();
        Ok(Self { kernel: kernel.trim().to_owned(), processor: processor(&cpuinfo), cores })
    }
}

/// The name of the first processor. Not every architecture has one.
fn processor(cpuinfo: &str) -> String {
    let named = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    named.map_or("unknown", |(_, name)| name).to_owned()
}

/// The load average over the last minute (proc(5), `loadavg`): how many threads ran or wanted
/// to. What comes from others shows before the run; the run itself adds its own.
pub(crate) fn load_average() -> Result<f64, BenchError> {
    let text = fs::read_to_string("/proc/loadavg").map_err(BenchError::system("read the load average"))?;
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    first.ok_or(BenchError::Nothing("the load average"))
}

/// What time it is; for people who read the figures.
#[allow(clippy::disallowed_methods, reason = "nothing is decided by it")]
pub(crate) fn now() -> String {
    Timestamp::from(std::time::SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_a_name_or_none() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: AMD EPYC\n"), "AMD EPYC");
        assert_eq!(processor("processor\t: 0\n"), "unknown");
    }

    #[test]
    fn this_machine_is_known() {
        assert!(Machine::this().unwrap().cores >= 1);
        assert!(load_average().unwrap() >= 0.0);
    }
}
