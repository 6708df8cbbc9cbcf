//! Who is counted: a user, and the unit or container that its process is in.

use std::sync::Arc;

use crate::peer::{CgroupMembership, Peer, PeerError};

/// A user in a cgroup. Both are the kernel's word, and neither is trusted to be costly: a
/// container may have a thousand users, a user a thousand cgroups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    uid: u32,
    cgroup: Option<Arc<str>>,
}

/// Whom turns and hash bytes are shared between: units and containers, and users where there
/// are none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Group {
    Cgroup(Arc<str>),
    User(u32),
}

impl Key {
    /// The user as of connect, the cgroup as of now: to be called at accept.
    ///
    /// # Errors
    /// The process is gone, or its cgroup cannot be read.
    pub fn of(peer: &Peer) -> Result<Self, PeerError> {
        Ok(Self::new(peer.connected_as().uid, &peer.cgroups()?))
    }

    /// A user and the cgroup that speaks for the process: in cgroup v2, and where all processes
    /// are in the root of that one, in the hierarchy of systemd.
    ///
    /// A process in the root cgroup is in none that somebody set up, and only its user counts.
    pub fn new(uid: u32, cgroups: &[CgroupMembership]) -> Self {
        let unified = |cgroup: &&CgroupMembership| cgroup.hierarchy == 0 && cgroup.controllers.is_empty();
        let systemd = |cgroup: &&CgroupMembership| cgroup.controllers == "name=systemd";
        let [unified, systemd] = [cgroups.iter().find(unified), cgroups.iter().find(systemd)];
        let set_up = [unified, systemd].into_iter().flatten().map(|cgroup| granted(&cgroup.path));
        let path = set_up.into_iter().find(|path| *path != "/");
        Self { uid, cgroup: path.map(Arc::from) }
    }

    /// Of a process whose cgroup was not looked at.
    pub fn of_user(uid: u32) -> Self {
        Self { uid, cgroup: None }
    }

    /// Effective user id as of connect.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Path of the unit or container; none for a process in the root cgroup.
    pub fn cgroup(&self) -> Option<&Arc<str>> {
        self.cgroup.as_ref()
    }

    pub(super) fn group(&self) -> Group {
        self.cgroup.as_ref().map_or(Group::User(self.uid), |path| Group::Cgroup(Arc::clone(path)))
    }
}

/// The part of a path that was granted from above: to the first service or scope, or to the
/// slice of a user's sessions. What is below, its owner may have made, as often as it likes
/// (systemd.resource-control(5), `Delegate=`).
fn granted(path: &str) -> &str {
    let mut end = 0;
    for segment in path.split_inclusive('/') {
        end += segment.len();
        let name = segment.trim_end_matches('/');
        let is_users = name.starts_with("user-") && name.ends_with(".slice");
        if is_users || name.ends_with(".service") || name.ends_with(".scope") {
            return path.get(..end).unwrap_or(path).trim_end_matches('/');
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(lines: &[(u32, &str, &str)]) -> Option<String> {
        let membership = |(hierarchy, controllers, path): &(u32, &str, &str)| CgroupMembership {
            hierarchy: *hierarchy,
            controllers: (*controllers).to_owned(),
            path: (*path).to_owned(),
        };
        let cgroups: Vec<_> = lines.iter().map(membership).collect();
        Key::new(7, &cgroups).cgroup().map(ToString::to_string)
    }

    #[test]
    fn the_cgroup_is_the_one_that_somebody_set_up() {
        assert_eq!(
            key(&[(4, "memory", "/m"), (1, "name=systemd", "/docker/s"), (0, "", "/docker/v2")]).unwrap(),
            "/docker/v2"
        );
        assert_eq!(key(&[(4, "memory", "/m"), (1, "name=systemd", "/docker/s"), (0, "", "/")]).unwrap(), "/docker/s");
        assert_eq!(key(&[(4, "memory", "/m"), (1, "name=systemd", "/"), (0, "", "/")]), None);
        assert_eq!(key(&[(4, "memory", "/m")]), None);
    }

    #[test]
    fn what_the_owner_of_a_unit_may_make_is_no_cgroup_of_its_own() {
        for (path, expected) in [
            ("/system.slice/orders.service", "/system.slice/orders.service"),
            ("/system.slice/orders.service/a/b.scope", "/system.slice/orders.service"),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", "/user.slice/user-1000.slice"),
            ("/user.slice/user-1000.slice/session-3.scope", "/user.slice/user-1000.slice"),
            (
                "/kubepods.slice/kubepods-pod1.slice/cri-containerd-a.scope/x",
                "/kubepods.slice/kubepods-pod1.slice/cri-containerd-a.scope",
            ),
            ("/kubepods/burstable/pod1/a", "/kubepods/burstable/pod1/a"),
            ("/../docker/a", "/../docker/a"),
        ] {
            assert_eq!(key(&[(0, "", path)]).as_deref(), Some(expected), "{path}");
        }
    }
}
