//! What the kernel says about another process (proc(5)): processor time, memory, wake-ups.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::BenchError;

/// User and system time of all threads of `pid` so far, in clock ticks of some 10 ms.
///
/// # Errors
/// There is no such process.
pub(crate) fn cpu_time(pid: u32) -> std::result::Result<Duration, BenchError> {
    let read = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
        let time = ticks(&stat).zip(per_second).and_then(|(ticks, per_second)| {
            let milliseconds = ticks.checked_mul(1000)?.checked_div(per_second)?;
            Some(Duration::from_millis(milliseconds))
        });
        time.ok_or_else(|| Error::from(ErrorKind::InvalidData))
    };
    read().map_err(BenchError::system("read the processor time of a process"))
}

/// Time that all threads of `pid` that live now have run, to the nanosecond. Not for a process
/// whose threads end: their time goes with them.
///
/// # Errors
/// There is no such process.
pub(crate) fn run_time(pid: u32) -> std::result::Result<Duration, BenchError> {
    let read = || {
        let nanoseconds = of_threads(pid, "schedstat", |text| text.split(' ').next()?.parse().ok())?;
        Ok(Duration::from_nanos(nanoseconds))
    };
    read().map_err(BenchError::system("read the processor time of the threads of a process"))
}

/// Resident memory of `pid`, in KiB.
///
/// # Errors
/// There is no such process.
pub(crate) fn resident_kib(pid: u32) -> std::result::Result<u64, BenchError> {
    let read = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        field(&status, "VmRSS:").ok_or_else(|| Error::from(ErrorKind::InvalidData))
    };
    read().map_err(BenchError::system("read the memory of a process"))
}

/// Bytes that `pid` has had written to the disk so far (proc(5), `io`).
///
/// # Errors
/// There is no such process.
pub(crate) fn written_bytes(pid: u32) -> std::result::Result<u64, BenchError> {
    let read = || {
        let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
        field(&io, "write_bytes:").ok_or_else(|| Error::from(ErrorKind::InvalidData))
    };
    read().map_err(BenchError::system("read what a process wrote"))
}

/// How often the threads of `pid` that live now have gone to sleep by themselves: each time but
/// the last of each, something woke them.
///
/// # Errors
/// There is no such process.
pub(crate) fn sleeps(pid: u32) -> std::result::Result<u64, BenchError> {
    of_threads(pid, "status", |text| field(text, "voluntary_ctxt_switches:"))
        .map_err(BenchError::system("read how often a process slept"))
}

/// The sum over all threads of what `file` of each says. A thread that ends meanwhile is left out.
fn of_threads(pid: u32, file: &str, value: impl Fn(&str) -> Option<u64>) -> Result<u64> {
    let mut sum = 0_u64;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(task?.path().join(file)) else { continue };
        sum = sum.saturating_add(value(&text).ok_or_else(|| Error::from(ErrorKind::InvalidData))?);
    }
    Ok(sum)
}

/// The number behind the name of a line, with or without a unit.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15. The name in field 2 may hold anything; the last parenthesis ends it.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_fields_14_and_15() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 0 0 31 12 5 6 20 0 3 0 1234 0 0";
        assert_eq!(ticks(stat), Some(43));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        let status = "Name:\tx\nVmRSS:\t   1234 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(field(status, "VmRSS:"), Some(1234));
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_has_all_of_them() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok() && sleeps(pid).is_ok());
        assert!(run_time(pid).unwrap() > Duration::ZERO);
        assert!(resident_kib(pid).unwrap() > 0);
        assert!(cpu_time(0).is_err() && resident_kib(0).is_err() && sleeps(0).is_err() && run_time(0).is_err());
    }
}
