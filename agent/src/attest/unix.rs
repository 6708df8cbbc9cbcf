//! Selectors of the `unix` type but for the hash: ids, their names, the path of the image.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_common::selector::{Selector, SelectorKind};
use nix::unistd::{Gid, Group, Uid, User};

use super::slots::Slots;
use super::{AttestorError, Cost, WorkloadAttestor, selector};
use crate::peer::Evidence;
use crate::weakened::Protection;

/// How long the user database or a file system may take to answer.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// `unix:uid`, `unix:gid`, `unix:supplementary_gid`: the effective ids, by which the kernel
/// decides what the process may do. Where a set-uid program runs they are the program's.
#[derive(Debug)]
pub(super) struct UnixIds;

#[async_trait]
impl WorkloadAttestor for UnixIds {
    fn name(&self) -> &'static str {
        "unix ids"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[SelectorKind::UnixUid, SelectorKind::UnixGid, SelectorKind::UnixSupplementaryGid]
    }

    fn cost(&self) -> Cost {
        Cost::Nothing
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        _wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let credentials = evidence.credentials();
        let own = [(SelectorKind::UnixUid, credentials.uid), (SelectorKind::UnixGid, credentials.gid)];
        let groups = evidence.supplementary_groups().iter().map(|gid| (SelectorKind::UnixSupplementaryGid, *gid));
        Ok(own.into_iter().chain(groups).filter_map(|(kind, id)| selector(kind, &id.to_string())).collect())
    }
}

/// `unix:user`, `unix:group`, `unix:supplementary_group`: what the user database calls the ids.
/// An id without a name yields no selector.
#[derive(Debug)]
pub(super) struct UnixNames {
    pub(super) slots: Arc<Slots>,
}

#[async_trait]
impl WorkloadAttestor for UnixNames {
    fn name(&self) -> &'static str {
        "unix names"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[SelectorKind::UnixUser, SelectorKind::UnixGroup, SelectorKind::UnixSupplementaryGroup]
    }

    fn cost(&self) -> Cost {
        Cost::Question
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let credentials = evidence.credentials();
        let groups = evidence.supplementary_groups().to_vec();
        let wanted = wanted.clone();
        let names = move || {
            let mut names = Vec::new();
            if wanted.contains(&SelectorKind::UnixUser) {
                names.push((SelectorKind::UnixUser, user_name(credentials.uid)?));
            }
            if wanted.contains(&SelectorKind::UnixGroup) {
                names.push((SelectorKind::UnixGroup, group_name(credentials.gid)?));
            }
            if wanted.contains(&SelectorKind::UnixSupplementaryGroup) {
                for gid in groups {
                    names.push((SelectorKind::UnixSupplementaryGroup, group_name(gid)?));
                }
            }
            Ok(names.into_iter().filter_map(|(kind, name)| selector(kind, &name?)).collect())
        };
        // The services behind the database may be on the network.
        self.slots.run(evidence.credentials().uid, ANSWER_LIMIT, names).await
    }
}

fn user_name(uid: u32) -> Result<Option<String>, AttestorError> {
    let user = User::from_uid(Uid::from_raw(uid)).map_err(|errno| AttestorError::UserDatabase(errno.into()))?;
    Ok(user.map(|user| user.name))
}

fn group_name(gid: u32) -> Result<Option<String>, AttestorError> {
    let group = Group::from_gid(Gid::from_raw(gid)).map_err(|errno| AttestorError::UserDatabase(errno.into()))?;
    Ok(group.map(|group| group.name))
}

/// `unix:path`, where the path of the image names the same file in the agent's mount namespace.
/// Otherwise there is no selector: the file was replaced or removed, or the process put its own
/// in that place in a mount namespace of its own.
#[derive(Debug)]
pub(super) struct UnixPath {
    pub(super) slots: Arc<Slots>,
}

#[async_trait]
impl WorkloadAttestor for UnixPath {
    fn name(&self) -> &'static str {
        "unix path"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[SelectorKind::UnixPath]
    }

    fn cost(&self) -> Cost {
        Cost::Question
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        _wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        #[cfg(feature = "weakened")]
        if Protection::Image.is_out() {
            let called = evidence.called().and_then(|path| selector(SelectorKind::UnixPath, path.to_str()?));
            return Ok(called.into_iter().collect());
        }
        let path = path_at_agent(&self.slots, evidence.credentials().uid, evidence).await?;
        Ok(path.and_then(|path| selector(SelectorKind::UnixPath, &path)).into_iter().collect())
    }
}

/// The path of an image, where it names the same file in the agent's mount namespace; asked at
/// the expense of user `uid`. A path that is not UTF-8 is one that no entry can name.
pub(super) async fn path_at_agent(
    slots: &Slots,
    uid: u32,
    of: &Arc<Evidence>,
) -> Result<Option<String>, AttestorError> {
    let path = |evidence: &Evidence| evidence.executable().path().to_str().map(str::to_owned);
    // Most often the kernel remembers the path, and there is nothing to wait for.
    if of.executable().is_known_to_be_at_its_path() || Protection::Path.is_out() {
        return Ok(path(of));
    }
    let evidence = Arc::clone(of);
    let look = move || {
        let same = evidence.executable().is_file_at_its_path().map_err(unreadable_path)?;
        Ok(if same { path(&evidence) } else { None })
    };
    // The path is the process's choice and may lead across a file system that never answers.
    slots.run(uid, ANSWER_LIMIT, look).await
}

fn unreadable_path(source: io::Error) -> AttestorError {
    AttestorError::Unreadable { what: "the path of the executable", source }
}
