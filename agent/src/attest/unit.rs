//! Which systemd unit a path in the cgroup tree names, as systemd itself reads it. Pure.
//!
//! systemd arranges slices below the root and one directory for each unit below its slice. So the
//! first name that is no slice is the unit, and what lies below is the unit's own affair: of a
//! container, of a user's service manager, of whoever it was delegated to.

use countersign_common::unit_name::{is_slice, is_unit};

use super::claims::Named;

/// A unit of the system's service manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Its name, type included.
    pub(super) id: String,
    /// The slice that it is in.
    pub(super) slice: String,
}

/// The root of all slices, which has no directory (systemd.special(7)).
const ROOT_SLICE: &str = "-.slice";

/// The system unit of the cgroup that is reached from the root by `names`.
pub(super) fn read(names: &[&str]) -> Option<Named<Unit>> {
    let slices = slices(names);
    let id = plain(names.get(slices)?);
    let slice = slices.checked_sub(1).and_then(|last| names.get(last)).map_or(ROOT_SLICE, |name| plain(name));
    is_unit(id).then(|| Named { value: Unit { id: id.to_owned(), slice: slice.to_owned() }, depth: slices + 1 })
}

/// The unit of a user's service manager. The name that no user could make is that of the
/// manager's own unit, so the depth is that one's.
pub(super) fn read_of_user(names: &[&str]) -> Option<Named<String>> {
    let ["user.slice", slice, service, below @ ..] = names else { return None };
    let uid = service.strip_prefix("user@")?.strip_suffix(".service")?;
    if uid.parse::<u32>().map(|n| n.to_string()).as_deref() != Ok(uid) || *slice != format!("user-{uid}.slice") {
        return None;
    }
    let id = plain(below.get(slices(below))?);
    is_unit(id).then(|| Named { value: id.to_owned(), depth: 3 })
}

/// How many slices `names` begin with.
fn slices(names: &[&str]) -> usize {
    names.iter().take_while(|name| is_slice(plain(name))).count()
}

/// The name of a unit without the underscore that systemd puts before one that the kernel could
/// take for a file of its own, such as `cpu.service`.
fn plain(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}
