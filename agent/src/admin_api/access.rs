//! Who may ask, and who may change something.

use std::sync::Arc;

use nix::unistd::geteuid;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::operator::{Journal, Operator};
use crate::peer::{Credentials, Peer};

/// Who is an operator: root, the agent's own user, and those named here.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Effective user ids.
    pub uids: Vec<u32>,
    /// Groups; their members count, whether the group is their first or a supplementary one.
    pub gids: Vec<u32>,
    /// Where entries come from, if not from operators: then nothing can be changed here.
    pub read_only: Option<String>,
}

impl Access {
    /// Whether the process that connected is an operator's.
    fn allows(&self, peer: &Arc<Peer>) -> bool {
        self.names(peer.connected_as(), geteuid().as_raw()) || self.is_member(peer)
    }

    /// Whether credentials at `connect` are enough, with `own` as the agent's user.
    fn names(&self, credentials: &Credentials, own: u32) -> bool {
        let Credentials { uid, gid, .. } = credentials;
        *uid == 0 || *uid == own || self.uids.contains(uid) || self.gids.contains(gid)
    }

    /// Supplementary groups are no part of the credentials at `connect`; they are read of
    /// the live process, and count only while it is who connected.
    fn is_member(&self, peer: &Arc<Peer>) -> bool {
        !self.gids.is_empty()
            && peer.evidence().is_ok_and(|evidence| {
                let member = evidence.supplementary_groups().iter().any(|gid| self.gids.contains(gid));
                member && evidence.recheck().is_ok()
            })
    }

    /// Lets a change of entries pass.
    pub(super) fn may_write(&self) -> Result<(), Status> {
        match &self.read_only {
            None => Ok(()),
            Some(file) => {
                Err(Status::failed_precondition(format!("entries come from {file}: edit and save that file")))
            }
        }
    }

    /// Lets a change of bundles pass.
    pub(super) fn may_set_bundles(&self) -> Result<(), Status> {
        match &self.read_only {
            None => Ok(()),
            Some(file) => Err(Status::failed_precondition(format!(
                "this agent goes by {file} alone and takes no bundles of other trust domains; run `countersign agent` \
                 to federate"
            ))),
        }
    }
}

/// Stands in front of every method: refuses before a byte of the message is read.
#[derive(Clone)]
pub(super) struct Gate {
    access: Access,
    journal: Journal,
}

impl Gate {
    pub(super) fn new(access: Access, journal: Journal) -> Self {
        Self { access, journal }
    }
}

impl Interceptor for Gate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        // Only a connection that did not come through our endpoint has no peer.
        let Some(peer) = request.extensions().get::<Arc<Peer>>() else {
            return Err(Status::permission_denied("the kernel does not say who is asking"));
        };
        let operator = Operator { pid: peer.pid(), uid: peer.connected_as().uid };
        if !self.access.allows(peer) {
            let reason = format!("user {} is no operator of this agent", operator.uid);
            self.journal.refused(operator, &reason);
            return Err(Status::permission_denied(format!(
                "{reason}; admin_api.uids and admin_api.gids of its configuration name those who are"
            )));
        }
        request.extensions_mut().insert(operator);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_agent_and_those_who_are_named_may_ask() {
        let access = Access { uids: vec![1000], gids: vec![50, 0], read_only: None };
        let allowed = |uid, gid| access.names(&Credentials { uid, gid }, 900);
        for (uid, gid) in [(0, 9), (900, 900), (1000, 9), (7, 50), (7, 0)] {
            assert!(allowed(uid, gid), "{uid} {gid}");
        }
        for (uid, gid) in [(7, 900), (50, 1000), (901, 51), (u32::MAX, u32::MAX)] {
            assert!(!allowed(uid, gid), "{uid} {gid}");
        }
        assert!(!Access::default().names(&Credentials { uid: 1000, gid: 0 }, 900));
    }

    #[test]
    fn where_entries_come_from_a_file_nothing_is_written() {
        assert!(Access::default().may_write().is_ok());
        let read_only = Access { read_only: Some("a.yaml".to_owned()), ..Access::default() };
        let refused = read_only.may_write().unwrap_err();
        assert_eq!(refused.message(), "entries come from a.yaml: edit and save that file");
        assert!(Access::default().may_set_bundles().is_ok());
        assert!(read_only.may_set_bundles().unwrap_err().message().contains("a.yaml"));
    }
}
