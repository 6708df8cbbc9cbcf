//! Which container a path in the cgroup tree names. Pure.
//!
//! A path is read from the root, and the first container on it is the one: what runs inside a
//! container may make cgroups with any name below its own, and makes none above. Each form
//! below is one that a runtime gives in the place where it gives it; the same name anywhere else
//! is nobody's. Ids that people choose freely (`ctr run IMAGE victim`) are no ids here: only 64
//! hexadecimal digits are.

use countersign_common::selector::is_pod_uid;
use countersign_common::unit_name::{is_slice, is_unit};

use super::claims::Named;

/// A container, as its cgroup names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    /// 64 lower-case hexadecimal digits.
    pub(super) id: String,
    /// Who made it.
    pub(super) runtime: Runtime,
    /// The uid of its Kubernetes pod, with hyphens.
    pub(super) pod_uid: Option<String>,
}

/// Who makes containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    Docker,
    Containerd,
    CriO,
    Podman,
    /// A Kubernetes node's, which the kubelet's `cgroupfs` driver does not name: containerd, or
    /// docker by cri-dockerd.
    Unnamed,
}

/// The outermost container of the cgroup that is reached from the root by `names`.
pub(super) fn read(names: &[&str]) -> Option<Named<Container>> {
    match names {
        ["docker", id, ..] => container(2, Runtime::Docker, id),
        // Namespaces of containerd in which container ids are made by programs.
        ["default" | "k8s.io", id, ..] => container(2, Runtime::Containerd, id),
        ["libpod_parent", name, ..] if name.starts_with("libpod-") => podman(2, name),
        ["libpod_parent", pod, name, ..] if is_id(pod) => podman(3, name),
        ["kubepods", below @ ..] => in_pod(1, below),
        // The kubelet's --cgroup-root, as kind sets it.
        ["kubelet", "kubepods", below @ ..] => in_pod(2, below),
        _ => in_slice(names),
    }
}

/// The kubelet's `cgroupfs` driver: a directory for the class, one for the pod, one for the container.
fn in_pod(above: usize, below: &[&str]) -> Option<Named<Container>> {
    let (class, below) = match below {
        ["burstable" | "besteffort", below @ ..] => (1, below),
        _ => (0, below),
    };
    let [pod, name, ..] = below else { return None };
    let uid = pod.strip_prefix("pod").filter(|uid| is_pod_uid(uid))?;
    let (runtime, id) = match name.strip_prefix("crio-") {
        Some(id) => (Runtime::CriO, id),
        None => (Runtime::Unnamed, *name),
    };
    let mut named = container(above + class + 2, runtime, id)?;
    named.value.pod_uid = Some(uid.to_owned());
    Some(named)
}

/// systemd's tree: a scope below slices and nothing but slices. For podman in a service
/// (`--cgroups=split`, as Quadlet has it) a directory right below that service.
fn in_slice(names: &[&str]) -> Option<Named<Container>> {
    let slices = names.iter().take_while(|name| is_slice(name)).count();
    let (unit, below) = names.get(slices..)?.split_first()?;
    if let Some(scope) = unit.strip_suffix(".scope") {
        let mut named = in_scope(slices + 1, scope)?;
        named.value.pod_uid = slices.checked_sub(1).and_then(|last| pod_of_slice(names.get(last)?));
        return Some(named);
    }
    let payload = below.first()?.strip_prefix("libpod-payload-")?;
    // A user's manager is a service too, and the user's to arrange.
    let of_the_system = unit.ends_with(".service") && is_unit(unit) && !unit.starts_with("user@");
    of_the_system.then(|| container(slices + 2, Runtime::Podman, payload))?
}

fn in_scope(depth: usize, scope: &str) -> Option<Named<Container>> {
    let (prefix, id) = scope.rsplit_once('-')?;
    let runtime = match prefix {
        "docker" => Runtime::Docker,
        "cri-containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::CriO,
        "libpod" => Runtime::Podman,
        _ => return None,
    };
    container(depth, runtime, id)
}

/// The kubelet's `systemd` driver: `kubepods-burstable-podUID.slice`, the hyphens of the uid
/// written as underscores, since a hyphen in the name of a slice makes a level of the tree.
fn pod_of_slice(slice: &str) -> Option<String> {
    let (class, uid) = slice.strip_suffix(".slice")?.rsplit_once("-pod")?;
    let class = class.strip_suffix("-burstable").or_else(|| class.strip_suffix("-besteffort")).unwrap_or(class);
    let uid = uid.replace('_', "-");
    let of_kubelet = class == "kubepods" || class.ends_with("-kubepods");
    (of_kubelet && is_pod_uid(&uid)).then_some(uid)
}

fn podman(depth: usize, name: &str) -> Option<Named<Container>> {
    container(depth, Runtime::Podman, name.strip_prefix("libpod-")?)
}

fn container(depth: usize, runtime: Runtime, id: &str) -> Option<Named<Container>> {
    is_id(id).then(|| Named { value: Container { id: id.to_owned(), runtime, pod_uid: None }, depth })
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
