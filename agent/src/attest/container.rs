//! `container:id`, `container:runtime`, `k8s:pod-uid`: the outermost container of the process.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_common::selector::{Selector, SelectorKind};

use super::cgroup_tree::Trees;
use super::claims::{Claim, claims, first_proven};
use super::container_name;
pub(super) use super::container_name::{Container, Runtime};
use super::slots::Slots;
use super::unix::ANSWER_LIMIT;
use super::{AttestorError, Cost, WorkloadAttestor, selector};
use crate::peer::Evidence;

/// The container that the process is in, by a name that no unprivileged user could have made.
/// None for a process in no container, and in one that was made without privilege: a rootless
/// runtime's cgroups are its user's own, who may name them after any other. May wait for the
/// file system of cgroups.
///
/// # Errors
/// It cannot be seen who made the names, or two hierarchies name two containers.
pub(super) fn container_of(evidence: &Evidence) -> Result<Option<Container>, AttestorError> {
    let trees = Trees::default();
    let claims = claims(&trees, evidence.cgroups(), |_| true, container_name::read);
    match (first_proven(&trees, agreeing(claims.read)?, false)?, claims.unread) {
        (Some((container, _)), _) => Ok(Some(container)),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(None),
    }
}

/// The claims, if no two name different containers. A runtime need not use every hierarchy: one
/// without a container contradicts nothing.
pub(super) fn agreeing(claims: Vec<Claim<'_, Container>>) -> Result<Vec<Claim<'_, Container>>, AttestorError> {
    let mut names = claims.iter().filter_map(|claim| claim.named.as_ref());
    if let Some(one) = names.next()
        && let Some(other) = names.find(|other| other.value != one.value)
    {
        let [one, other] = [one, other].map(|named| named.value.id.clone());
        return Err(AttestorError::TwoContainers { one, other });
    }
    Ok(claims)
}

/// Tells what [`container_of`] finds.
#[derive(Debug)]
pub(super) struct ContainerNames {
    pub(super) slots: Arc<Slots>,
}

#[async_trait]
impl WorkloadAttestor for ContainerNames {
    fn name(&self) -> &'static str {
        "container"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[SelectorKind::ContainerId, SelectorKind::ContainerRuntime, SelectorKind::K8sPodUid]
    }

    fn cost(&self) -> Cost {
        Cost::Question
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        _wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let uid = evidence.credentials().uid;
        let evidence = Arc::clone(evidence);
        let container = self.slots.run(uid, ANSWER_LIMIT, move || container_of(&evidence)).await?;
        Ok(container.map(selectors).unwrap_or_default())
    }
}

fn selectors(container: Container) -> Vec<Selector> {
    let runtime = match container.runtime {
        Runtime::Docker => Some("docker"),
        Runtime::Containerd => Some("containerd"),
        Runtime::CriO => Some("cri-o"),
        Runtime::Podman => Some("podman"),
        Runtime::Unnamed => None,
    };
    let facts = [
        (SelectorKind::ContainerId, Some(container.id.as_str())),
        (SelectorKind::ContainerRuntime, runtime),
        (SelectorKind::K8sPodUid, container.pod_uid.as_deref()),
    ];
    facts.into_iter().filter_map(|(kind, value)| selector(kind, value?)).collect()
}
