//! `systemd:id`, `systemd:slice`, `systemd:user_unit`, `systemd:invocation_id`: the unit of the process.
//!
//! Nobody is asked: the cgroup tree says which unit it is, and a link that the service manager
//! keeps below `/run` says which start of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_common::selector::{Selector, SelectorKind};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, readlinkat, statx};
use rustix::io::Errno;

use super::cgroup_tree::Trees;
use super::claims::{Claim, Reading, claims, first_proven, is_of_systemd, is_unified};
use super::slots::Slots;
use super::unit::{self, Unit};
use super::unix::ANSWER_LIMIT;
use super::{AttestorError, Cost, WorkloadAttestor, selector};
use crate::peer::Evidence;

/// Tells the unit.
#[derive(Debug)]
pub(super) struct SystemdUnits {
    pub(super) slots: Arc<Slots>,
}

#[async_trait]
impl WorkloadAttestor for SystemdUnits {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[
            SelectorKind::SystemdId,
            SelectorKind::SystemdSlice,
            SelectorKind::SystemdUserUnit,
            SelectorKind::SystemdInvocationId,
        ]
    }

    fn cost(&self) -> Cost {
        Cost::Question
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let uid = evidence.credentials().uid;
        let (evidence, wanted) = (Arc::clone(evidence), wanted.clone());
        self.slots.run(uid, ANSWER_LIMIT, move || selectors(&evidence, &wanted)).await
    }
}

fn selectors(evidence: &Evidence, wanted: &BTreeSet<SelectorKind>) -> Result<Vec<Selector>, AttestorError> {
    let mut facts = Vec::new();
    if let Some((Unit { id, slice }, in_namespace)) = named(evidence, unit::read, false)? {
        if wanted.contains(&SelectorKind::SystemdInvocationId) {
            facts.push((SelectorKind::SystemdInvocationId, invocation_id(&id, in_namespace)?));
        }
        facts.extend([(SelectorKind::SystemdId, Some(id)), (SelectorKind::SystemdSlice, Some(slice))]);
    }
    if wanted.contains(&SelectorKind::SystemdUserUnit) {
        let of_user = named(evidence, unit::read_of_user, true)?.map(|(id, _)| id);
        facts.push((SelectorKind::SystemdUserUnit, of_user));
    }
    Ok(facts.into_iter().filter_map(|(kind, value)| selector(kind, &value?)).collect())
}

/// What the hierarchies that systemd uses name, and whether it counts from the root of the
/// agent's cgroup namespace.
fn named<T: PartialEq>(
    evidence: &Evidence,
    reading: Reading<T>,
    ignoring_below: bool,
) -> Result<Option<(T, bool)>, AttestorError> {
    let trees = Trees::default();
    let claims = claims(&trees, evidence.cgroups(), |cgroup| is_unified(cgroup) || is_of_systemd(cgroup), reading);
    if let Some(error) = claims.unread {
        return Err(error);
    }
    first_proven(&trees, agreeing(claims.read), ignoring_below)
}

/// The claims, if all name the same; none otherwise.
///
/// A process that systemd did not place in a hierarchy is at the root of it, which says nothing. One
/// that is elsewhere was taken out of its unit there, as old container runtimes do that leave
/// their containers in the runtime's own unit in cgroup v2: it is in no unit.
pub(super) fn agreeing<T: PartialEq>(mut claims: Vec<Claim<'_, T>>) -> Vec<Claim<'_, T>> {
    claims.retain(|claim| !claim.place.names.is_empty());
    let mut values = claims.iter().map(|claim| claim.named.as_ref().map(|named| &named.value));
    let first = values.next().flatten();
    if values.all(|value| value == first) { claims } else { Vec::new() }
}

/// Which start of a unit runs now: 32 hexadecimal digits (systemd.exec(5), INVOCATION_ID). The
/// manager of the system keeps a link for each running unit. None where there is no such
/// manager, or none of this unit.
///
/// # Errors
/// The directory is not root's alone, or is not that of the manager whose unit it is.
fn invocation_id(unit: &str, in_namespace: bool) -> Result<Option<String>, AttestorError> {
    if !in_namespace {
        return Err(AttestorError::InvocationElsewhere);
    }
    let unreadable = |errno: Errno| AttestorError::Unreadable { what: "/run/systemd/units", source: errno.into() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = openat(CWD, "/", flags, Mode::empty()).map_err(unreadable)?;
    for name in ["run", "systemd", "units"] {
        directory = match openat(&directory, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.map_err(unreadable)?,
        };
        let stat =
            statx(&directory, "", AtFlags::EMPTY_PATH, StatxFlags::UID | StatxFlags::MODE).map_err(unreadable)?;
        if stat.stx_uid != 0 || stat.stx_mode & 0o022 != 0 {
            return Err(AttestorError::InvocationForged);
        }
    }
    match readlinkat(&directory, format!("invocation:{unit}"), Vec::new()) {
        Err(Errno::NOENT) => Ok(None),
        link => Ok(link.map_err(unreadable)?.into_string().ok()),
    }
}
