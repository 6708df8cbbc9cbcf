//! P6 for who asks often: the agent then answers after a glance, and reads everything about the caller now and then.

use countersign_tests::{Agent, AgentSettings, Cgroup, LIMIT, Workload, WorkloadSpec, root_or_skip};

use super::posing::Change;
use super::{VICTIM, agent_without, entry, issued_to, messages, own_uid, path, program, reason, uid};

/// Asks so often that the agent only glances at it any more, changes, and asks again on the same connection.
async fn ask_often_and_become_another(agent: &Agent, change: Change) -> (u32, Workload, Option<Cgroup>) {
    let (first, second) = (program(agent, "first"), program(agent, "second"));
    // Entitled before and after: another program, user or cgroup has to connect for itself.
    let holds = match change {
        Change::User => path(&first),
        Change::Program | Change::Cgroup => uid(own_uid()),
    };
    agent.apply(&entry("orders", &[holds]));
    let only = WorkloadSpec { program: Some(first), ..WorkloadSpec::default() };
    let mut changing = Workload::start(&agent.workload_socket(), &only);
    let pid = changing.pid();
    for _ in 0..5 {
        assert_eq!(messages(&changing.ask("raw-fetch billing").await), 1);
    }
    let mut other = None;
    match change {
        Change::Program => {
            assert_eq!(changing.ask(&format!("exec-over {}", second.display())).await.code(), "Adopted");
        }
        Change::User => assert_eq!(changing.ask(&format!("setuid {VICTIM}")).await.code(), "Ok"),
        Change::Cgroup => other.insert(Cgroup::make(&format!("countersign-p6-often-{pid}"))).take(pid),
    }
    (pid, changing, other)
}

#[tokio::test]
async fn p6_who_asks_often_is_not_another_program_nor_another_user() {
    if !root_or_skip("other users") {
        return;
    }
    for (change, what) in [(Change::Program, "executable"), (Change::User, "credentials")] {
        let agent = Agent::start(AgentSettings::default()).await;
        let (pid, mut changing, _) = ask_often_and_become_another(&agent, change).await;
        let answer = changing.ask("raw-fetch billing").await;
        assert_eq!((answer.code(), messages(&answer)), ("PermissionDenied", 0), "{what}");
        let said = reason(&agent, pid, "refused").await;
        assert_eq!(said, format!("the process changed after it connected: {what}"));
        assert_eq!(issued_to(&agent, "orders", pid), 5);
    }
}

/// Where no glance shows the cgroup, the next reading does.
#[tokio::test]
async fn p6_who_asks_often_is_soon_not_in_another_cgroup() {
    if !root_or_skip("cgroups") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let (pid, mut changing, _cgroup) = ask_often_and_become_another(&agent, Change::Cgroup).await;
    let deadline = std::time::Instant::now() + LIMIT;
    while changing.ask("raw-fetch billing").await.code() != "PermissionDenied" {
        assert!(std::time::Instant::now() < deadline, "it is never noticed");
    }
    assert_eq!(reason(&agent, pid, "refused").await, "the process changed after it connected: cgroup");
}

#[tokio::test]
async fn p6_works_without_the_protection_for_who_asks_often() {
    if !root_or_skip("other users") {
        return;
    }
    for change in [Change::Program, Change::User] {
        let agent = agent_without(&["change"]).await;
        let (pid, mut changing, _) = ask_often_and_become_another(&agent, change).await;
        assert_eq!(messages(&changing.ask("raw-fetch billing").await), 1);
        assert_eq!(issued_to(&agent, "orders", pid), 6);
    }
}
