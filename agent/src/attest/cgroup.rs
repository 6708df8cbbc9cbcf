//! `cgroup:path`: where in the cgroup tree the process is.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_common::selector::{Selector, SelectorKind};

use super::claims::{is_of_systemd, is_unified};
use super::{AttestorError, Cost, WorkloadAttestor, selector};
use crate::peer::{CgroupMembership, Evidence};

/// Tells the whole path from the root. A user who may make cgroups below one that was
/// delegated to it can choose the end of the path, never its beginning, so no other path can be
/// made to look like an entry's.
#[derive(Debug)]
pub(super) struct CgroupPath;

#[async_trait]
impl WorkloadAttestor for CgroupPath {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[SelectorKind::CgroupPath]
    }

    fn cost(&self) -> Cost {
        Cost::Nothing
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        _wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let path = anchored_path(evidence.cgroups())?;
        Ok(selector(SelectorKind::CgroupPath, path).into_iter().collect())
    }
}

/// The path that speaks for the process: in cgroup v2, else in the hierarchy of systemd.
pub(super) fn path(cgroups: &[CgroupMembership]) -> Option<&str> {
    let unified = cgroups.iter().find(|cgroup| is_unified(cgroup));
    let speaking = unified.or_else(|| cgroups.iter().find(|cgroup| is_of_systemd(cgroup)))?;
    Some(&speaking.path)
}

fn anchored_path(cgroups: &[CgroupMembership]) -> Result<&str, AttestorError> {
    let path = path(cgroups).ok_or(AttestorError::NoCgroup)?;
    // From inside a cgroup namespace the kernel writes what lies outside with leading "..".
    // What follows has no root: "/../x" is one thing to this agent and another to the next.
    if path.split('/').any(|segment| segment == "..") {
        return Err(AttestorError::CgroupOutsideNamespace { path: path.to_owned() });
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroups(lines: &[(u32, &str, &str)]) -> Vec<CgroupMembership> {
        let membership = |(hierarchy, controllers, path): &(u32, &str, &str)| CgroupMembership {
            hierarchy: *hierarchy,
            controllers: (*controllers).to_owned(),
            path: (*path).to_owned(),
        };
        lines.iter().map(membership).collect()
    }

    #[test]
    fn cgroup_v2_speaks_before_systemd_before_nobody() {
        let hybrid = [(9, "name=systemd", "/docker/s"), (4, "memory", "/m"), (0, "", "/docker/v2")];
        assert_eq!(anchored_path(&cgroups(&hybrid)).unwrap(), "/docker/v2");
        assert_eq!(anchored_path(&cgroups(&hybrid[..2])).unwrap(), "/docker/s");
        assert!(matches!(anchored_path(&cgroups(&hybrid[1..2])), Err(AttestorError::NoCgroup)));
    }

    #[test]
    fn a_path_outside_the_namespace_is_no_path_from_the_root() {
        for path in ["/..", "/../78d4", "/../../docker/78d4"] {
            let outside = cgroups(&[(0, "", path)]);
            assert!(matches!(anchored_path(&outside), Err(AttestorError::CgroupOutsideNamespace { .. })), "{path}");
        }
        assert_eq!(anchored_path(&cgroups(&[(0, "", "/..x/a..")])).unwrap(), "/..x/a..");
    }
}
