//! Digests that were taken, and those that are being taken: each file once at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::peer::FileIdentity;

/// A SHA-256.
pub(super) type Digest = [u8; 32];

/// How many digests are remembered.
const MAX_REMEMBERED: usize = 4096;

/// Digests by the identity of their file. The least recently used one makes room for a new one.
#[derive(Debug, Default)]
pub(super) struct Digests {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: HashMap<FileIdentity, Remembered>,
    /// At most one for each slot of the work.
    being_taken: HashMap<FileIdentity, watch::Receiver<Option<Digest>>>,
    uses: u64,
}

#[derive(Debug)]
struct Remembered {
    digest: Digest,
    last_use: u64,
}

/// What is known about a file.
#[derive(Debug)]
pub(super) enum Known {
    /// Its digest.
    Taken(Digest),
    /// Somebody is taking it: wait for the news.
    BeingTaken(News),
    /// Nothing.
    Nothing,
}

/// Tells when a digest that somebody else takes is there.
#[derive(Debug)]
pub(super) struct News(watch::Receiver<Option<Digest>>);

impl News {
    /// The digest; none if it could not be taken.
    pub(super) async fn digest(mut self) -> Option<Digest> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|digest| *digest)
    }
}

/// The duty to take the digest of a file, which nobody else does meanwhile. Dropped without
/// [`Duty::done`], it leaves the file as unknown as it was.
#[derive(Debug)]
pub(super) struct Duty {
    digests: Arc<Digests>,
    file: FileIdentity,
    news: watch::Sender<Option<Digest>>,
}

impl Digests {
    /// What is known about `file`.
    pub(super) fn look_up(&self, file: FileIdentity) -> Known {
        self.lock().look_up(file)
    }

    /// What is known about `file`; if nothing, the duty to find out.
    pub(super) fn begin(self: &Arc<Self>, file: FileIdentity) -> Result<Duty, Known> {
        let mut state = self.lock();
        match state.look_up(file) {
            Known::Nothing => {
                let (news, told) = watch::channel(None);
                state.being_taken.insert(file, told);
                Ok(Duty { digests: Arc::clone(self), file, news })
            }
            known => Err(known),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look_up(&mut self, file: FileIdentity) -> Known {
        self.uses += 1;
        if let Some(remembered) = self.taken.get_mut(&file) {
            remembered.last_use = self.uses;
            return Known::Taken(remembered.digest);
        }
        self.being_taken.get(&file).map_or(Known::Nothing, |told| Known::BeingTaken(News(told.clone())))
    }

    fn remember(&mut self, file: FileIdentity, digest: Digest) {
        if self.taken.len() >= MAX_REMEMBERED {
            let oldest = self.taken.iter().min_by_key(|(_, remembered)| remembered.last_use).map(|(file, _)| *file);
            oldest.and_then(|oldest| self.taken.remove(&oldest));
        }
        self.taken.insert(file, Remembered { digest, last_use: self.uses });
    }
}

impl Duty {
    /// Remembers the digest and tells those who wait.
    pub(super) fn done(self, digest: Digest) {
        self.digests.lock().remember(self.file, digest);
        self.news.send_replace(Some(digest));
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.digests.lock().being_taken.remove(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(ino: u64) -> FileIdentity {
        FileIdentity { dev: 1, ino, size: 2, mtime_ns: 3, ctime_ns: 4 }
    }

    #[tokio::test]
    async fn a_digest_is_taken_once_and_all_are_told() {
        let digests = Arc::new(Digests::default());
        let duty = digests.begin(file(1)).unwrap();
        let Err(Known::BeingTaken(news)) = digests.begin(file(1)) else { panic!("it is being taken") };
        let told = tokio::spawn(news.digest());
        duty.done([7; 32]);
        assert_eq!(told.await.unwrap(), Some([7; 32]));
        assert!(matches!(digests.begin(file(1)), Err(Known::Taken(digest)) if digest == [7; 32]));
        assert!(digests.lock().being_taken.is_empty());
    }

    #[tokio::test]
    async fn a_duty_that_is_given_up_is_free_for_the_next() {
        let digests = Arc::new(Digests::default());
        let duty = digests.begin(file(1)).unwrap();
        let Known::BeingTaken(news) = digests.look_up(file(1)) else { panic!("it is being taken") };
        drop(duty);
        assert_eq!(news.digest().await, None);
        drop(digests.begin(file(1)).unwrap());
    }

    #[test]
    fn any_difference_is_another_file() {
        let digests = Arc::new(Digests::default());
        digests.begin(file(1)).unwrap().done([7; 32]);
        let known = file(1);
        for other in [
            FileIdentity { dev: 9, ..known },
            FileIdentity { ino: 9, ..known },
            FileIdentity { size: 9, ..known },
            FileIdentity { mtime_ns: 9, ..known },
            FileIdentity { ctime_ns: 9, ..known },
        ] {
            assert!(matches!(digests.look_up(other), Known::Nothing));
        }
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let digests = Arc::new(Digests::default());
        for ino in 0..4096 {
            digests.begin(file(ino)).unwrap().done([0; 32]);
        }
        assert!(matches!(digests.look_up(file(0)), Known::Taken(_)));
        digests.begin(file(4096)).unwrap().done([0; 32]);
        assert_eq!(digests.lock().taken.len(), 4096);
        assert!(matches!(digests.look_up(file(0)), Known::Taken(_)));
        assert!(matches!(digests.look_up(file(1)), Known::Nothing));
    }
}
