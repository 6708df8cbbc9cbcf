//! Parsers of the files of `/proc/PID`: bytes to facts, no I/O.
//!
//! Parts of these files are chosen by the process itself (its name, the names of its
//! cgroups), so every parser is strict: a file that is not exactly as proc(5) says is no
//! evidence at all.

use super::{CgroupMembership, Credentials};

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

/// What `status` says, of the first thread where threads may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Thread group, which is what everybody calls the pid.
    pub(super) tgid: i32,
    /// Pid of the parent; 0 for one outside the agent's pid namespace.
    pub(super) parent: i32,
    /// Pid of the tracer; 0 if there is none, or none in the agent's pid namespace.
    pub(super) tracer: i32,
    /// How many threads there are.
    pub(super) threads: u32,
    /// Real, effective, saved and file system user id.
    pub(super) uids: [u32; 4],
    /// Real, effective, saved and file system group id.
    pub(super) gids: [u32; 4],
    /// Supplementary groups, sorted.
    pub(super) groups: Vec<u32>,
    /// What beside its ids decides what it may do.
    pub(super) privileges: Privileges,
}

impl Status {
    /// Effective user and group id.
    pub(super) fn effective(&self) -> Credentials {
        let ([_, uid, _, _], [_, gid, _, _]) = (self.uids, self.gids);
        Credentials { uid, gid }
    }

    /// All ids by which the kernel decides what it may do.
    pub(super) fn ids(&self) -> (&[u32; 4], &[u32; 4], &[u32]) {
        (&self.uids, &self.gids, &self.groups)
    }
}

/// What a process may do beside what its ids let it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// Effective capabilities, a bit each, by their numbers (capabilities(7)). They are of the
    /// user namespace that the process is in.
    pub capabilities: u64,
    /// Whether `exec` gains it nothing (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// Its seccomp mode (seccomp(2)): 0 disabled, 1 strict, 2 filter.
    pub seccomp: u8,
}

/// A file that is mapped as code: a line of `maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodeMapping {
    /// First address and the one after the last.
    pub(super) range: (u64, u64),
    /// Major and minor number of the device.
    pub(super) device: (u32, u32),
    /// Inode.
    pub(super) inode: u64,
    /// Where it is or was, as the kernel writes it.
    pub(super) path: Vec<u8>,
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
    let [tgid, parent, tracer, threads, uids, gids, groups, capabilities, no_new_privs] =
        only_values(file, ["Tgid", "PPid", "TracerPid", "Threads", "Uid", "Gid", "Groups", "CapEff", "NoNewPrivs"])?;
    let seccomp = match at_most_one_value(file, "Seccomp")? {
        Some(mode) => number(mode).filter(|mode| *mode <= 2)?,
        // A kernel without seccomp has no such line.
        None => 0,
    };
    let mut groups = numbers(groups)?;
    groups.sort_unstable();
    groups.dedup();
    Some(Status {
        tgid: number(tgid)?,
        parent: number(parent)?,
        tracer: number(tracer)?,
        threads: number(threads)?,
        uids: numbers(uids)?.try_into().ok()?,
        gids: numbers(gids)?.try_into().ok()?,
        groups,
        privileges: Privileges {
            capabilities: u64::from_str_radix(std::str::from_utf8(capabilities).ok()?, 16).ok()?,
            no_new_privs: number::<u8>(no_new_privs)? != 0,
            seccomp,
        },
    })
}

/// Reads the tracer alone from the `status` of a thread.
pub(super) fn tracer(file: &[u8]) -> Option<i32> {
    let [tracer] = only_values(file, ["TracerPid"])?;
    number(tracer)
}

/// Reads `/proc/PID/maps`: the files that are mapped as code. Memory that is mapped as code and
/// is no file (inode 0) is left out. The kernel escapes line breaks in paths.
pub(super) fn code_mappings(file: &[u8]) -> Option<Vec<CodeMapping>> {
    let lines = file.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
    let mut mappings = Vec::new();
    for line in lines {
        mappings.extend(code_mapping(line)?);
    }
    Some(mappings)
}

/// The file in a line of `maps`, if it is a file and mapped as code; `None` for what is no such line.
fn code_mapping(line: &[u8]) -> Option<Option<CodeMapping>> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut field = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let (range, permissions, _offset, device, inode) = (field()?, field()?, field()?, field()?, field()?);
    let (first, end) = range.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let (range, inode) = ((hexadecimal(first)?, hexadecimal(end)?), inode.parse().ok()?);
    let device = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let executable = match permissions.as_bytes() {
        [_, _, executable, _] => *executable == b'x',
        _ => return None,
    };
    if !executable || inode == 0 {
        return Some(None);
    }
    let path = fields.next().unwrap_or_default().trim_ascii_start().to_vec();
    Some(Some(CodeMapping { range, device, inode, path }))
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
    number(value)
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

/// What follows `name` and its colon in the line that starts so, if there is one; nothing if there are two.
fn at_most_one_value<'a>(file: &'a [u8], name: &str) -> Option<Option<&'a [u8]>> {
    let of_name = |line: &&[u8]| line.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b":"));
    if file.split(|byte| *byte == b'\n').any(|line| of_name(&line)) {
        only_values(file, [name]).map(|[value]| Some(value))
    } else {
        Some(None)
    }
}

fn number<N: std::str::FromStr>(value: &[u8]) -> Option<N> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn numbers(value: &[u8]) -> Option<Vec<u32>> {
    let words = std::str::from_utf8(value).ok()?.split_ascii_whitespace();
    words.map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
