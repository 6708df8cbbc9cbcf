//! P13: cgroups named like another's container, pod or unit.

use countersign_tests::{Agent, AgentSettings, Workload, WorkloadSpec, root_or_skip};

use super::cgroups::{Cgroups, mount_own, unmount_inherited};
use super::{ATTACKER, VICTIM, entry, nothing_issued_to, program, reason};

const CONTAINER: &str = "016bd162ccd25a057684df3ba3a72432732e67f38ec64ef39f09911ac31011a0";
const POD: &str = "0a1b2c3d-1111-2222-3333-444455556666";

/// The cgroup of a container as a kubelet with systemd has it, below the test's slice.
fn in_pod(cgroups: &Cgroups) -> String {
    let (name, pod) = (&cgroups.name, POD.replace('-', "_"));
    format!("{name}-kubepods.slice/{name}-kubepods-pod{pod}.slice/cri-containerd-{CONTAINER}.scope")
}

/// A workload that root puts into a cgroup, and that then moves on to another as `uid`.
fn workload(agent: &Agent, cgroups: &Cgroups, uid: u32, put: &str, moves_to: Option<&str>) -> Workload {
    let moves = moves_to.map_or(":".to_owned(), |path| cgroups.enter(path));
    let shell = format!(
        "{} && exec setpriv --reuid={uid} --regid={uid} --clear-groups /bin/sh -c '{moves} && exec \"$0\"' \"$0\"",
        cgroups.enter(put)
    );
    let under = ["/bin/sh", "-c", &shell].map(str::to_owned).into();
    let program = Some(program(agent, "program"));
    Workload::start(&agent.workload_socket(), &WorkloadSpec { program, under, ..WorkloadSpec::default() })
}

/// What an entry demands, where its workload is, and where somebody goes who wants to be taken for it.
struct Case {
    selectors: Vec<String>,
    honest: String,
    posing: [String; 2],
}

/// The attacker's user owns `theirs.service`, where it makes a tree like the machine's, and
/// `NAME-theirs.slice`, which stands where systemd's slices do.
fn cases(cgroups: &Cgroups) -> Vec<Case> {
    let (name, in_pod) = (&cgroups.name, in_pod(cgroups));
    let posing = |path: &str| [format!("theirs.service/{path}"), format!("{name}-theirs.slice/{path}")];
    let scope = format!("docker-{CONTAINER}.scope");
    let container = format!("container:id:{CONTAINER}");
    vec![
        Case {
            selectors: vec![container.clone(), format!("k8s:pod-uid:{POD}"), "container:runtime:containerd".to_owned()],
            posing: posing(&in_pod),
            honest: in_pod,
        },
        Case {
            selectors: vec![container, "container:runtime:docker".to_owned()],
            posing: posing(&scope),
            honest: scope,
        },
        Case {
            selectors: vec!["systemd:id:orders.service".to_owned()],
            honest: "orders.service".to_owned(),
            posing: posing("orders.service"),
        },
    ]
}

/// The attacker poses as each victim in turn, and gets its identity if `works`.
async fn pose(settings: AgentSettings, works: bool) {
    let agent = Agent::start(settings).await;
    let cgroups = Cgroups::new();
    cgroups.delegate("theirs.service", ATTACKER);
    cgroups.delegate(&format!("{}-theirs.slice", cgroups.name), ATTACKER);
    for case in cases(&cgroups) {
        agent.apply(&entry("victim", &case.selectors));
        for posing in case.posing {
            let put = posing.split('/').next().expect("a cgroup of the attacker's");
            let mut attacker = workload(&agent, &cgroups, ATTACKER, put, Some(&posing));
            let answer = attacker.ask("fetch billing").await;
            let record = agent.audited(attacker.pid(), if works { "issued" } else { "refused" }).await;
            assert!(record["cgroup"].as_str().is_some_and(|path| path.ends_with(&posing)), "{record}");
            if works {
                assert_eq!(answer.claim("sub"), "spiffe://example.org/victim", "{posing}");
            } else {
                assert_eq!(answer.code(), "PermissionDenied", "{posing}");
                assert_eq!(record["reason"], "no entry matches the selectors of this process", "{posing}");
            }
            attacker.end().await;
        }
    }
    if !works {
        nothing_issued_to(&agent, "victim");
    }
}

#[tokio::test]
async fn p13_a_cgroup_named_like_anothers_is_not_that_container_pod_or_unit() {
    if root_or_skip("cgroups of other users") {
        pose(AgentSettings::default(), false).await;
    }
}

#[tokio::test]
async fn p13_works_without_the_protection() {
    if root_or_skip("cgroups of other users") {
        pose(AgentSettings { without: &["cgroup-name"], ..AgentSettings::default() }, true).await;
    }
}

#[tokio::test]
async fn p13_a_cgroup_that_root_named_is_what_its_name_says() {
    if !root_or_skip("cgroups of its own") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let cgroups = Cgroups::new();
    for case in cases(&cgroups) {
        agent.apply(&entry("victim", &case.selectors));
        let mut victim = workload(&agent, &cgroups, VICTIM, &case.honest, None);
        assert_eq!(victim.ask("fetch billing").await.claim("sub"), "spiffe://example.org/victim", "{}", case.honest);
        victim.end().await;
    }
}

/// Runs the agent as a container does: in a cgroup and a cgroup namespace of its own, after `then`.
fn in_container(cgroups: &Cgroups, then: &str) -> AgentSettings {
    let inside = format!("{then} && exec \"$0\" \"$@\"");
    let shell = format!(
        "{} && exec unshare --cgroup --mount --propagation private /bin/sh -c '{inside}' \"$0\" \"$@\"",
        cgroups.enter(&format!("agents.service/docker-{}.scope", CONTAINER.replace('0', "f")))
    );
    AgentSettings { under: ["/bin/sh", "-c", &shell].map(str::to_owned).into(), ..AgentSettings::default() }
}

#[tokio::test]
async fn p13_an_agent_in_a_container_reads_names_from_the_root_that_is_mounted_for_it() {
    if !root_or_skip("cgroups of other users") {
        return;
    }
    let (cgroups, own) = (Cgroups::new(), tempfile::tempdir().expect("a folder"));
    cgroups.delegate("theirs.service", ATTACKER);
    let agent = Agent::start(in_container(&cgroups, &mount_own(own.path()))).await;
    agent.apply(&entry("victim", &[format!("container:id:{CONTAINER}")]));
    let path = in_pod(&cgroups);
    let mut victim = workload(&agent, &cgroups, VICTIM, &path, None);
    assert_eq!(victim.ask("fetch billing").await.claim("sub"), "spiffe://example.org/victim");
    let seen = agent.audited(victim.pid(), "issued").await["cgroup"].clone();
    assert_eq!(seen, serde_json::json!(format!("/../../{path}")), "as the kernel shows it to this agent");
    let posing = format!("theirs.service/{path}");
    let mut attacker = workload(&agent, &cgroups, ATTACKER, "theirs.service", Some(&posing));
    assert_eq!(attacker.ask("fetch billing").await.code(), "PermissionDenied");
    assert_eq!(reason(&agent, attacker.pid(), "refused").await, "no entry matches the selectors of this process");
    victim.end().await;
    attacker.end().await;
}

#[tokio::test]
async fn p13_an_agent_in_a_container_without_that_root_decides_nothing() {
    if !root_or_skip("cgroups of its own") {
        return;
    }
    let (cgroups, own) = (Cgroups::new(), tempfile::tempdir().expect("a folder"));
    let then = format!("{} && {}", unmount_inherited(), mount_own(own.path()));
    let agent = Agent::start(in_container(&cgroups, &then)).await;
    for selector in [format!("container:id:{CONTAINER}"), "systemd:id:orders.service".to_owned()] {
        agent.apply(&entry("victim", &[selector]));
        let mut victim = workload(&agent, &cgroups, VICTIM, &in_pod(&cgroups), None);
        assert_eq!(victim.ask("fetch billing").await.code(), "Unavailable");
        victim.end().await;
    }
    assert!(agent.log().contains("mount the machine's /sys/fs/cgroup for it beside its own"), "an operator is told");
}
