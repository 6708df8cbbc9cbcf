//! `unix:sha256`: the digest of the running image, of which the path plays no part.
//!
//! A digest is remembered under the identity of its file: device, inode, size and both times.
//! The kernel moves the change time of a file at every write, and lets nobody write a file that
//! is being run. Two things bend this rule. The clock behind the change time ticks every few
//! milliseconds, so a file may be written twice with one change time: a digest is therefore
//! only remembered, and only shared among callers, if the file was last changed some seconds
//! before. And a file system may be one that does not keep the rule: see `mounts` for those
//! that a workload can bring; a network file system is believed to be kept as well as the
//! machine, since its administrator mounted it.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use countersign_common::clock::Clock;
use countersign_common::selector::{Selector, SelectorKind};

use super::digests::{Digest, Digests, Duty, Known};
use super::slots::{Slot, Slots};
use super::{AttestorError, Cost, WorkloadAttestor, mounts, selector};
use crate::admission::{HashBudget, Key};
use crate::peer::{Evidence, FileIdentity};

/// How much is read at a time, in bytes.
const BUFFER_BYTES: usize = 128 * 1024;

/// How long a caller may wait for a digest, the time in the queue included.
pub(super) const DIGEST_LIMIT: Duration = Duration::from_secs(30);

/// How long ago a file must have been changed for its change time to tell it from the next
/// state of the file, in seconds: far above the tick of any kernel.
const SETTLED_AFTER_SECONDS: i128 = 2;

/// What hashing may cost.
pub(super) struct Hashing {
    /// The longest file that is hashed.
    pub(super) max_bytes: u64,
    /// How many are hashed at a time.
    pub(super) parallel: usize,
    /// Whose bytes they are on the account of.
    pub(super) budget: Arc<HashBudget>,
}

/// Hashes images, a bounded number at a time, one at a time for one user, and no more of them
/// for one user and one cgroup than their budget allows.
pub(super) struct ImageHash {
    max_bytes: u64,
    budget: Arc<HashBudget>,
    clock: Arc<dyn Clock>,
    questions: Arc<Slots>,
    hashes: Slots,
    digests: Arc<Digests>,
    taken: Arc<AtomicU64>,
}

impl ImageHash {
    pub(super) fn new(hashing: Hashing, questions: Arc<Slots>, clock: Arc<dyn Clock>) -> Self {
        let Hashing { max_bytes, parallel, budget } = hashing;
        let hashes = Slots::new(parallel.max(1), 1);
        Self { max_bytes, budget, clock, questions, hashes, digests: Arc::default(), taken: Arc::default() }
    }

    /// How many files were read from their first byte to their last.
    pub(super) fn taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// The digest of an image as 64 hexadecimal digits, at the expense of user `uid`.
    pub(super) async fn hexadecimal_digest(&self, uid: u32, of: &Arc<Evidence>) -> Result<String, AttestorError> {
        let digest = tokio::time::timeout(DIGEST_LIMIT, self.digest(uid, of)).await;
        let digest = digest.unwrap_or(Err(AttestorError::Late(DIGEST_LIMIT)))?;
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    async fn digest(&self, uid: u32, evidence: &Arc<Evidence>) -> Result<Digest, AttestorError> {
        let file = evidence.executable().identity();
        if file.size > self.max_bytes {
            return Err(AttestorError::TooLarge { bytes: file.size, limit: self.max_bytes });
        }
        // Before a remembered digest is looked up: see `mounts`.
        let of = Arc::clone(evidence);
        self.questions.run(uid, DIGEST_LIMIT, move || mounts::check(&of)).await?;
        if !self.is_settled(file) {
            let (slot, _) = self.slot(evidence).await?;
            return self.hash(evidence, slot, None).await;
        }
        let mut known = self.digests.look_up(file);
        loop {
            match known {
                Known::Taken(digest) => return Ok(digest),
                Known::BeingTaken(news) => {
                    if let Some(digest) = news.digest().await {
                        return Ok(digest);
                    }
                    // Whoever was taking it failed; its reason need not be ours.
                    known = Known::Nothing;
                }
                Known::Nothing => {
                    // Each caller queues for its own user: the flood of one user must not decide
                    // when another user's image is hashed because both run the same file.
                    let (slot, payer) = self.slot(evidence).await?;
                    match self.digests.begin(file) {
                        Ok(duty) => return self.hash(evidence, slot, Some(duty)).await,
                        Err(meanwhile) => {
                            self.budget.give_back(&payer, file.size);
                            known = meanwhile;
                        }
                    }
                }
            }
        }
    }

    /// A slot to hash the image in, and on whose account its bytes are. Nobody waits for its
    /// budget in a slot that others could use.
    async fn slot(&self, evidence: &Evidence) -> Result<(Slot, Key), AttestorError> {
        let (uid, bytes) = (evidence.credentials().uid, evidence.executable().identity().size);
        let payer = Key::new(uid, evidence.cgroups());
        loop {
            self.budget.wait(&payer, bytes, DIGEST_LIMIT).await?;
            let slot = self.hashes.take(uid).await?;
            if self.budget.take(&payer, bytes) {
                return Ok((slot, payer));
            }
        }
    }

    /// Hashes on a thread that slot and duty go with: should the caller be cancelled, the work
    /// ends all the same, serves others, and gives its slot back.
    async fn hash(&self, evidence: &Arc<Evidence>, slot: Slot, duty: Option<Duty>) -> Result<Digest, AttestorError> {
        let (evidence, taken) = (Arc::clone(evidence), Arc::clone(&self.taken));
        let hash = move || {
            let _slot = slot;
            taken.fetch_add(1, Ordering::Relaxed);
            let executable = evidence.executable();
            let file = executable.open().map_err(unreadable)?;
            let read_at = |buffer: &mut [u8], offset| file.read_at(buffer, offset);
            let digest = hash_unchanged(executable.identity(), || FileIdentity::of(&file), read_at)?;
            if let Some(duty) = duty {
                duty.done(digest);
            }
            Ok(digest)
        };
        tokio::task::spawn_blocking(hash).await.unwrap_or(Err(AttestorError::GivenUp))
    }

    /// Whether a later state of the file will have another change time.
    fn is_settled(&self, file: FileIdentity) -> bool {
        let now = i128::from(self.clock.now().seconds());
        file.ctime_ns.div_euclid(1_000_000_000) + SETTLED_AFTER_SECONDS < now
    }
}

#[async_trait]
impl WorkloadAttestor for Arc<ImageHash> {
    fn name(&self) -> &'static str {
        "image hash"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[SelectorKind::UnixSha256]
    }

    fn cost(&self) -> Cost {
        Cost::WholeFile
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        _wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let digest = self.hexadecimal_digest(evidence.credentials().uid, evidence).await?;
        Ok(selector(SelectorKind::UnixSha256, &digest).into_iter().collect())
    }
}

/// The digest of the file behind `read_at`, if it is the file `expected` before and after.
fn hash_unchanged(
    expected: FileIdentity,
    identity: impl Fn() -> io::Result<FileIdentity>,
    read_at: impl Fn(&mut [u8], u64) -> io::Result<usize>,
) -> Result<Digest, AttestorError> {
    if identity().map_err(unreadable)? != expected {
        return Err(AttestorError::ChangedWhileHashed);
    }
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut offset = 0;
    // At most a buffer more than the size that was held against the bound.
    while offset < expected.size {
        let read = read_at(&mut buffer, offset).map_err(unreadable)?;
        let bytes = buffer.get(..read).filter(|bytes| !bytes.is_empty()).ok_or(AttestorError::ChangedWhileHashed)?;
        context.update(bytes);
        offset += bytes.len() as u64;
    }
    if offset != expected.size || identity().map_err(unreadable)? != expected {
        return Err(AttestorError::ChangedWhileHashed);
    }
    context.finish().as_ref().try_into().map_err(|_| AttestorError::GivenUp)
}

fn unreadable(source: io::Error) -> AttestorError {
    AttestorError::Unreadable { what: "the executable", source }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const FILE: FileIdentity = FileIdentity { dev: 1, ino: 2, size: 5, mtime_ns: 3, ctime_ns: 4 };

    /// Reads "hello", at most two bytes at a time.
    fn hello(buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = &b"hello"[usize::try_from(offset).unwrap()..];
        let read = rest.len().min(2);
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    #[test]
    fn short_reads_make_the_same_digest() {
        let digest = hash_unchanged(FILE, || Ok(FILE), hello).unwrap();
        assert_eq!(digest, aws_lc_rs::digest::digest(&SHA256, b"hello").as_ref());
    }

    #[test]
    fn a_file_that_changes_at_any_time_has_no_digest() {
        let changed = FileIdentity { ctime_ns: 5, ..FILE };
        let looked = Cell::new(0);
        let after_the_first_look = || {
            looked.set(looked.get() + 1);
            Ok(if looked.get() == 1 { FILE } else { changed })
        };
        let cut_short = |buffer: &mut [u8], offset| if offset < 4 { hello(buffer, offset) } else { Ok(0) };
        let grown = |buffer: &mut [u8], _| Ok(buffer.len());
        for result in [
            hash_unchanged(FILE, || Ok(changed), hello),
            hash_unchanged(FILE, after_the_first_look, hello),
            hash_unchanged(FILE, || Ok(FILE), cut_short),
            hash_unchanged(FILE, || Ok(FILE), grown),
        ] {
            assert!(matches!(result, Err(AttestorError::ChangedWhileHashed)));
        }
    }
}
