//! The agent in a container itself, in a cgroup namespace of its own, beside those that it serves.

use countersign_tests::{Agent, AgentSettings, countersign};

use crate::room::Cgroups;
use crate::runtime::{Bed, Runtime};
use crate::{audited, entry, selectors};

/// What an agent needs to see its neighbours, and nothing that a workload would have.
const RIGHTS: [&str; 4] =
    ["--pid=host", "--cgroupns=private", "--cap-add=SYS_PTRACE", "--volume=/sys/fs/cgroup:/host/cgroup:ro"];

#[tokio::test]
async fn an_agent_in_a_container_tells_its_neighbours_apart() {
    if !Runtime::Docker.here_or_skip() {
        return;
    }
    let bed = Bed::new(Runtime::Docker, Cgroups::V2).await;
    let (program, folder) = (countersign(), std::env::temp_dir());
    let [program, folder] = [&program, &folder].map(|path| path.to_str().expect("UTF-8"));
    let mounts = [format!("--volume={program}:{program}:ro"), format!("--volume={folder}:{folder}")];
    let mounts = mounts.each_ref().map(String::as_str);
    // The environment of the harness reaches the agent by these names.
    let environment = ["--env=NOTIFY_SOCKET", "--env=COUNTERSIGN_WEAKENED"];
    let under = bed.run_under("agent", &[&RIGHTS[..], &mounts, &environment].concat());
    let settings = AgentSettings { under, docker_socket: Some(bed.docker_socket()), ..AgentSettings::default() };
    let agent = Agent::start(settings).await;
    let mut orders = bed.start(&agent, "orders", &["--label=team=orders"]).await;
    let mut stock = bed.start(&agent, "stock", &["--label=team=orders"]).await;
    let own = format!("container:id:{}", orders.id);
    // An operator too has to be in a pid namespace that the agent sees.
    let entries = bed.room.folder().join("entries.yaml");
    std::fs::write(&entries, entry("orders", &[own.clone(), "docker:label:team:orders".to_owned()]))
        .expect("our folder");
    let admin = format!("COUNTERSIGN_ADMIN_SOCKET={}", agent.admin_socket().display());
    bed.room.run(&["env", &admin, program, "entry", "apply", entries.to_str().expect("UTF-8")]);

    let answer = orders.workload.ask("fetch billing").await;
    assert_eq!(answer.claim("sub"), "spiffe://example.org/orders");
    assert_eq!(stock.workload.ask("fetch billing").await.code(), "PermissionDenied");
    let record = audited(&agent, &orders.id, "issued").await;
    assert!(selectors(&record).contains(&own.as_str()), "{record}");
}
