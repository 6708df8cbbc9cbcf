//! Parsers of the files of `/proc/PID`: bytes to facts, no I/O.
//!
//! Parts of these files are chosen by the process itself (its name, the names of its
//! cgroups), so every parser is strict: a file that is not exactly as proc(5) says is no
//! evidence at all.

use super::CgroupMembership;

/// What `stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Field 3, a letter; `Z` and `X` are the dead.
    pub(super) state: u8,
    /// Field 22, clock ticks since boot.
    pub(super) start_time: u64,
    /// Field 28, where the stack of the running image begins: another place after each exec, also
    /// of the same file. 0 to a reader that may not trace the process.
    pub(super) start_stack: u64,
}

/// What `status` says about the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Thread group, which is what everybody calls the pid.
    pub(super) tgid: i32,
    /// Real, effective, saved and file system user id.
    pub(super) uids: [u32; 4],
    /// Real, effective, saved and file system group id.
    pub(super) gids: [u32; 4],
    /// Supplementary groups, sorted.
    pub(super) groups: Vec<u32>,
}

/// Reads `/proc/PID/stat`.
pub(super) fn stat(file: &[u8]) -> Option<Stat> {
    // The name in field 2 may hold spaces, line breaks and parentheses, unescaped. What
    // follows it never holds a parenthesis, so the last one ends the name.
    let name_end = file.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(file.get(name_end + 1..)?).ok()?;
    let mut fields = rest.strip_suffix('\n')?.strip_prefix(' ')?.split(' ');
    let state = fields.next()?;
    // Field 3 is taken; 18 fields lie between it and field 22.
    let start_time = fields.nth(18)?.parse().ok()?;
    let start_stack = fields.nth(5)?.parse().ok()?;
    match state.as_bytes() {
        [state] => Some(Stat { state: *state, start_time, start_stack }),
        _ => None,
    }
}

/// Reads `/proc/PID/status`. The kernel escapes line breaks in the name that it starts with.
pub(super) fn status(file: &[u8]) -> Option<Status> {
    let [tgid, uids, gids, groups] = only_values(file, ["Tgid", "Uid", "Gid", "Groups"])?;
    let mut groups = numbers(groups)?;
    groups.sort_unstable();
    groups.dedup();
    Some(Status {
        tgid: std::str::from_utf8(tgid).ok()?.parse().ok()?,
        uids: numbers(uids)?.try_into().ok()?,
        gids: numbers(gids)?.try_into().ok()?,
        groups,
    })
}

/// Reads `/proc/PID/cgroup` (cgroups(7)). The kernel lets no cgroup have a line break in its
/// name; colons it allows. A trailing ` (deleted)` is kept: a user may name a cgroup so.
pub(super) fn cgroup(file: &[u8]) -> Option<Vec<CgroupMembership>> {
    let lines = std::str::from_utf8(file).ok()?.strip_suffix('\n')?;
    lines.split('\n').map(membership).collect()
}

fn membership(line: &str) -> Option<CgroupMembership> {
    let mut parts = line.splitn(3, ':');
    let hierarchy = parts.next()?.parse().ok()?;
    let controllers = parts.next()?.to_owned();
    let path = parts.next().filter(|path| path.starts_with('/'))?.to_owned();
    Some(CgroupMembership { hierarchy, controllers, path })
}

/// The number in the line `name:` of a file of `/proc/self/fdinfo`.
pub(super) fn fdinfo<N: std::str::FromStr>(file: &[u8], name: &str) -> Option<N> {
    let [value] = only_values(file, [name])?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// What follows each of `names` and its colon in the one line that starts so; nothing if a name
/// has no line or two. Goes over the file once: it is read twice for each answer to a workload.
fn only_values<'a, const N: usize>(file: &'a [u8], names: [&str; N]) -> Option<[&'a [u8]; N]> {
    let mut found: [Option<&[u8]>; N] = [None; N];
    for line in file.split(|byte| *byte == b'\n') {
        for (name, value) in names.iter().zip(&mut found) {
            let rest = line.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
            if rest.is_some_and(|rest| value.replace(rest.trim_ascii()).is_some()) {
                return None;
            }
        }
    }
    let mut values: [&[u8]; N] = [b""; N];
    for (value, found) in values.iter_mut().zip(found) {
        *value = found?;
    }
    Some(values)
}

fn numbers(value: &[u8]) -> Option<Vec<u32>> {
    let words = std::str::from_utf8(value).ok()?.split_ascii_whitespace();
    words.map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
