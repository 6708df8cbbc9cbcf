//! Who writes: one at a time. What comes meanwhile waits, and goes out in one write with the next.
//!
//! A write takes as long as the disk does, which any local user can keep busy. As long as writes are quick each is
//! done at once, since to wake another thread for it takes longer than it does itself. After one that was not, they
//! are done on a thread of their own until some were quick again; so a disk that hangs stops one thread of the runtime
//! at most, which has two or more.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

use super::AuditError;
use super::sink::Sink;

/// How long one record may take, the wait for those before it included.
pub(super) const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// A write that takes longer than this has the disk taken for slow.
const QUICK: Duration = Duration::from_millis(10);

/// After how many quick writes it is not any more.
pub(super) const QUICK_AGAIN: u32 = 8;

/// The one turn to write, and what waits for it.
#[derive(Debug)]
pub(super) struct Turns {
    /// One, so that a disk that hangs keeps one thread and no more.
    pub(super) turn: Arc<Semaphore>,
    pub(super) writer: Arc<Writer>,
}

/// What the holder of the turn works with.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) sink: Sink,
    waiting: Mutex<Vec<Arc<Line>>>,
    quick_in_a_row: AtomicU32,
}

/// A line to be written.
#[derive(Debug)]
pub(super) struct Line {
    bytes: Vec<u8>,
    is_written: AtomicBool,
}

/// A line's place among those that wait, which it leaves with its caller: who gives up leaves no line behind.
struct Wait<'a> {
    line: Arc<Line>,
    among: &'a Mutex<Vec<Arc<Line>>>,
}

impl Turns {
    pub(super) fn new(sink: Sink) -> Self {
        let writer = Writer { sink, waiting: Mutex::default(), quick_in_a_row: AtomicU32::new(QUICK_AGAIN) };
        Self { turn: Arc::new(Semaphore::new(1)), writer: Arc::new(writer) }
    }

    /// Writes a line, which ends with a newline; returns when the kernel has it.
    ///
    /// # Errors
    /// It was not written, or not in time. Given up, it may still be written later.
    pub(super) async fn write(&self, line: Vec<u8>) -> Result<(), AuditError> {
        let line = Line::of(line);
        if self.writer.may_block_here()
            && let Ok(_turn) = self.turn.try_acquire()
        {
            return self.writer.write(&line);
        }
        let written = self.write_in_turn(Arc::new(line));
        tokio::time::timeout(WRITE_LIMIT, written).await.unwrap_or(Err(AuditError::Late))
    }

    async fn write_in_turn(&self, line: Arc<Line>) -> Result<(), AuditError> {
        let _wait = self.writer.wait(&line);
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| AuditError::GivenUp)?;
        if line.is_written.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.writer.may_block_here() {
            return self.writer.write(&line);
        }
        let writer = Arc::clone(&self.writer);
        let write = move || {
            let _turn = turn;
            writer.write(&line)
        };
        tokio::task::spawn_blocking(write).await.unwrap_or(Err(AuditError::GivenUp))
    }
}

impl Writer {
    /// Whether to write at once: the disk is quick, no person can keep a terminal from taking a line, and the runtime
    /// has another thread.
    pub(super) fn may_block_here(&self) -> bool {
        let has_others = || Handle::try_current().is_ok_and(|now| now.runtime_flavor() == RuntimeFlavor::MultiThread);
        matches!(self.sink, Sink::File(_)) && self.quick_in_a_row.load(Ordering::Relaxed) >= QUICK_AGAIN && has_others()
    }

    /// Writes `own` and all that waits, in the order of coming: whoever is not among those that wait came before them, and
    /// has found the turn free, or has given up since. What cannot be written is left to those who wait for it, one by
    /// one: each hears why from its own attempt. Whoever calls this has the turn.
    pub(super) fn write(&self, own: &Line) -> Result<(), AuditError> {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        let is_among = waiting.iter().any(|line| std::ptr::eq(&raw const **line, own));
        let lines = || (!is_among).then_some(own).into_iter().chain(waiting.iter().map(|line| &**line));
        let begin = Instant::now();
        let (count, written) = self.sink.write_all(&lines().map(|line| line.bytes.as_slice()).collect::<Vec<_>>());
        self.note(begin.elapsed());
        for line in lines().take(count) {
            line.is_written.store(true, Ordering::Release);
        }
        if own.is_written.load(Ordering::Acquire) { Ok(()) } else { written }
    }

    pub(super) fn note(&self, took: Duration) {
        if took > QUICK {
            self.quick_in_a_row.store(0, Ordering::Relaxed);
        } else if self.quick_in_a_row.load(Ordering::Relaxed) < QUICK_AGAIN {
            self.quick_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.waiting).len()
    }

    fn wait(&self, line: &Arc<Line>) -> Wait<'_> {
        lock(&self.waiting).push(Arc::clone(line));
        Wait { line: Arc::clone(line), among: &self.waiting }
    }
}

impl Line {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, is_written: AtomicBool::new(false) }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        lock(self.among).retain(|line| !Arc::ptr_eq(line, &self.line));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
