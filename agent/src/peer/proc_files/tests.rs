//! Files of /proc as kernels write them, and as a process would like them to read.

use proptest::prelude::*;

use super::*;

fn stat_line(name: &str) -> String {
    format!(
        "4242 ({name}) S 1 4242 4242 0 -1 4194304 97 0 0 0 1 2 0 0 20 0 3 0 987654 5632000 123 \
         18446744073709551615 1 1 28 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
}

fn status_file(name: &str, groups: &str) -> String {
    format!(
        "Name:\t{name}\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4242\nNgid:\t0\nPid:\t4242\nPPid:\t1\nTracerPid:\t0\n\
         Uid:\t1001\t0\t0\t0\nGid:\t100\t101\t102\t103\nFDSize:\t64\nGroups:\t{groups} \nNStgid:\t4242\nThreads:\t3\n\
         CapInh:\t0000000000000000\nCapEff:\t0000000000000400\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n"
    )
}

#[test]
fn start_time_is_field_22_and_stack_28_whatever_the_name_says() {
    for name in ["sleep", "a b", "x) Z 1 (y", ") R 1 2 3\n", "((", "\u{fffd}", ""] {
        assert_eq!(
            stat(stat_line(name).as_bytes()),
            Some(Stat { state: b'S', start_time: 987_654, start_stack: 28 }),
            "{name:?}"
        );
    }
}

#[test]
fn a_stat_that_is_cut_short_is_no_evidence() {
    let whole = stat_line("sleep");
    assert!((0..whole.len()).all(|end| stat(&whole.as_bytes()[..end]).is_none()));
}

#[test]
fn all_four_ids_and_the_groups_are_read() {
    let read = status(status_file("sleep", "27 4 4 1001").as_bytes()).unwrap();
    assert_eq!(
        read,
        Status {
            tgid: 4242,
            parent: 1,
            tracer: 0,
            threads: 3,
            uids: [1001, 0, 0, 0],
            gids: [100, 101, 102, 103],
            groups: vec![4, 27, 1001],
            privileges: Privileges { capabilities: 1 << 10, no_new_privs: false, seccomp: 2 },
        }
    );
    assert_eq!(status(status_file("sleep", "").as_bytes()).unwrap().groups, Vec::<u32>::new());
}

#[test]
fn a_status_that_says_a_thing_twice_or_not_at_all_is_no_evidence() {
    // The kernel escapes the line break in a name; one that did not would be believed by nobody.
    assert_eq!(status(status_file("x\nUid:\t0\t0\t0\t0", "").as_bytes()), None);
    assert!(status(status_file("x\\nUid:\t0\t0\t0\t0", "").as_bytes()).is_some());
    for missing in ["Tgid:", "PPid:", "TracerPid:", "Threads:", "Uid:", "Gid:", "Groups:", "CapEff:", "NoNewPrivs:"] {
        assert_eq!(status(status_file("x", "").replace(missing, "Else:").as_bytes()), None, "{missing}");
    }
    assert_eq!(status(status_file("x", "").replace("\t1001\t0\t0\t0", "\t1001\t0\t0").as_bytes()), None);
    assert_eq!(status(status_file("x", "4294967296").as_bytes()), None);
    assert_eq!(status(status_file("x\nTracerPid:\t0", "").as_bytes()), None);
    assert_eq!(status(status_file("x\nSeccomp:\t0", "").as_bytes()), None);
    for (good, bad) in
        [("Seccomp:\t2", "Seccomp:\t3"), ("CapEff:\t0", "CapEff:\t-0"), ("NoNewPrivs:\t0", "NoNewPrivs:\t")]
    {
        assert_eq!(status(status_file("x", "").replace(good, bad).as_bytes()), None, "{bad}");
    }
}

#[test]
fn a_kernel_without_seccomp_has_it_disabled() {
    let without = status_file("x", "").replace("Seccomp:", "Else:");
    assert_eq!(status(without.as_bytes()).unwrap().privileges.seccomp, 0);
}

#[test]
fn the_tracer_of_a_thread_is_read_alone() {
    let file = status_file("x", "").replace("TracerPid:\t0", "TracerPid:\t77");
    assert_eq!((tracer(file.as_bytes()), status(file.as_bytes()).unwrap().tracer), (Some(77), 77));
    assert_eq!(tracer(b"Name:\tx\n"), None);
}

const MAPS: &str = "\
00400000-00452000 r-xp 00000000 08:02 173521                             /usr/bin/dbus-daemon
00651000-00652000 r--p 00051000 08:02 173521                             /usr/bin/dbus-daemon
00e03000-00e24000 rw-p 00000000 00:00 0                                  [heap]
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f5a2c000000-7f5a2c021000 r-xs 00001000 00:1b 42                         /memfd:jit (deleted)
7ffd8f5fe000-7ffd8f600000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
7f6a2c000000-7f6a2c021000 --xp 00001000 103:05 7                         /a b/c\\012d
";

#[test]
fn files_that_are_mapped_as_code_are_found_and_nothing_else() {
    let read = code_mappings(MAPS.as_bytes()).unwrap();
    let shown: Vec<_> = read.iter().map(|m| (m.device, m.inode, str::from_utf8(&m.path).unwrap())).collect();
    assert_eq!(
        shown,
        [
            ((8, 2), 173_521, "/usr/bin/dbus-daemon"),
            ((0, 0x1b), 42, "/memfd:jit (deleted)"),
            ((0x103, 5), 7, "/a b/c\\012d")
        ]
    );
    assert_eq!(read[0].range, (0x40_0000, 0x45_2000));
}

#[test]
fn what_is_not_a_maps_file_is_no_evidence() {
    for line in [
        "",
        "\n",
        "00400000-00452000 r-xp 00000000 08:02",
        "00400000 r-xp 00000000 08:02 1 /a",
        "00400000-x r-xp 00000000 08:02 1 /a",
        "00400000-00452000 r-x 00000000 08:02 1 /a",
        "00400000-00452000 r-xp 00000000 08-02 1 /a",
        "00400000-00452000 r-xp 00000000 08:02 -1 /a",
    ] {
        assert_eq!(code_mappings(format!("{line}\n").as_bytes()), None, "{line:?}");
    }
    assert_eq!(code_mappings(MAPS.trim_end().as_bytes()), None, "cut short");
}

#[test]
fn cgroup_lines_are_split_at_two_colons_only() {
    let file = "9:name=systemd:/docker/016bd1\n4:cpu,cpuacct:/a:b/c (deleted)\n0::/../78d4\n";
    let read = cgroup(file.as_bytes()).unwrap();
    let shown: Vec<_> = read.iter().map(|line| (line.hierarchy, &*line.controllers, &*line.path)).collect();
    assert_eq!(
        shown,
        [(9, "name=systemd", "/docker/016bd1"), (4, "cpu,cpuacct", "/a:b/c (deleted)"), (0, "", "/../78d4")]
    );
}

#[test]
fn what_is_not_a_cgroup_file_is_no_evidence() {
    for file in ["", "\n", "0::/", "0::x\n", "0:/\n", "x::/\n", "0::/\n\n", "4294967296::/\n"] {
        assert_eq!(cgroup(file.as_bytes()), None, "{file:?}");
    }
    assert_eq!(cgroup(b"0::/\xff\n"), None);
}

#[test]
fn the_kernels_own_files_are_read() {
    let file = |name: &str| std::fs::read(format!("/proc/self/{name}")).unwrap();
    assert!(stat(&file("stat")).unwrap().start_time > 0);
    assert_eq!(u32::try_from(status(&file("status")).unwrap().tgid).unwrap(), std::process::id());
    assert!(!cgroup(&file("cgroup")).unwrap().is_empty());
    let image = std::env::current_exe().unwrap().into_os_string().into_encoded_bytes();
    assert!(code_mappings(&file("maps")).unwrap().iter().any(|mapping| mapping.path == image));
}

#[test]
fn descriptor_facts_are_read_by_name() {
    let file = b"pos:\t0\nflags:\t012000000\nmnt_id:\t27\nino:\t1\nPid:\t-1\nNSpid:\t-1\n";
    assert_eq!(fdinfo(file, "Pid"), Some(-1));
    assert_eq!(fdinfo(file, "mnt_id"), Some(27_u64));
    assert_eq!(fdinfo::<i32>(file, "tfd"), None);
    assert_eq!(fdinfo::<u64>(file, "Pid"), None);
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = (stat(&bytes), status(&bytes), cgroup(&bytes), fdinfo::<u64>(&bytes, "Pid"));
        let _ = (tracer(&bytes), code_mappings(&bytes));
    }

    #[test]
    fn no_name_changes_what_stat_says(name in "[ -~\\n]{0,64}") {
        prop_assert_eq!(stat(stat_line(&name).as_bytes()), Some(Stat { state: b'S', start_time: 987_654, start_stack: 28 }));
    }

    #[test]
    fn any_path_of_a_mapping_survives(path in "/[ -~]{0,64}", inode in 1..u64::MAX) {
        let read = code_mappings(format!("1000-2000 r-xp 0 fe:00 {inode}      {path}\n").as_bytes()).unwrap();
        prop_assert_eq!((read[0].inode, &*read[0].path), (inode, path.as_bytes()));
    }

    #[test]
    fn any_cgroup_path_survives(path in "/[ -~]{0,64}", id in any::<u32>()) {
        let read = cgroup(format!("{id}::{path}\n").as_bytes()).unwrap();
        prop_assert_eq!((read[0].hierarchy, &read[0].path), (id, &path));
    }
}
