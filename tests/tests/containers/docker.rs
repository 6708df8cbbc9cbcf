//! What the Docker daemon says about the container of a workload.

use countersign_tests::{Agent, AgentSettings, Workload, WorkloadSpec};

use crate::room::Cgroups;
use crate::runtime::{Bed, Runtime, TAG};
use crate::{audited, entry, image, is_nowhere_below, selectors};

/// A value of a variable: in no log, no record, nothing that the agent writes.
const SECRET: &str = "correct-horse-battery-staple";

/// An agent that asks the daemon of `bed`.
async fn agent_of(bed: &Bed) -> Agent {
    let docker_socket = Some(bed.docker_socket());
    Agent::start(AgentSettings { docker_socket, log: "trace", ..AgentSettings::default() }).await
}

fn image_id(digest: &str) -> String {
    format!("docker:image_id:{digest}")
}

async fn a_container_is_what_the_daemon_says_and_no_other_is(cgroups: Cgroups) {
    if !Runtime::Docker.here_or_skip() {
        return;
    }
    let bed = Bed::new(Runtime::Docker, cgroups).await;
    let agent = agent_of(&bed).await;
    let image = image_id(&bed.image.config_digest);
    let facts = ["docker:label:team:orders".to_owned(), "docker:env:PASSWORD".to_owned(), image.clone()];
    agent.apply(&entry("orders", &facts));
    let password = format!("PASSWORD={SECRET}");
    let mut orders = bed.start(&agent, "orders", &["--label=team=orders", "--env", &password]).await;
    let mut stock = bed.start(&agent, "stock", &["--label=team=stock", "--env", &password]).await;
    let mut bare = bed.start(&agent, "bare", &["--label=team=orders"]).await;

    let answer = orders.workload.ask("fetch billing").await;
    assert_eq!(answer.claim("sub"), "spiffe://example.org/orders");
    assert_eq!(stock.workload.ask("fetch billing").await.code(), "PermissionDenied");
    assert_eq!(bare.workload.ask("fetch billing").await.code(), "PermissionDenied");

    let record = audited(&agent, &orders.id, "issued").await;
    let told = selectors(&record);
    // The image's own label and variable are the container's too.
    let expected =
        ["docker:label:from:one", "docker:label:team:orders", "docker:env:PASSWORD", "docker:env:PATH", &image];
    assert!(expected.iter().all(|selector| told.contains(selector)), "{told:?}");
    let record = audited(&agent, &stock.id, "refused").await;
    assert!(selectors(&record).contains(&"docker:label:team:stock"), "{record}");
    is_nowhere_below(agent.folder(), SECRET);
}

#[tokio::test]
async fn a_container_is_what_the_daemon_says() {
    a_container_is_what_the_daemon_says_and_no_other_is(Cgroups::AsMounted).await;
}

#[tokio::test]
async fn a_container_is_what_the_daemon_says_with_cgroup_v2_only() {
    a_container_is_what_the_daemon_says_and_no_other_is(Cgroups::V2).await;
}

#[tokio::test]
async fn a_container_runs_its_image_whatever_the_tag_means_by_now() {
    if !Runtime::Docker.here_or_skip() {
        return;
    }
    let bed = Bed::new(Runtime::Docker, Cgroups::AsMounted).await;
    let agent = agent_of(&bed).await;
    let one = bed.image.config_digest.clone();
    let mut first = bed.start(&agent, "first", &[]).await;
    let two = image::write(bed.room.folder(), TAG, "two");
    bed.load(&two.archive);
    assert_eq!(bed.client(&["image", "inspect", "--format", "{{.Id}}", TAG]), two.config_digest, "the tag has moved");
    let mut second = bed.start(&agent, "second", &[]).await;
    let config = format!("docker:image_config_digest:{}", two.config_digest);
    agent.apply(&(entry("one", &[image_id(&one)]) + &entry("two", &[image_id(&two.config_digest), config])));
    assert_eq!(first.workload.ask("fetch billing").await.claim("sub"), "spiffe://example.org/one");
    assert_eq!(second.workload.ask("fetch billing").await.claim("sub"), "spiffe://example.org/two");
}

#[tokio::test]
async fn what_was_told_is_told_without_the_daemon_and_what_was_not_is_not_guessed() {
    if !Runtime::Docker.here_or_skip() {
        return;
    }
    let bed = Bed::new(Runtime::Docker, Cgroups::AsMounted).await;
    let agent = agent_of(&bed).await;
    agent.apply(&entry("orders", &["docker:label:team:orders".to_owned()]));
    let mut told = bed.start(&agent, "told", &["--label=team=orders"]).await;
    let mut untold = bed.start(&agent, "untold", &["--label=team=orders"]).await;
    assert_eq!(told.workload.ask("fetch billing").await.code(), "Ok");

    bed.hide_docker();
    told.workload.say("reconnect").await;
    assert_eq!(told.workload.ask("fetch billing").await.code(), "Ok");
    assert_eq!(untold.workload.ask("fetch billing").await.code(), "Unavailable");
    assert!(agent.log().contains("cannot look for Docker at "), "{}", agent.log());
    let reason = audited(&agent, &untold.id, "refused").await["reason"].to_string();
    assert!(reason.contains("cannot tell whether entries orders match"), "{reason}");
}

#[tokio::test]
async fn without_a_daemon_to_ask_a_container_is_not_decided_and_others_are() {
    if !Runtime::Docker.here_or_skip() {
        return;
    }
    let bed = Bed::new(Runtime::Docker, Cgroups::AsMounted).await;
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&entry("orders", &["docker:label:team:orders".to_owned()]));
    let mut contained = bed.start(&agent, "orders", &["--label=team=orders"]).await;
    assert_eq!(contained.workload.ask("fetch billing").await.code(), "Unavailable");
    let said = format!("the process is in Docker container {} and no daemon may be asked about it", contained.id);
    assert!(agent.log().contains(&said), "{}", agent.log());
    let mut outside = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    assert_eq!(outside.ask("fetch billing").await.code(), "PermissionDenied");
}

#[tokio::test]
async fn a_daemon_that_does_not_know_the_container_decides_nothing() {
    if !Runtime::Docker.here_or_skip() {
        return;
    }
    let mut bed = Bed::new(Runtime::Docker, Cgroups::AsMounted).await;
    let agent = agent_of(&bed).await;
    agent.apply(&entry("orders", &["docker:label:team:orders".to_owned()]));
    let mut contained = bed.start(&agent, "orders", &["--label=team=orders"]).await;
    bed.replace_docker().await;
    assert_eq!(contained.workload.ask("fetch billing").await.code(), "Unavailable");
    assert!(agent.log().contains(&format!("Docker knows no container {}", contained.id)), "{}", agent.log());
}
