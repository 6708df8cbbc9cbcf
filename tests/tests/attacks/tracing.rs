//! P11: a tracer, which reads and writes the process that it has attached itself to.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use countersign_tests::{Agent, AgentSettings, LIMIT, Workload, WorkloadSpec, root_or_skip, until};

use super::image::{compile, is_victim, lifting, refused, without};
use super::{ATTACKER, entry, messages, path, program, reason, spec};

/// With a pid: traces that process. With a program: has a child trace it, and becomes the program.
const TRACER: &str = r#"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static int trace(pid_t victim, int told) {
    int status;
    if (ptrace(PTRACE_SEIZE, victim, 0, 0)) return perror("ptrace"), 1;
    if (write(told, "traced\n", 7) != 7) return 1;
    while (waitpid(victim, &status, __WALL) > 0 && WIFSTOPPED(status))
        ptrace(PTRACE_CONT, victim, 0, WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status));
    return 0;
}

int main(int count, char **words) {
    int told[2];
    char word[7];
    if (atoi(words[1])) return trace(atoi(words[1]), 1);
    if (count < 2 || pipe(told)) return 1;
    if (fork() == 0) {
        close(0), close(1), close(told[0]);
        return trace(getppid(), told[1]);
    }
    if (read(told[0], word, sizeof word) != sizeof word) return 1;
    close(told[0]), close(told[1]);
    execv(words[1], words + 1);
    return 1;
}
"#;

/// A tracer of the attacker's that has attached itself to a process; ended when dropped.
struct Tracer(Child);

impl Tracer {
    async fn attach(program: &Path, pid: u32) -> Self {
        let started = Command::new(program).arg(pid.to_string()).stdout(Stdio::null()).spawn();
        let tracer = Self(started.expect("it runs"));
        let status = || std::fs::read_to_string(format!("/proc/{pid}/status")).expect("our child");
        let attached = format!("TracerPid:\t{}\n", tracer.0.id());
        until("the tracer to attach", || status().contains(&attached).then_some(())).await;
        tracer
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It ends by itself when there is nothing left to trace.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An agent that knows the victim's program, that program, and a tracer.
async fn set_up(settings: AgentSettings) -> (Agent, PathBuf, PathBuf) {
    let agent = Agent::start(settings).await;
    let (theirs, tracer) = (program(&agent, "theirs"), compile(&agent, "tracer", TRACER, &[]));
    agent.apply(&entry("victim", &[path(&theirs)]));
    (agent, theirs, tracer)
}

/// A reading shows that the process has a tracer which it had not; a look, a second later, that it has one.
async fn is_refused_for_its_tracer(agent: &Agent, pid: u32) {
    let why = reason(agent, pid, "refused").await;
    assert!(why.contains("traces it") || why.ends_with("connected: tracer"), "{why}");
}

fn traced_from_the_start(agent: &Agent, tracer: &Path, program: &Path) -> Workload {
    let under = vec![tracer.display().to_string()];
    Workload::start(&agent.workload_socket(), &WorkloadSpec { under, ..spec(program, ATTACKER) })
}

#[tokio::test]
async fn p11_a_traced_program_is_refused() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let (agent, theirs, tracer) = set_up(AgentSettings::default()).await;
    let mut attacker = traced_from_the_start(&agent, &tracer, &theirs);
    refused(&agent, &mut attacker, " traces it; detach the tracer, or lift the rule").await;
    agent.apply(&lifting(&entry("victim", &[path(&theirs)]), "traced"));
    is_victim(&attacker.ask("fetch billing").await);
}

#[tokio::test]
async fn p11_a_tracer_that_attaches_to_an_open_connection_ends_what_it_gives() {
    if !root_or_skip("to trace") {
        return;
    }
    let (agent, theirs, tracer) = set_up(AgentSettings::default()).await;
    let mut asking = Workload::start(&agent.workload_socket(), &spec(&theirs, ATTACKER));
    is_victim(&asking.ask("fetch billing").await);
    let mut watching = Workload::start(&agent.workload_socket(), &spec(&theirs, ATTACKER));
    assert_eq!(watching.ask("watch").await.code(), "Ok");

    let _tracers = [Tracer::attach(&tracer, asking.pid()).await, Tracer::attach(&tracer, watching.pid()).await];
    assert_eq!(asking.ask("fetch billing").await.code(), "PermissionDenied");
    assert!(agent.operator(&["authority", "prepare"], "").status.success());
    assert_eq!(watching.hear().await.code(), "PermissionDenied");
    for attacked in [asking.pid(), watching.pid()] {
        is_refused_for_its_tracer(&agent, attacked).await;
    }
}

/// Asks so often that the agent only glances at it, which does not show a tracer; the next reading does.
#[tokio::test]
async fn p11_who_asks_often_is_soon_known_to_be_traced() {
    if !root_or_skip("to trace") {
        return;
    }
    let (agent, theirs, tracer) = set_up(AgentSettings::default()).await;
    let mut asking = Workload::start(&agent.workload_socket(), &spec(&theirs, ATTACKER));
    for _ in 0..5 {
        assert_eq!(messages(&asking.ask("raw-fetch billing").await), 1);
    }
    let _tracer = Tracer::attach(&tracer, asking.pid()).await;
    let deadline = std::time::Instant::now() + LIMIT;
    while asking.ask("raw-fetch billing").await.code() != "PermissionDenied" {
        assert!(std::time::Instant::now() < deadline, "it is never noticed");
    }
    is_refused_for_its_tracer(&agent, asking.pid()).await;
}

#[tokio::test]
async fn p11_works_without_the_protection() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let (agent, theirs, tracer) = set_up(without(&["traced"])).await;
    is_victim(&traced_from_the_start(&agent, &tracer, &theirs).ask("fetch billing").await);
    let mut asking = Workload::start(&agent.workload_socket(), &spec(&theirs, ATTACKER));
    is_victim(&asking.ask("fetch billing").await);
    assert_eq!(messages(&asking.ask("raw-fetch billing").await), 1);
    let _tracer = Tracer::attach(&tracer, asking.pid()).await;
    is_victim(&asking.ask("fetch billing").await);
    assert_eq!(messages(&asking.ask("raw-fetch billing").await), 1);
}
