//! A clock that a test sets, for one process: the others go on with the machine's.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The wall clock of the process that runs under it. Its timers go by the monotonic clock, which
/// is nobody's to set, as on a machine whose clock is set or that was suspended.
#[derive(Debug)]
pub struct FakeClock {
    library: PathBuf,
    shift: PathBuf,
}

impl FakeClock {
    /// A clock that is right; its files are in `folder`.
    ///
    /// # Panics
    /// There is no C compiler.
    pub fn make(folder: &Path) -> Self {
        let (code, library, shift) = (folder.join("clock.c"), folder.join("clock.so"), folder.join("shift"));
        std::fs::write(&code, CLOCK).expect("our folder");
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code).status();
        assert!(compiled.expect("cc runs").success());
        let clock = Self { library, shift };
        clock.shift(0);
        clock
    }

    /// Sets the clock to so many seconds after the machine's.
    pub fn shift(&self, seconds: i64) {
        // One write over what is there: nobody finds half of it, or nothing.
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.shift);
        file.and_then(|mut file| file.write_all(&seconds.to_ne_bytes())).expect("our file");
    }

    /// What to put before a command that is to go by this clock.
    pub fn under(&self) -> Vec<String> {
        let (library, shift) = (self.library.display(), self.shift.display());
        vec!["env".to_owned(), format!("LD_PRELOAD={library}"), format!("CLOCK_SHIFT={shift}")]
    }
}

const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int64_t seconds = 0;
    int file, answer = syscall(SYS_clock_gettime, id, now);
    if (answer == 0 && id == CLOCK_REALTIME && (file = open(getenv("CLOCK_SHIFT"), O_RDONLY | O_CLOEXEC)) >= 0) {
        if (read(file, &seconds, sizeof seconds) == sizeof seconds) now->tv_sec += seconds;
        close(file);
    }
    return answer;
}
"#;
