//! The entries file of `dev`: read, applied, and watched.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use countersign_common::entry::{Entry, parse_entries};
use countersign_common::spiffe_id::TrustDomain;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;

use super::AppError;
use crate::store::{Change, Store};

/// A file of registration entries, and the trust domain that they must be of.
pub(super) struct EntriesFile {
    pub(super) path: PathBuf,
    pub(super) trust_domain: TrustDomain,
}

impl EntriesFile {
    /// Reads all entries of the file.
    pub(super) fn read(&self) -> Result<Vec<Entry>, AppError> {
        let text = std::fs::read_to_string(&self.path).map_err(|error| {
            let path = self.path.display();
            AppError::Entries(format!(
                "cannot read the entries file {path}: {error}; name another one with --entries, \
                 or leave that out to get an example"
            ))
        })?;
        parse_entries(&self.path.display().to_string(), &text, Some(&self.trust_domain)).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            AppError::Entries(lines.join("\n"))
        })
    }

    /// Makes the store hold what the file says, and nothing else.
    pub(super) async fn apply(&self, store: &Store) -> Result<Vec<Change>, AppError> {
        let applied = store.apply(self.read()?, true, false).await?;
        Ok(applied.changes)
    }

    /// Applies the file again each time it is saved, until the task is dropped. A file that is
    /// wrong is told about and changes nothing: the last good entries stay.
    pub(super) async fn follow(self, store: Store) -> Result<(), AppError> {
        let mut saved = saves_of(&self.path)
            .map_err(AppError::system(format!("cannot watch the entries file {}", self.path.display())))?;
        while saved.recv().await.is_some() {
            match self.apply(&store).await {
                Ok(changes) => {
                    for news in told(&changes) {
                        tracing::info!(target: "countersign::entries", "{news}");
                    }
                }
                Err(error) => {
                    tracing::error!(target: "countersign::entries", "saved, but not applied; the entries before stay");
                    // An event is one line, and there is one problem a line.
                    for problem in error.to_string().lines() {
                        tracing::error!(target: "countersign::entries", "{problem}");
                    }
                }
            }
        }
        Ok(())
    }
}

/// One line for each entry that is another now; a save that changes nothing is told as that.
fn told(changes: &[Change]) -> Vec<String> {
    let news = |change: &Change| match change {
        Change::Created(entry) => Some(format!("entry {} created", entry.id)),
        Change::Updated { after, .. } => Some(format!("entry {} updated", after.id)),
        Change::Deleted(entry) => Some(format!("entry {} deleted", entry.id)),
        Change::Unchanged(_) => None,
    };
    let told: Vec<_> = changes.iter().filter_map(news).collect();
    if told.is_empty() { vec!["saved; no entry changed".to_owned()] } else { told }
}

/// One item for each time that the file was written and closed, or put in place by a
/// rename, which is how most editors save. Hence the folder is watched, not the file.
fn saves_of(path: &Path) -> io::Result<mpsc::Receiver<()>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_owned();
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(folder, AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO)?;
    // One waiting item is enough: applying reads the whole file as it is by then.
    let (sender, receiver) = mpsc::channel(1);
    std::thread::Builder::new().name("entries-file".to_owned()).spawn(move || {
        while let Ok(events) = inotify.read_events() {
            let ours = events.iter().any(|event| event.name.as_ref().is_some_and(|n| n.as_bytes() == name.as_bytes()));
            if ours && matches!(sender.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                return;
            }
        }
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn saved(receiver: &mut mpsc::Receiver<()>) {
        let limit = std::time::Duration::from_secs(30);
        tokio::time::timeout(limit, receiver.recv()).await.expect("a save was not noticed").unwrap();
    }

    #[tokio::test]
    async fn a_save_in_place_and_a_save_by_rename_are_both_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entries.yaml");
        std::fs::write(&path, "").unwrap();
        let mut saves = saves_of(&path).unwrap();
        std::fs::write(&path, "a").unwrap();
        saved(&mut saves).await;
        let other = folder.path().join("entries.yaml.new");
        std::fs::write(&other, "b").unwrap();
        std::fs::rename(&other, &path).unwrap();
        saved(&mut saves).await;
    }
}
