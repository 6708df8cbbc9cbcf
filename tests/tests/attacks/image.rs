//! P9, P10, P12: a process whose image is the victim's by its name or by its bytes, and is not the
//! victim. Each rule is shown to refuse, to be lifted by its word, and to be what refused.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign_tests::{Agent, AgentSettings, Answer, Workload, WorkloadSpec, root_or_skip};

use super::{ATTACKER, entry, nothing_issued_to, path, program, reason, spec, uid};

/// An agent without one of its protections.
pub(super) fn without(protection: &'static [&'static str]) -> AgentSettings {
    AgentSettings { without: protection, ..AgentSettings::default() }
}

/// The same entry, which lifts a rule.
pub(super) fn lifting(entry: &str, rule: &str) -> String {
    format!("{entry}allow: [{rule}]\n")
}

fn digest(program: &Path) -> String {
    let summed = Command::new("sha256sum").arg(program).output().expect("sha256sum runs").stdout;
    format!("unix:sha256:{}", String::from_utf8_lossy(&summed).split(' ').next().expect("a digest"))
}

/// Refused for the reason that `said` is part of, and nothing was issued to the victim.
pub(super) async fn refused(agent: &Agent, attacker: &mut Workload, said: &str) {
    let answer = attacker.ask("fetch billing").await;
    assert_eq!(answer.code(), "PermissionDenied", "{answer:?}");
    let why = reason(agent, attacker.pid(), "refused").await;
    assert!(why.contains(said), "{why}");
    nothing_issued_to(agent, "victim");
}

pub(super) fn is_victim(answer: &Answer) {
    assert_eq!(answer.code(), "Ok", "{answer:?}");
    assert_eq!(answer.claim("sub"), "spiffe://example.org/victim");
}

/// The attacker's process, with `variable` set for it alone.
fn with_environment(agent: &Agent, program: &Path, variable: &str) -> Workload {
    let under = vec!["env".to_owned(), variable.to_owned()];
    Workload::start(&agent.workload_socket(), &WorkloadSpec { under, ..spec(program, ATTACKER) })
}

/// Compiles `source` in the agent's folder.
pub(super) fn compile(agent: &Agent, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let (code, built) = (agent.folder().join(name).with_extension("c"), agent.folder().join(name));
    std::fs::write(&code, source).expect("our folder");
    let compiled = Command::new("cc").args(flags).arg("-o").arg(&built).arg(&code).status().expect("cc runs");
    assert!(compiled.success());
    built
}

// -- P9

/// The victim's program, and a copy of it that belongs to the attacker.
fn victim_and_copy(agent: &Agent) -> (String, PathBuf) {
    let copy = program(agent, "copy");
    let victim = entry("victim", &[digest(&copy)]);
    chown(&copy, Some(ATTACKER), Some(ATTACKER)).expect("our file");
    (victim, copy)
}

#[tokio::test]
async fn p9_a_program_that_its_own_user_may_write_is_refused() {
    if !root_or_skip("files of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let (victim, copy) = victim_and_copy(&agent);
    agent.apply(&victim);
    let mut attacker = Workload::start(&agent.workload_socket(), &spec(&copy, ATTACKER));
    refused(&agent, &mut attacker, "belongs to uid 61002, which the process has; give the program and").await;
    assert_eq!(attacker.ask("watch").await.code(), "PermissionDenied");
    agent.apply(&lifting(&victim, "writable_executable"));
    is_victim(&attacker.ask("fetch billing").await);
}

#[tokio::test]
async fn p9_a_program_in_a_directory_of_its_own_user_is_refused() {
    if !root_or_skip("files of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let home = agent.folder().join("home");
    let below = home.join("below");
    std::fs::create_dir_all(&below).expect("our folder");
    let copy = Workload::install(&below.join("copy"), "copy");
    chown(&home, Some(ATTACKER), Some(ATTACKER)).expect("our folder");
    agent.apply(&entry("victim", &[path(&copy)]));
    let mut attacker = Workload::start(&agent.workload_socket(), &spec(&copy, ATTACKER));
    refused(&agent, &mut attacker, &format!("the directory {home:?} of the executable belongs to uid 61002")).await;
}

#[tokio::test]
async fn p9_works_without_the_protection() {
    if !root_or_skip("files of other users") {
        return;
    }
    let agent = Agent::start(without(&["writable"])).await;
    let (victim, copy) = victim_and_copy(&agent);
    agent.apply(&victim);
    let mut attacker = Workload::start(&agent.workload_socket(), &spec(&copy, ATTACKER));
    is_victim(&attacker.ask("fetch billing").await);
}

// -- P10

/// A library that is the attacker's: as one to load first, as an auditor of the loader (rtld-audit(7)).
const LIBRARY: &str = "unsigned la_version(unsigned version) { return version; }\n";

/// How the attacker has the victim's program load what it likes, and the file that is loaded then.
fn ways_to_load(agent: &Agent, victim: &Path) -> [(String, PathBuf); 3] {
    let library = compile(agent, "library.so", LIBRARY, &["-shared", "-fPIC"]);
    let folder = agent.folder().join("libraries");
    std::fs::create_dir(&folder).expect("our folder");
    let needed = Command::new("ldd").arg(victim).output().expect("ldd runs").stdout;
    let needed = String::from_utf8_lossy(&needed).into_owned();
    let needed = needed.split_whitespace().find(|word| word.starts_with('/') && word.contains("libgcc_s"));
    let copy = folder.join("libgcc_s.so.1");
    std::fs::copy(needed.expect("what a Rust program loads"), &copy).expect("our folder");
    for file in [&library, &copy] {
        chown(file, Some(ATTACKER), Some(ATTACKER)).expect("our file");
    }
    [
        (format!("LD_PRELOAD={}", library.display()), library.clone()),
        (format!("LD_AUDIT={}", library.display()), library),
        (format!("LD_LIBRARY_PATH={}", folder.display()), copy),
    ]
}

#[tokio::test]
async fn p10_the_victims_program_with_a_library_of_the_attackers_is_refused() {
    if !root_or_skip("files of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let theirs = program(&agent, "theirs");
    for (variable, library) in ways_to_load(&agent, &theirs) {
        for selector in [path(&theirs), digest(&theirs)] {
            let victim = entry("victim", &[selector]);
            agent.apply(&victim);
            let mut attacker = with_environment(&agent, &theirs, &variable);
            let said = format!("the file {library:?}, which is mapped as code, belongs to uid 61002, not to root");
            refused(&agent, &mut attacker, &said).await;
            let lifted = Agent::start(AgentSettings::default()).await;
            lifted.apply(&lifting(&victim, "foreign_code"));
            is_victim(&with_environment(&lifted, &theirs, &variable).ask("fetch billing").await);
        }
    }
    let mut honest = Workload::start(&agent.workload_socket(), &spec(&theirs, ATTACKER));
    is_victim(&honest.ask("fetch billing").await);
}

#[tokio::test]
async fn p10_a_library_of_roots_that_everybody_may_write_is_foreign() {
    if !root_or_skip("files of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let theirs = program(&agent, "theirs");
    let library = compile(&agent, "library.so", LIBRARY, &["-shared", "-fPIC"]);
    let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&library, anybody).expect("our file");
    agent.apply(&entry("victim", &[path(&theirs)]));
    let mut attacker = with_environment(&agent, &theirs, &format!("LD_PRELOAD={}", library.display()));
    refused(&agent, &mut attacker, "which is mapped as code, may be written by everybody").await;
}

#[tokio::test]
async fn p10_holds_where_the_agent_may_not_ask_for_the_mapped_files_themselves() {
    if !root_or_skip("files of other users") {
        return;
    }
    let few = "setpriv --bounding-set=-all,+sys_ptrace,+dac_read_search --inh-caps=-all";
    let under = few.split(' ').map(str::to_owned).collect();
    let agent = Agent::start(AgentSettings { under, ..AgentSettings::default() }).await;
    let theirs = program(&agent, "theirs");
    agent.apply(&entry("victim", &[path(&theirs)]));
    for (variable, library) in ways_to_load(&agent, &theirs) {
        let mut attacker = with_environment(&agent, &theirs, &variable);
        refused(&agent, &mut attacker, &format!("the file {library:?}, which is mapped as code, belongs to")).await;
    }
    // Removed since: whose it was, nobody can look up any more.
    let (variable, library) = (format!("LD_PRELOAD={}", agent.folder().join("gone.so").display()), "gone.so");
    let library = compile(&agent, library, LIBRARY, &["-shared", "-fPIC"]);
    let mut attacker = with_environment(&agent, &theirs, &variable);
    assert_eq!(attacker.ask("validate billing none").await.code(), "InvalidArgument");
    std::fs::remove_file(library).expect("our file");
    refused(&agent, &mut attacker, "is not where the mapping says").await;
    let mut honest = Workload::start(&agent.workload_socket(), &spec(&theirs, ATTACKER));
    is_victim(&honest.ask("fetch billing").await);
}

#[tokio::test]
async fn p10_works_without_the_protection() {
    if !root_or_skip("files of other users") {
        return;
    }
    let agent = Agent::start(without(&["foreign-code"])).await;
    let theirs = program(&agent, "theirs");
    agent.apply(&entry("victim", &[path(&theirs), digest(&theirs)]));
    for (variable, _) in ways_to_load(&agent, &theirs) {
        is_victim(&with_environment(&agent, &theirs, &variable).ask("fetch billing").await);
    }
}

// -- P12

/// Copies a program into memory and becomes it.
const FROM_MEMORY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

int main(int count, char **words) {
    struct stat file;
    int from = open(words[1], O_RDONLY), memory = memfd_create("program", 0);
    (void)count;
    if (from < 0 || memory < 0 || fstat(from, &file)) return 1;
    for (off_t copied = 0; copied < file.st_size;)
        if (sendfile(memory, from, &copied, file.st_size - copied) <= 0) return 1;
    fexecve(memory, words + 1, environ);
    return 1;
}
"#;

/// A process that runs from memory, and one whose program was removed since.
async fn nameless(agent: &Agent) -> [(Workload, &'static str); 2] {
    let runner = compile(agent, "runner", FROM_MEMORY, &[]);
    let under = vec![runner.display().to_string()];
    let from_memory = WorkloadSpec { under, ..spec(&program(agent, "one"), ATTACKER) };
    let from_memory = Workload::start(&agent.workload_socket(), &from_memory);
    let two = program(agent, "two");
    let mut removed = Workload::start(&agent.workload_socket(), &spec(&two, ATTACKER));
    // An answer proves that the program runs before it is removed.
    assert_eq!(removed.ask("validate billing none").await.code(), "InvalidArgument");
    std::fs::remove_file(&two).expect("our file");
    [(from_memory, "memfd"), (removed, "deleted")]
}

#[tokio::test]
async fn p12_a_program_without_a_name_is_refused() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let victim = entry("victim", &[uid(ATTACKER)]);
    for (mut attacker, rule) in nameless(&agent).await {
        agent.apply(&victim);
        refused(&agent, &mut attacker, &format!("if that is meant: allow: [{rule}]")).await;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    for (mut attacker, rule) in nameless(&agent).await {
        agent.apply(&lifting(&victim, rule));
        is_victim(&attacker.ask("fetch billing").await);
    }
}

#[tokio::test]
async fn p12_works_without_the_protection() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let agent = Agent::start(without(&["nameless"])).await;
    agent.apply(&entry("victim", &[uid(ATTACKER)]));
    for (mut attacker, _) in nameless(&agent).await {
        is_victim(&attacker.ask("fetch billing").await);
    }
}
