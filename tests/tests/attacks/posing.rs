//! P: posing as another process.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use countersign_tests::{Agent, AgentSettings, LIMIT, Workload, WorkloadSpec, root_or_skip};

use super::{ATTACKER, VICTIM, entry, nothing_issued_to, own_uid, path, program, reason, spec, uid};

#[tokio::test]
async fn p1_a_connection_of_a_process_that_is_gone_is_not_its_pids_next_owners() {
    if !root_or_skip("processes of other users, and choosing pids") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let program = program(&agent, "program");
    agent.apply(&(entry("victim", &[uid(VICTIM)]) + &entry("attacker", &[uid(ATTACKER)])));
    let mut attacker = Workload::start(&agent.workload_socket(), &spec(&program, ATTACKER));
    let pid = attacker.pid();
    assert_eq!(attacker.ask("raw-open").await.code(), "Ok");
    assert_eq!(attacker.ask(&format!("hand-over {}", program.display())).await.code(), "Adopted");
    attacker.ended().await;

    let deadline = std::time::Instant::now() + LIMIT;
    let mut victim = loop {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("root may choose pids");
        let next = Workload::start(&agent.workload_socket(), &spec(&program, VICTIM));
        if next.pid() == pid {
            break next;
        }
        assert!(std::time::Instant::now() < deadline, "the pid was never given again");
        next.end().await;
    };
    // The victim is there, under the attacker's old pid, when the request is read.
    assert_eq!(attacker.ask("raw-fetch billing").await.code(), "Closed");
    let said = reason(&agent, pid, "refused").await;
    assert!(said.contains("speaks on the connection of another process"), "{said}");
    nothing_issued_to(&agent, "victim");
    assert_eq!(victim.ask("fetch billing").await.claim("sub"), "spiffe://example.org/victim");
}

#[tokio::test]
async fn p3_a_set_uid_program_on_an_open_connection_is_not_its_owner() {
    if !root_or_skip("a set-uid program of another user") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let (own, theirs) = (program(&agent, "own"), program(&agent, "theirs"));
    std::os::unix::fs::chown(&theirs, Some(VICTIM), Some(VICTIM)).expect("our file");
    std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o4755)).expect("our file");
    agent.apply(&(entry("victim", &[uid(VICTIM)]) + &entry("attacker", &[uid(ATTACKER)])));
    let mut attacker = Workload::start(&agent.workload_socket(), &spec(&own, ATTACKER));
    assert_eq!(attacker.ask("raw-open").await.code(), "Ok");
    assert_eq!(attacker.ask(&format!("exec-over {}", theirs.display())).await.code(), "Adopted");
    let answer = attacker.ask("raw-fetch billing").await;
    assert_eq!((answer.code(), &answer.0["messages"]), ("PermissionDenied", &0.into()));
    assert_eq!(reason(&agent, attacker.pid(), "refused").await, "the process changed after it connected: credentials");
    nothing_issued_to(&agent, "victim");
}

#[tokio::test]
async fn p6_a_stream_is_not_another_programs_at_its_next_message() {
    let agent = Agent::start(AgentSettings::default()).await;
    let (first, second) = (program(&agent, "first"), program(&agent, "second"));
    // Either program is entitled. The stream is the first one's all the same.
    agent.apply(&entry("orders", &[uid(own_uid())]));
    let only = WorkloadSpec { program: Some(first), ..WorkloadSpec::default() };
    let mut changing = Workload::start(&agent.workload_socket(), &only);
    assert_eq!(changing.ask("raw-watch").await.code(), "Ok");
    assert_eq!(changing.ask(&format!("exec-over {}", second.display())).await.code(), "Adopted");
    assert!(agent.operator(&["authority", "prepare"], "").status.success());
    let ended = changing.ask("raw-end").await;
    assert_eq!((ended.code(), &ended.0["messages"]), ("PermissionDenied", &0.into()));
    assert_eq!(reason(&agent, changing.pid(), "refused").await, "the process changed after it connected: executable");
}

#[tokio::test]
async fn p6_a_request_on_an_open_connection_is_the_running_programs() {
    let agent = Agent::start(AgentSettings::default()).await;
    let (first, second) = (program(&agent, "first"), program(&agent, "second"));
    agent.apply(&entry("first", &[path(&first)]));
    let only = WorkloadSpec { program: Some(first), ..WorkloadSpec::default() };
    let mut changing = Workload::start(&agent.workload_socket(), &only);
    let honest = changing.ask("raw-fetch billing").await;
    assert_eq!(honest.0["messages"], 1, "{honest:?}");
    assert_eq!(changing.ask(&format!("exec-over {}", second.display())).await.code(), "Adopted");
    let answer = changing.ask("raw-fetch billing").await;
    assert_eq!((answer.code(), &answer.0["messages"]), ("PermissionDenied", &0.into()));
    assert_eq!(reason(&agent, changing.pid(), "refused").await, "the process changed after it connected: executable");
    // On a connection of its own it is what it is.
    assert_eq!(changing.ask("fetch billing").await.code(), "PermissionDenied");
}

#[tokio::test]
async fn p7_a_stream_ends_with_the_process_that_opened_it() {
    let agent = Agent::start(AgentSettings::default()).await;
    let program = program(&agent, "program");
    agent.apply(&entry("orders", &[uid(own_uid())]));
    let only = WorkloadSpec { program: Some(program.clone()), ..WorkloadSpec::default() };
    let mut leaving = Workload::start(&agent.workload_socket(), &only);
    let pid = leaving.pid();
    assert_eq!(leaving.ask("raw-watch").await.code(), "Ok");
    assert_eq!(leaving.ask(&format!("hand-over {}", program.display())).await.code(), "Adopted");
    leaving.ended().await;
    // Nothing changes and nobody asks: the exit alone ends the stream that another still holds.
    let ended = leaving.ask("raw-end").await;
    assert_eq!((ended.code(), &ended.0["messages"]), ("PermissionDenied", &0.into()));
    assert_eq!(reason(&agent, pid, "ended").await, "the process exited before it was answered");
    assert_eq!(leaving.ask("raw-fetch billing").await.code(), "Closed");
    nothing_issued_to(&agent, "orders");
}

#[tokio::test]
async fn p8_a_path_in_a_mount_namespace_of_ones_own_is_not_that_path() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let (own, theirs) = (program(&agent, "own"), program(&agent, "theirs"));
    agent.apply(&entry("victim", &[path(&theirs)]));
    // As root, so that it works where users may not make user namespaces; as the attacker inside.
    let shell = "mount --bind \"$0\" \"$1\" && exec setpriv --reuid=61002 --regid=61002 --clear-groups \"$1\"";
    let under = ["unshare", "--mount", "/bin/sh", "-c", shell].map(str::to_owned);
    let under = under.into_iter().chain([own.display().to_string()]).collect();
    let posing = WorkloadSpec { program: Some(theirs.clone()), under, ..WorkloadSpec::default() };
    let mut attacker = Workload::start(&agent.workload_socket(), &posing);
    assert_eq!(attacker.ask("fetch billing").await.code(), "PermissionDenied");
    let record = agent.audited(attacker.pid(), "refused").await;
    assert_eq!(record["exe"], serde_json::json!(theirs), "its path reads like the victim's");
    assert_eq!(record["uid"], ATTACKER);
    let mut victim = Workload::start(&agent.workload_socket(), &spec(&theirs, VICTIM));
    assert_eq!(victim.ask("fetch billing").await.claim("sub"), "spiffe://example.org/victim");
}

#[tokio::test]
async fn p9_a_copy_of_the_binary_has_neither_its_path_nor_its_user() {
    if !root_or_skip("processes of other users") {
        return;
    }
    let agent = Agent::start(AgentSettings::default()).await;
    let theirs = program(&agent, "theirs");
    let copy = agent.folder().join("copy");
    std::fs::copy(&theirs, &copy).expect("our folder");
    std::os::unix::fs::chown(&copy, Some(ATTACKER), Some(ATTACKER)).expect("our file");
    let digest = Command::new("sha256sum").arg(&theirs).output().expect("sha256sum runs").stdout;
    let sha256 = format!("unix:sha256:{}", String::from_utf8_lossy(&digest).split(' ').next().expect("a digest"));
    let entries =
        [entry("by-path", &[sha256.clone(), path(&theirs)]), entry("by-user", &[sha256.clone(), uid(VICTIM)])];
    for entries in entries {
        agent.apply(&entries);
        let mut attacker = Workload::start(&agent.workload_socket(), &spec(&copy, ATTACKER));
        assert_eq!(attacker.ask("fetch billing").await.code(), "PermissionDenied", "{entries}");
        let mut victim = Workload::start(&agent.workload_socket(), &spec(&theirs, VICTIM));
        assert_eq!(victim.ask("fetch billing").await.code(), "Ok", "{entries}");
    }
    // By design the digest is that of the same bytes, whoever runs them: here, somebody whom
    // another rule keeps out (`image.rs`).
    agent.apply(&(entry("by-digest", &[sha256]) + "allow: [writable_executable]\n"));
    let mut anybody = Workload::start(&agent.workload_socket(), &spec(&copy, ATTACKER));
    assert_eq!(anybody.ask("fetch billing").await.code(), "Ok");
}

#[tokio::test]
async fn p14_a_process_whose_first_thread_has_exited_is_refused() {
    let agent = Agent::start(AgentSettings::default()).await;
    agent.apply(&entry("orders", &[uid(own_uid())]));
    let code = agent.folder().join("leaderless.c");
    std::fs::write(&code, LEADERLESS).expect("our folder");
    let built = agent.folder().join("leaderless");
    let compiled = Command::new("cc").arg("-pthread").arg("-o").arg(&built).arg(&code).status().expect("cc runs");
    assert!(compiled.success());

    let request = [
        countersign_tests::preface(&[]),
        countersign_tests::request_headers(1, "FetchJWTSVID", &[]),
        // JWTSVIDRequest { audience: ["billing"] }
        countersign_tests::grpc_message(1, b"\x0a\x07billing"),
    ];
    let mut process = Command::new(&built)
        .arg(agent.workload_socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    use std::io::Write;
    process.stdin.as_mut().expect("piped").write_all(&request.concat()).expect("it reads");
    let said = reason(&agent, process.id(), "refused").await;
    assert!(said.starts_with("the first thread of process"), "{said}");
    nothing_issued_to(&agent, "orders");
    process.kill().expect("our child");
    process.wait().expect("our child");
}

#[tokio::test]
async fn p15_what_counts_is_the_image_that_the_kernel_runs() {
    let agent = Agent::start(AgentSettings::default()).await;
    let theirs = program(&agent, "theirs");
    let link = agent.folder().join("link");
    std::os::unix::fs::symlink(&theirs, &link).expect("our folder");
    let script = agent.folder().join("script");
    std::fs::write(&script, format!("#!{}\n", program(&agent, "interpreter").display())).expect("our folder");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("our file");
    let loader = loader_of(&theirs);

    // Through a link, it is the file that is run; the name of the link is nobody's path.
    agent.apply(&(entry("link", &[path(&link)]) + &entry("file", &[path(&theirs)])));
    let run = |program: &Path, under: Vec<String>| {
        let spec = WorkloadSpec { program: Some(program.to_owned()), under, ..WorkloadSpec::default() };
        Workload::start(&agent.workload_socket(), &spec)
    };
    let mut linked = run(&link, vec![]);
    assert_eq!(linked.ask("fetch billing").await.claim("sub"), "spiffe://example.org/file");

    agent.apply(&(entry("script", &[path(&script)]) + &entry("file", &[path(&theirs)])));
    let mut script = run(&script, vec![]);
    assert_eq!(script.ask("fetch billing").await.code(), "PermissionDenied");
    let record = agent.audited(script.pid(), "refused").await;
    assert_eq!(record["exe"], serde_json::json!(agent.folder().join("interpreter")));

    let mut loaded = run(&theirs, vec![loader.clone()]);
    assert_eq!(loaded.ask("fetch billing").await.code(), "PermissionDenied");
    let record = agent.audited(loaded.pid(), "refused").await;
    assert_eq!(record["exe"], serde_json::json!(std::fs::canonicalize(loader).expect("it is there")));
}

/// The dynamic loader that the kernel starts for `program` (elf(5), PT_INTERP).
fn loader_of(program: &Path) -> String {
    let maps = Command::new("ldd").arg(program).output().expect("ldd runs").stdout;
    let maps = String::from_utf8_lossy(&maps).into_owned();
    let loader = maps.split_whitespace().find(|word| word.starts_with('/') && word.contains("ld-"));
    loader.unwrap_or_else(|| panic!("no loader: {maps}")).to_owned()
}

/// Its first thread exits; another connects to the socket that it is given, and sends what it reads.
const LEADERLESS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void *speak(void *unused) {
    char bytes[4096];
    ssize_t length;
    char stat[512], path[64];
    FILE *file;
    /* Until the first thread is a zombie. */
    do {
        snprintf(path, sizeof path, "/proc/%d/task/%d/stat", getpid(), getpid());
        file = fopen(path, "r");
        if (!fgets(stat, sizeof stat, file)) return NULL;
        fclose(file);
    } while (!strstr(stat, ") Z "));
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address)) return NULL;
    while ((length = read(0, bytes, sizeof bytes)) > 0)
        if (write(connection, bytes, length) != length) return NULL;
    pause();
    return unused;
}

int main(int count, char **words) {
    pthread_t thread;
    (void)count;
    strncpy(address.sun_path, words[1], sizeof address.sun_path - 1);
    pthread_create(&thread, NULL, speak, NULL);
    pthread_exit(NULL);
}
"#;
