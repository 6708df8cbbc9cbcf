//! The processor time of another process (proc(5), `stat`).

use std::fs;
use std::io::{Error, ErrorKind};
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::BenchError;

/// User and system time of all threads of `pid` so far, in clock ticks of some 10 ms.
///
/// # Errors
/// There is no such process.
pub(crate) fn time_of(pid: u32) -> Result<Duration, BenchError> {
    let failed = BenchError::system("read the processor time of the agent");
    let read = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
        let time = ticks(&stat).zip(per_second).and_then(|(ticks, per_second)| {
            let milliseconds = ticks.checked_mul(1000)?.checked_div(per_second)?;
            Some(Duration::from_millis(milliseconds))
        });
        time.ok_or_else(|| Error::from(ErrorKind::InvalidData))
    };
    read().map_err(failed)
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
    fn this_process_has_one() {
        assert!(time_of(std::process::id()).is_ok());
        assert!(time_of(0).is_err());
    }
}
