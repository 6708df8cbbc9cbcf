//! P14, P15: a process that is not all that it was, or not what it was called by.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use countersign_tests::{
    Agent, AgentSettings, Answer, Workload, WorkloadSpec, grpc_message, preface, request_headers, root_or_skip, until,
};

use super::{ATTACKER, agent_without, entry, issued_to, nothing_issued_to, own_uid, path, program, reason, uid};

/// Runs a process whose first thread exits and whose other one, as `user` if given, asks.
fn ask_without_a_first_thread(agent: &Agent, user: Option<u32>) -> Leaderless {
    agent.apply(&entry("first-thread", &[uid(own_uid())]));
    let code = agent.folder().join("leaderless.c");
    std::fs::write(&code, LEADERLESS).expect("our folder");
    let built = agent.folder().join("leaderless");
    let compiled = Command::new("cc").arg("-pthread").arg("-o").arg(&built).arg(&code).status().expect("cc runs");
    assert!(compiled.success());
    let process = Command::new(&built)
        .arg(agent.workload_socket())
        .args(user.map(|user| user.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut process = Leaderless(process);
    let request = [
        preface(&[]),
        request_headers(1, "FetchJWTSVID", &[]),
        // JWTSVIDRequest { audience: ["billing"] }
        grpc_message(1, b"\x0a\x07billing"),
    ];
    process.0.stdin.take().expect("piped").write_all(&request.concat()).expect("it reads");
    process
}

/// Killed when dropped.
struct Leaderless(Child);

impl Leaderless {
    /// Waits until it was sent this text.
    async fn receives(&mut self, text: &str) {
        let mut output = self.0.stdout.take().expect("piped");
        let (to, received) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let _ = to.send(bytes[..length].to_vec());
            }
        });
        let mut all = vec![];
        until(&format!("{text} to be sent"), || {
            all.extend(received.try_iter().flatten());
            String::from_utf8_lossy(&all).contains(text).then_some(())
        })
        .await;
    }
}

impl Drop for Leaderless {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn p14_a_process_whose_first_thread_has_exited_is_refused() {
    let agent = Agent::start(AgentSettings::default()).await;
    let process = ask_without_a_first_thread(&agent, None);
    let said = reason(&agent, process.0.id(), "refused").await;
    assert!(said.starts_with("the first thread of process"), "{said}");
    nothing_issued_to(&agent, "first-thread");
}

/// What `/proc` says of such a process is what its first thread was when it exited.
#[tokio::test]
async fn p14_a_process_is_not_the_user_who_its_first_thread_was() {
    if !root_or_skip("a process that becomes another user") {
        return;
    }
    let changed = "the process changed after it connected: credentials";
    for (without, says) in [
        (&["sender", "countersign"], "the first thread of process"),
        (&["countersign", "connected-as"], "the first thread of process"),
        (&["countersign", "leader"], changed),
    ] {
        let agent = agent_without(without).await;
        let process = ask_without_a_first_thread(&agent, Some(ATTACKER));
        let said = reason(&agent, process.0.id(), "refused").await;
        assert!(said.starts_with(says), "{said}");
        nothing_issued_to(&agent, "first-thread");
    }
}

#[tokio::test]
async fn p14_works_without_the_protections() {
    if !root_or_skip("a process that becomes another user") {
        return;
    }
    let agent = agent_without(&["sender", "countersign", "leader", "connected-as"]).await;
    let mut process = ask_without_a_first_thread(&agent, Some(ATTACKER));
    process.receives("spiffe://example.org/first-thread").await;
    assert_eq!(issued_to(&agent, "first-thread", process.0.id()), 1);
}

/// Three ways to be called by another name than the image that the kernel runs.
struct CalledBy {
    link: PathBuf,
    script: PathBuf,
    theirs: PathBuf,
    loader: String,
}

impl CalledBy {
    fn make(agent: &Agent) -> Self {
        let theirs = program(agent, "theirs");
        let [link, script] = ["link", "script"].map(|name| agent.folder().join(name));
        std::os::unix::fs::symlink(&theirs, &link).expect("our folder");
        std::fs::write(&script, format!("#!{}\n", program(agent, "interpreter").display())).expect("our folder");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("our file");
        let loader = loader_of(&theirs);
        Self { link, script, theirs, loader }
    }
}

/// Runs `program`, perhaps by its loader, and asks.
async fn ask_as(agent: &Agent, program: &Path, under: &[String]) -> (u32, Answer) {
    let spec = WorkloadSpec { program: Some(program.to_owned()), under: under.to_vec(), ..WorkloadSpec::default() };
    let mut workload = Workload::start(&agent.workload_socket(), &spec);
    let answer = workload.ask("fetch billing").await;
    (workload.pid(), answer)
}

#[tokio::test]
async fn p15_what_counts_is_the_image_that_the_kernel_runs() {
    let agent = Agent::start(AgentSettings::default()).await;
    let called = CalledBy::make(&agent);
    // Through a link, it is the file that is run; the name of the link is nobody's path.
    agent.apply(&(entry("link", &[path(&called.link)]) + &entry("file", &[path(&called.theirs)])));
    let (_, linked) = ask_as(&agent, &called.link, &[]).await;
    assert_eq!(linked.claim("sub"), "spiffe://example.org/file");

    agent.apply(&(entry("script", &[path(&called.script)]) + &entry("file", &[path(&called.theirs)])));
    let (pid, script) = ask_as(&agent, &called.script, &[]).await;
    assert_eq!(script.code(), "PermissionDenied");
    let record = agent.audited(pid, "refused").await;
    assert_eq!(record["exe"], serde_json::json!(agent.folder().join("interpreter")));

    let (pid, loaded) = ask_as(&agent, &called.theirs, std::slice::from_ref(&called.loader)).await;
    assert_eq!(loaded.code(), "PermissionDenied");
    let record = agent.audited(pid, "refused").await;
    assert_eq!(record["exe"], serde_json::json!(std::fs::canonicalize(&called.loader).expect("it is there")));
}

/// An agent that goes by the command line takes each for what it calls itself.
#[tokio::test]
async fn p15_works_without_the_protection() {
    let agent = agent_without(&["image"]).await;
    let called = CalledBy::make(&agent);
    agent.apply(&(entry("link", &[path(&called.link)]) + &entry("script", &[path(&called.script)])));
    let (_, linked) = ask_as(&agent, &called.link, &[]).await;
    assert_eq!(linked.claim("sub"), "spiffe://example.org/link");
    let (_, script) = ask_as(&agent, &called.script, &[]).await;
    assert_eq!(script.claim("sub"), "spiffe://example.org/script");

    agent.apply(&entry("file", &[path(&called.theirs)]));
    let (_, loaded) = ask_as(&agent, &called.theirs, std::slice::from_ref(&called.loader)).await;
    assert_eq!(loaded.claim("sub"), "spiffe://example.org/file");
}

/// The dynamic loader that the kernel starts for `program` (elf(5), PT_INTERP).
fn loader_of(program: &Path) -> String {
    let maps = Command::new("ldd").arg(program).output().expect("ldd runs").stdout;
    let maps = String::from_utf8_lossy(&maps).into_owned();
    let loader = maps.split_whitespace().find(|word| word.starts_with('/') && word.contains("ld-"));
    loader.unwrap_or_else(|| panic!("no loader: {maps}")).to_owned()
}

/// Its first thread exits; another one becomes the user that it is given, if any, connects to the
/// socket that it is given, sends what it reads, and writes what it is sent.
const LEADERLESS: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static const char *user;

static void relay(int from, int to) {
    char bytes[4096];
    ssize_t length;
    while ((length = read(from, bytes, sizeof bytes)) > 0)
        if (write(to, bytes, length) != length) return;
}

static void *speak(void *unused) {
    char stat[512], path[64];
    FILE *file;
    /* Until the first thread is a zombie. */
    do {
        snprintf(path, sizeof path, "/proc/%d/task/%d/stat", getpid(), getpid());
        file = fopen(path, "r");
        if (!fgets(stat, sizeof stat, file)) return NULL;
        fclose(file);
    } while (!strstr(stat, ") Z "));
    /* The library's own functions would ask the other threads to follow. */
    if (user && (syscall(SYS_setresgid, atoi(user), atoi(user), atoi(user)) ||
                 syscall(SYS_setresuid, atoi(user), atoi(user), atoi(user)))) return NULL;
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address)) return NULL;
    relay(0, connection);
    relay(connection, 1);
    pause();
    return unused;
}

int main(int count, char **words) {
    pthread_t thread;
    strncpy(address.sun_path, words[1], sizeof address.sun_path - 1);
    if (count > 2) user = words[2];
    pthread_create(&thread, NULL, speak, NULL);
    pthread_exit(NULL);
}
"#;
