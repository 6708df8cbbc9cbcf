//! What holds for any bytes in a file of `/proc`, and for whatever a process writes of itself
//! into the kernel's.

use super::proc_files;

/// `bytes` as a `stat`, and as the name in one.
///
/// # Panics
/// The name changes what the rest says.
pub fn stat(bytes: &[u8]) {
    let _ = proc_files::stat(bytes);
    let rest =
        b") S 1 4242 4242 0 -1 4194304 97 0 0 0 1 2 0 0 20 0 3 0 987654 5632000 123 18446744073709551615 1 1 140722\n";
    let read = proc_files::stat(&[&b"4242 ("[..], bytes, rest].concat());
    assert_eq!(read, Some(proc_files::Stat { state: b'S', start_time: 987_654, start_stack: 140_722 }));
}

/// `bytes` as a `status`, and as the name in one.
///
/// # Panics
/// What is read is not what is written, or the name changes what the rest says.
pub fn status(bytes: &[u8]) {
    if let Some(read) = proc_files::status(bytes) {
        assert_eq!(proc_files::status(status_of(b"x", &read).as_slice()), Some(read));
    }
    let privileges = proc_files::Privileges { capabilities: 1 << 40, no_new_privs: true, seccomp: 2 };
    let (uids, gids, groups) = ([2, 3, 4, 5], [6, 7, 8, 9], vec![10, 11]);
    let facts = proc_files::Status { tgid: 1, parent: 2, tracer: 3, threads: 4, uids, gids, groups, privileges };
    assert_eq!(proc_files::status(&status_of(&escaped(bytes), &facts)), Some(facts));
}

/// As the kernel writes a name there: line breaks and backslashes escaped.
fn escaped(name: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b'\n' => b"\\n".to_vec(),
        b'\\' => b"\\\\".to_vec(),
        byte => vec![*byte],
    };
    name.iter().flat_map(escape).collect()
}

fn status_of(name: &[u8], facts: &proc_files::Status) -> Vec<u8> {
    let words = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join("\t");
    let proc_files::Status { tgid, parent, tracer, threads, privileges, .. } = facts;
    let rest = format!(
        "\nTgid:\t{tgid}\nPPid:\t{parent}\nTracerPid:\t{tracer}\nUid:\t{}\nGid:\t{}\nGroups:\t{} \nThreads:\t{threads}\n\
         CapEff:\t{:016x}\nNoNewPrivs:\t{}\nSeccomp:\t{}\n",
        words(&facts.uids),
        words(&facts.gids),
        words(&facts.groups),
        privileges.capabilities,
        u8::from(privileges.no_new_privs),
        privileges.seccomp
    );
    [&b"Name:\t"[..], name, rest.as_bytes()].concat()
}

/// `bytes` as a `maps`, and as a path in one.
///
/// # Panics
/// What is read is not what is written, or the path changes what the rest says.
pub fn maps(bytes: &[u8]) {
    if let Some(read) = proc_files::code_mappings(bytes) {
        let written: Vec<u8> = read.iter().flat_map(line_of_maps).collect();
        assert!(read.iter().all(|mapping| mapping.inode != 0));
        assert!(read.is_empty() || proc_files::code_mappings(&written) == Some(read));
    }
    let path = bytes.iter().flat_map(|byte| if *byte == b'\n' { b"\\012".to_vec() } else { vec![*byte] });
    let path = [b'/'].into_iter().chain(path).collect();
    let hostile = proc_files::CodeMapping { range: (1, 2), device: (8, 2), inode: 3, path };
    let honest = proc_files::CodeMapping { inode: 4, path: b"/a".to_vec(), ..hostile.clone() };
    let mappings = vec![honest.clone(), hostile, honest];
    let written: Vec<u8> = mappings.iter().flat_map(line_of_maps).collect();
    assert_eq!(proc_files::code_mappings(&written), Some(mappings));
}

fn line_of_maps(mapping: &proc_files::CodeMapping) -> Vec<u8> {
    let ((first, end), (major, minor), inode) = (mapping.range, mapping.device, mapping.inode);
    let facts = format!("{first:08x}-{end:08x} r-xp 00000000 {major:02x}:{minor:02x} {inode:<26} ");
    [facts.as_bytes(), &mapping.path, b"\n"].concat()
}

/// `bytes` as a `cgroup`, and as the path in one.
///
/// # Panics
/// What is read is not what is written.
pub fn cgroup(bytes: &[u8]) {
    if let Some(read) = proc_files::cgroup(bytes) {
        let lines = read.iter().map(|line| format!("{}:{}:{}\n", line.hierarchy, line.controllers, line.path));
        assert_eq!(proc_files::cgroup(lines.collect::<String>().as_bytes()), Some(read));
    }
    let Ok(name) = std::str::from_utf8(bytes) else { return };
    if !name.contains('\n') {
        let read = proc_files::cgroup(format!("1:name=systemd:/init\n0::/a/{name}\n").as_bytes());
        let path = read.as_deref().and_then(|lines| Some(lines.get(1)?.path.clone()));
        assert_eq!((path, read.map(|lines| lines.len())), (Some(format!("/a/{name}")), Some(2)));
    }
}

/// `bytes` as a file of `fdinfo`.
///
/// # Panics
/// A number is read that has no line.
pub fn fdinfo(bytes: &[u8]) {
    if proc_files::fdinfo::<i64>(bytes, "Pid").is_some() {
        assert_eq!(bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"Pid:")).count(), 1);
    }
}
