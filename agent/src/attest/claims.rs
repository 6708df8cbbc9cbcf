//! What the hierarchies say that a process is in, and which of it is to be believed.
//!
//! A name in the cgroup tree counts where no unprivileged user could have made it or moved a
//! process of its own there; see [`super::cgroup_tree`] for what is asked of the kernel. In a
//! mixed set-up a process has a place in each of a dozen hierarchies. One place that is proven is
//! enough, since nobody gets into one without privilege. Hierarchies that contradict each other
//! are for the reader of the name to judge.

use super::AttestorError;
use super::cgroup_tree::{Place, Trees};
use crate::peer::CgroupMembership;
use crate::weakened::Protection;

/// What a path names, and the length of the path down to the directory that bears the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named<T> {
    pub(super) value: T,
    pub(super) depth: usize,
}

/// Reads a path, given as the names from the root.
pub(super) type Reading<T> = fn(&[&str]) -> Option<Named<T>>;

/// A hierarchy, and what it says.
pub(super) struct Claim<'a, T> {
    pub(super) place: Place<'a>,
    pub(super) named: Option<Named<T>>,
}

/// What was asked of the hierarchies of one process.
pub(super) struct Claims<'a, T> {
    /// Cgroup v2 first, then systemd's own hierarchy, then the others in the kernel's order.
    pub(super) read: Vec<Claim<'a, T>>,
    /// Why a hierarchy could not be read, if one could not.
    pub(super) unread: Option<AttestorError>,
}

/// Reads every hierarchy of which `wanted` holds.
pub(super) fn claims<'a, T>(
    trees: &Trees,
    cgroups: &'a [CgroupMembership],
    wanted: fn(&CgroupMembership) -> bool,
    reading: Reading<T>,
) -> Claims<'a, T> {
    let mut claims = Claims { read: Vec::new(), unread: None };
    let mut wanted: Vec<_> = cgroups.iter().filter(|cgroup| wanted(cgroup)).collect();
    wanted.sort_by_key(|cgroup| (!is_unified(cgroup), !is_of_systemd(cgroup)));
    for cgroup in wanted {
        match trees.place(cgroup) {
            Ok(place) => {
                let names: Vec<&str> = place.names.iter().map(String::as_str).collect();
                let named = if Protection::CgroupName.is_out() { anywhere(&names, reading) } else { reading(&names) };
                claims.read.push(Claim { place, named });
            }
            Err(error) => claims.unread = Some(error),
        }
    }
    claims
}

/// The deepest name on the path, wherever it is: what an agent would read that did not mind the
/// place. Only for the attack suites, which show what comes of it.
fn anywhere<T>(names: &[&str], reading: Reading<T>) -> Option<Named<T>> {
    let from = |start| {
        let named = reading(names.get(start..)?)?;
        Some(Named { depth: start + named.depth, ..named })
    };
    // Of several readings of one name the longest, which comes last here.
    (0..names.len()).rev().filter_map(from).max_by_key(|named| named.depth)
}

/// The first name that no unprivileged user could have made (see [`Trees::is_closed`]), and whether
/// its path counts from the root of the agent's cgroup namespace. None if somebody could have made
/// all of the names.
///
/// # Errors
/// No name is proven, and of one it could not be found out.
pub(super) fn first_proven<T>(
    trees: &Trees,
    claims: Vec<Claim<'_, T>>,
    ignoring_below: bool,
) -> Result<Option<(T, bool)>, AttestorError> {
    let mut failure = None;
    for Claim { place, named } in claims {
        let Some(named) = named else { continue };
        match trees.is_closed(&place, named.depth, ignoring_below) {
            Ok(true) => return Ok(Some((named.value, place.is_in_namespace()))),
            Ok(false) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(None), Err)
}

/// Cgroup v2.
pub(super) fn is_unified(cgroup: &CgroupMembership) -> bool {
    cgroup.hierarchy == 0 && cgroup.controllers.is_empty()
}

/// The hierarchy of cgroup v1 in which systemd keeps its units.
pub(super) fn is_of_systemd(cgroup: &CgroupMembership) -> bool {
    cgroup.controllers == "name=systemd"
}
