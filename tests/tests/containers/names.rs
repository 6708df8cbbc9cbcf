//! What the cgroup says: which container, of which runtime, of which pod.

use countersign_tests::{Agent, AgentSettings};

use crate::room::Cgroups;
use crate::runtime::{Bed, Runtime, id_of};
use crate::{audited, entry, selectors};

const POD: &str = "0a1b2c3d-1111-2222-3333-444455556666";

/// Where a kubelet with the driver `cgroupfs` puts container `name`.
fn in_cgroupfs(name: &str) -> String {
    format!("/kubepods/burstable/pod{POD}/{}", id_of(name))
}

/// Where a kubelet with the driver `systemd` has containerd put container `name`.
fn in_systemd(name: &str) -> String {
    let pod = POD.replace('-', "_");
    let slices = format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod}.slice");
    format!("{slices}/cri-containerd-{}.scope", id_of(name))
}

/// One container is entitled by its name and by `facts`; another of the same kind, with `options` of
/// its own, is not.
async fn one_is_entitled(runtime: Runtime, cgroups: Cgroups, facts: &[String], options: impl Fn(&str) -> Vec<String>) {
    if !runtime.here_or_skip() {
        return;
    }
    let bed = Bed::new(runtime, cgroups).await;
    let agent = Agent::start(AgentSettings::default()).await;
    let options = |name: &str| options(name);
    let (of_orders, of_stock) = (options("orders"), options("stock"));
    let [of_orders, of_stock] =
        [&of_orders, &of_stock].map(|words| words.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    let mut orders = bed.start(&agent, "orders", &of_orders).await;
    let mut stock = bed.start(&agent, "stock", &of_stock).await;
    let own = format!("container:id:{}", orders.id);
    agent.apply(&entry("orders", &[facts, std::slice::from_ref(&own)].concat()));

    let answer = orders.workload.ask("fetch billing").await;
    assert_eq!(answer.claim("sub"), "spiffe://example.org/orders");
    assert_eq!(stock.workload.ask("fetch billing").await.code(), "PermissionDenied");
    let record = audited(&agent, &orders.id, "issued").await;
    let told = selectors(&record);
    assert!(told.contains(&own.as_str()), "{told:?}");
    assert!(facts.iter().all(|fact| told.contains(&fact.as_str())), "{told:?}");
    let record = audited(&agent, &stock.id, "refused").await;
    assert!(selectors(&record).contains(&format!("container:id:{}", stock.id).as_str()), "{record}");
}

fn of_runtime(name: &str) -> Vec<String> {
    vec![format!("container:runtime:{name}")]
}

fn of_pod() -> Vec<String> {
    vec![format!("k8s:pod-uid:{POD}")]
}

/// Each case once with the machine's cgroups and once with version 2 alone.
macro_rules! cases {
    ($($case:ident: $runtime:ident, $facts:expr, $options:expr;)*) => {$(
        mod $case {
            use super::*;

            #[tokio::test]
            async fn with_the_cgroups_of_the_machine() {
                one_is_entitled(Runtime::$runtime, Cgroups::AsMounted, &$facts, $options).await;
            }

            #[tokio::test]
            async fn with_cgroup_v2_only() {
                one_is_entitled(Runtime::$runtime, Cgroups::V2, &$facts, $options).await;
            }
        }
    )*};
}

cases! {
    docker: Docker, of_runtime("docker"), |_| vec![];
    containerd: Containerd, of_runtime("containerd"), |_| vec![];
    podman: Podman, of_runtime("podman"), |_| vec![];
    a_pod_of_runc_by_cgroupfs: Runc, of_pod(), |name| vec![in_cgroupfs(name)];
    a_pod_of_containerd_by_cgroupfs: Containerd, of_pod(), |name| vec!["--cgroup".to_owned(), in_cgroupfs(name)];
    a_pod_of_containerd_by_systemd: Containerd, [of_pod(), of_runtime("containerd")].concat(), |name| {
        vec!["--cgroup".to_owned(), in_systemd(name)]
    };
}
