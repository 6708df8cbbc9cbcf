//! What is read from `/proc/PID/cgroup` of each runtime in each set-up, and of who means harm.
//!
//! Each file of `cgroup_samples/` is one process as an agent sees it that runs in the namespaces of
//! the machine. Those of docker (`hybrid`, `v2-cgroupfs`), podman (the same), `ctr` and runc
//! were taken from processes of docker 20.10, podman 4.3, containerd 1.6 and runc 1.1; the others are
//! written by hand, in the form in which the runtimes are known to lay out their cgroups.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::cgroup_tree::Trees;
use super::claims::{Claim, claims, is_of_systemd, is_unified};
use super::{container, container_name, systemd, unit};
use crate::peer::CgroupMembership;

/// The sample, then what is read from it: container by the beginning of its id, runtime, pod;
/// unit and slice; unit of a user.
const READINGS: &[(&str, &str)] = &[
    ("crictl-cgroupfs", "016bd162 Containerd -, -, -"),
    ("ctr-free-name", "-, -, -"),
    ("docker-cgroup-parent-bare", "-, -, -"),
    ("docker-cgroup-parent-slice", "016bd162 Docker -, docker-016bd162 tenants-blue.slice, -"),
    ("docker-hybrid", "e7c31af4 Docker -, -, -"),
    ("docker-in-docker", "016bd162 Docker -, -, -"),
    ("docker-in-docker-v2", "016bd162 Docker -, docker-016bd162 system.slice, -"),
    ("docker-left-in-v2", "016bd162 Docker -, -, -"),
    ("docker-rootless", "-, user@1000.service user-1000.slice, docker-016bd162"),
    ("docker-v1-cgroupfs", "016bd162 Docker -, -, -"),
    ("docker-v1-systemd", "016bd162 Docker -, docker-016bd162 system.slice, -"),
    ("docker-v2-cgroupfs", "00dae88d Docker -, -, -"),
    ("docker-v2-systemd", "016bd162 Docker -, docker-016bd162 system.slice, -"),
    ("hostile-colons", "-, -, -"),
    ("hostile-delegated-docker", "-, user@61002.service user-61002.slice, -"),
    ("hostile-delegated-pod", "-, user@61002.service user-61002.slice, cri-containerd-ffffffff"),
    ("hostile-delegated-scope", "-, user@61002.service user-61002.slice, docker-ffffffff"),
    ("hostile-delegated-unit", "-, user@61002.service user-61002.slice, orders.service"),
    ("hostile-dots", "unreadable, unreadable, unreadable"),
    ("hostile-empty-names", "unreadable, unreadable, unreadable"),
    ("hostile-id-and-word", "-, -, -"),
    ("hostile-in-service", "-, web.service system.slice, -"),
    ("hostile-long-id", "-, -, -"),
    ("hostile-lxc-root", "-, -, -"),
    ("hostile-manager-of-another", "-, user@1000.service user-61002.slice, -"),
    ("hostile-nested-docker", "016bd162 Docker -, -, -"),
    ("hostile-nested-slice", "016bd162 Docker -, docker-016bd162 system.slice, -"),
    ("hostile-pod-upper-case", "-, -, -"),
    ("hostile-pod-without-uid", "-, -, -"),
    ("hostile-scope-deleted", "-, -, -"),
    ("hostile-second-manager", "-, user@61002.service user-61002.slice, user@1000.service"),
    ("hostile-short-id", "-, -, -"),
    ("hostile-template", "-, -, -"),
    ("hostile-two-containers", "contradiction, -, -"),
    ("hostile-two-units", "-, -, -"),
    ("hostile-upper-case", "-, -, -"),
    ("hostile-very-long", "-, -, -"),
    ("kind-node-from-outside", "b9ac36bd Docker -, -, -"),
    ("kind-node-within", "016bd162 Containerd POD, cri-containerd-016bd162 kubelet-kubepods-besteffort-PODSLICE, -"),
    ("kind-node-within-cgroupfs", "016bd162 Unnamed POD, -, -"),
    ("kubelet-cgroupfs-besteffort", "016bd162 Unnamed POD, -, -"),
    ("kubelet-cgroupfs-burstable", "016bd162 Unnamed POD, -, -"),
    ("kubelet-cgroupfs-crio", "016bd162 CriO POD, -, -"),
    ("kubelet-cgroupfs-guaranteed", "016bd162 Unnamed POD, -, -"),
    ("kubelet-cgroupfs-static-pod", "016bd162 Unnamed 0a1b0a1b0a1b0a1b0a1b0a1b0a1b0a1b, -, -"),
    ("kubelet-systemd-besteffort", "016bd162 Containerd POD, cri-containerd-016bd162 kubepods-besteffort-PODSLICE, -"),
    ("kubelet-systemd-burstable-crio", "016bd162 CriO POD, crio-016bd162 kubepods-burstable-PODSLICE, -"),
    ("kubelet-systemd-guaranteed-docker", "016bd162 Docker POD, docker-016bd162 kubepods-PODSLICE, -"),
    ("login-shell-no-systemd", "-, -, -"),
    ("nerdctl-cgroupfs", "016bd162 Containerd -, -, -"),
    ("nerdctl-systemd", "016bd162 Containerd -, nerdctl-016bd162 system.slice, -"),
    ("nspawn-keep-unit", "-, -, -"),
    ("nspawn-machine", "-, systemd-nspawn@c1.service machine.slice, -"),
    ("nspawn-within", "-, bar@1.service system-bar.slice, -"),
    ("podman-conmon", "-, libpod-conmon-016bd162 machine.slice, -"),
    ("podman-hybrid", "4c57664d Podman -, -, -"),
    ("podman-pod-cgroupfs", "016bd162 Podman -, -, -"),
    ("podman-pod-systemd", "016bd162 Podman -, libpod-016bd162 machine-libpod_pod_b9ac36bd, -"),
    ("podman-quadlet", "016bd162 Podman -, web.service system.slice, -"),
    ("podman-rootless", "-, user@1000.service user-1000.slice, libpod-016bd162"),
    ("podman-v2-cgroupfs", "cc71e644 Podman -, -, -"),
    ("podman-v2-systemd", "016bd162 Podman -, libpod-016bd162 machine.slice, -"),
    ("runc-free-name", "-, -, -"),
    ("systemd-escaped", "-, cpu.service system.slice, -"),
    ("systemd-init", "-, init.scope -.slice, -"),
    ("systemd-mount", r"-, srv-a\x2db.mount system.slice, -"),
    ("systemd-service-hybrid", "-, orders.service system.slice, -"),
    ("systemd-service-v1", "-, orders.service system.slice, -"),
    ("systemd-service-v2", "-, orders.service system.slice, -"),
    ("systemd-session", "-, session-2.scope user-1000.slice, -"),
    ("systemd-template", "-, bar@1.service system-bar.slice, -"),
    ("systemd-user-init", "-, user@1000.service user-1000.slice, init.scope"),
    ("systemd-user-service", "-, user@1000.service user-1000.slice, app-bar.service"),
];

const POD: &str = "0a1b2c3d-1111-2222-3333-444455556666";

fn memberships(file: &str) -> Vec<CgroupMembership> {
    let membership = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let mut next = || parts.next().unwrap().to_owned();
        CgroupMembership { hierarchy: next().parse().unwrap(), controllers: next(), path: next() }
    };
    file.lines().map(membership).collect()
}

/// The name that all who say one agree on. Who made it is another question: see `cgroup_tree`.
fn first<T>(claims: Vec<Claim<'_, T>>) -> Option<T> {
    claims.into_iter().find_map(|claim| claim.named).map(|named| named.value)
}

fn container(cgroups: &[CgroupMembership]) -> Result<Option<container::Container>, &'static str> {
    let claims = claims(&Trees::default(), cgroups, |_| true, container_name::read);
    let named = container::agreeing(claims.read).map_err(|_| "contradiction").map(first)?;
    if claims.unread.is_some() { Err("unreadable") } else { Ok(named) }
}

fn systemd_name<T: PartialEq>(
    cgroups: &[CgroupMembership],
    reading: super::claims::Reading<T>,
) -> Result<Option<T>, &'static str> {
    let claims = claims(&Trees::default(), cgroups, |cgroup| is_unified(cgroup) || is_of_systemd(cgroup), reading);
    if claims.unread.is_some() { Err("unreadable") } else { Ok(first(systemd::agreeing(claims.read))) }
}

fn reading(file: &str) -> String {
    let cgroups = memberships(file);
    let container = container(&cgroups).map(|found| {
        let one = |found: container::Container| {
            let pod = found.pod_uid.unwrap_or("-".to_owned());
            format!("{} {:?} {pod}", &found.id[..8], found.runtime)
        };
        found.map(one)
    });
    let unit =
        systemd_name(&cgroups, unit::read).map(|found| found.map(|found| format!("{} {}", found.id, found.slice)));
    let of_user = systemd_name(&cgroups, unit::read_of_user);
    let text =
        |found: Result<Option<String>, &str>| found.map_or_else(str::to_owned, |name| name.unwrap_or("-".to_owned()));
    let read = [container, unit, of_user].map(text).join(", ");
    // Ids are as long as lines, and the unit repeats them.
    let words = read.split_inclusive([' ', ',']).map(|word| match word.find(['-', '_']) {
        Some(_) if word.len() > 64 => shortened(word),
        _ => word.to_owned(),
    });
    words.collect::<String>().replace(POD, "POD").replace(&format!("pod{}.slice", POD.replace('-', "_")), "PODSLICE")
}

/// Without what follows the eighth digit of a long id.
fn shortened(word: &str) -> String {
    let start = word.rfind(['-', '_']).unwrap() + 1;
    match word[start..].find('.') {
        Some(64) => word[..start + 8].to_owned() + word.trim_start_matches(|c| c != ' ' && c != ','),
        _ => word.to_owned(),
    }
}

#[test]
fn each_sample_is_read_as_it_is_meant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/attest/cgroup_samples");
    let samples: BTreeMap<String, String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .map(|(name, path)| (name, reading(&std::fs::read_to_string(path).unwrap())))
        .collect();
    let wanted: BTreeMap<String, String> =
        READINGS.iter().map(|(name, read)| ((*name).to_owned(), (*read).to_owned())).collect();
    let names: Vec<_> = samples.keys().collect();
    assert_eq!(names, wanted.keys().collect::<Vec<_>>(), "a file for each reading, and a reading for each file");
    for (name, read) in &samples {
        assert_eq!(*read, wanted[name], "{name}");
    }
}

/// Names that mean something somewhere, and some that never do.
fn name() -> impl Strategy<Value = String> {
    let id = "[a-f0-9]{64}";
    prop_oneof![
        Just("docker".to_owned()),
        Just("kubepods".to_owned()),
        Just("libpod_parent".to_owned()),
        Just("burstable".to_owned()),
        Just("user.slice".to_owned()),
        Just("user-1000.slice".to_owned()),
        Just("user@1000.service".to_owned()),
        Just("system.slice".to_owned()),
        Just(format!("pod{POD}")),
        Just(format!("kubepods-pod{}.slice", POD.replace('-', "_"))),
        id,
        id.prop_map(|id| format!("docker-{id}.scope")),
        id.prop_map(|id| format!("libpod-payload-{id}")),
        "[a-z]{1,8}\\.(service|scope|slice)",
        "[^/]{1,12}",
    ]
}

fn read_container(names: &[String]) -> Option<(String, usize)> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    container_name::read(&names).map(|named| (format!("{:?}", named.value), named.depth))
}

fn read_unit(names: &[String]) -> Option<(String, usize)> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    unit::read(&names).map(|named| (format!("{:?}", named.value), named.depth))
}

proptest! {
    #[test]
    fn no_path_is_too_strange(path in "\\PC{0,80}", names in proptest::collection::vec(name(), 0..6)) {
        for path in [path.clone(), format!("/{path}"), format!("/{}", names.join("/"))] {
            let cgroups = [CgroupMembership { hierarchy: 0, controllers: String::new(), path }];
            let _ = (container(&cgroups), systemd_name(&cgroups, unit::read), systemd_name(&cgroups, unit::read_of_user));
        }
    }

    #[test]
    fn nothing_below_a_name_changes_it(names in proptest::collection::vec(name(), 0..6), below in proptest::collection::vec(name(), 0..4)) {
        let whole = [&names[..], &below].concat();
        for read in [read_container, read_unit] {
            if let Some((value, depth)) = read(&names) {
                prop_assert!(0 < depth && depth <= names.len());
                prop_assert_eq!(read(&names[..depth]), Some((value.clone(), depth)));
                prop_assert_eq!(read(&whole), Some((value, depth)));
            }
        }
    }

    #[test]
    fn nothing_below_a_service_of_users_is_a_container_or_another_unit(below in proptest::collection::vec(name(), 0..6)) {
        let service = ["user.slice", "user-1000.slice", "user@1000.service"].map(str::to_owned);
        let whole = [&service[..], &below].concat();
        prop_assert_eq!(read_container(&whole), None);
        prop_assert_eq!(read_unit(&whole), read_unit(&service));
    }
}
