//! `x509 fetch --write --watch`: renewals, restarts, refusals, and who is told.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

use countersign_tests::{Disk, own_mounts, root_or_skip, until};
use nix::sys::signal::Signal;
use tokio::net::UnixDatagram;
use tonic::Code;

use super::bed::Bed;
use super::workload_api::{Says, WorkloadApi, granted};

#[tokio::test]
async fn every_renewal_is_written_and_an_agent_that_restarts_is_found_again() {
    let bed = Bed::new();
    let agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders"])));
    let mut watch = bed.watch(&[]);
    let first = bed.renewed("").await;
    agent.say(Says::Grant(granted(&["orders"])));
    let second = bed.renewed(&first).await;
    agent.say(Says::End(Code::Unavailable));
    watch.has_told("trying again").await;
    assert_eq!(bed.file("svid.pem").as_ref(), Some(&second), "what is valid stays");
    agent.say(Says::Grant(granted(&["orders"])));
    let third = bed.renewed(&second).await;
    drop(agent);
    watch.has_told("no agent answers").await;
    assert_eq!(bed.file("svid.pem").as_ref(), Some(&third));
    let _agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders"])));
    bed.renewed(&third).await;
    assert!(bed.file("svid_and_key.pem").expect("there").starts_with(&bed.file("svid.pem").expect("there")));
    let count = || std::fs::read_dir(bed.path("svid")).expect("ours").count();
    until("five names, the link, the lock and one generation", || (count() == 8).then_some(())).await;
}

#[tokio::test]
async fn what_the_agent_takes_back_goes_at_once_and_is_asked_for_again() {
    let bed = Bed::new();
    let agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders", "batch"])));
    let mut watch = bed.watch(&["--hint", "orders"]);
    bed.renewed("").await;
    // `SPIFFE_Workload_API.md`, section 5.2.1: all of them, or one.
    for taken_back in [Says::End(Code::PermissionDenied), Says::Grant(granted(&["batch"]))] {
        agent.say(taken_back);
        until("the files to go", || bed.file("key.pem").is_none().then_some(())).await;
        agent.say(Says::Grant(granted(&["batch", "orders"])));
        bed.renewed("").await;
    }
    watch.has_told("the agent grants this process no X509-SVID").await;
    watch.has_told("no SVID with the hint \"orders\"; it has spiffe://example.org/batch").await;
}

#[tokio::test]
async fn a_watch_ends_only_where_asking_again_is_of_no_use() {
    for (code, words) in [(Code::InvalidArgument, "refused: "), (Code::Unimplemented, "does not serve this")] {
        let bed = Bed::new();
        let agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders"])));
        let mut watch = bed.watch(&[]);
        bed.renewed("").await;
        agent.say(Says::End(code));
        assert_eq!(watch.ended().await.code(), Some(1));
        assert!(watch.told().contains(words), "{}", watch.told());
        assert_eq!(agent.calls(), 1);
    }
}

#[tokio::test]
async fn a_message_that_does_not_hold_together_is_dropped_and_the_stream_goes_on() {
    let bed = Bed::new();
    let agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders"])));
    let mut watch = bed.watch(&[]);
    let first = bed.renewed("").await;
    let mut mixed = granted(&["orders", "batch"]);
    mixed.svids[0].x509_svid_key = mixed.svids[1].x509_svid_key.clone();
    agent.say(Says::Grant(mixed));
    watch.has_told("do not belong together").await;
    assert_eq!(bed.file("svid.pem").as_ref(), Some(&first));
    agent.say(Says::Grant(granted(&["orders"])));
    bed.renewed(&first).await;
    assert_eq!(agent.calls(), 1);
}

/// A process that waits for a signal; killed when dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // The signal has ended it, or not.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_service_is_told_of_renewals_and_not_of_the_first() {
    let bed = Bed::new();
    let agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders"])));
    let mut service = Service(Command::new("sleep").arg("3600").spawn().expect("it runs"));
    std::fs::create_dir(bed.path("copies")).expect("our folder");
    let (pid_file, copy) = (bed.path("pid").display().to_string(), bed.path("copies/first").display().to_string());
    std::fs::write(&pid_file, service.0.id().to_string()).expect("our folder");
    let chain = format!("{}/svid.pem", bed.directory());
    let more = ["--signal", "SIGHUP", "--pid-file", &pid_file, "--on-renew", "cp", "-n", &chain, &copy];
    let mut watch = bed.watch(&more);
    let first = bed.renewed("").await;
    agent.say(Says::Grant(granted(&["orders"])));
    let second = bed.renewed(&first).await;
    // A copy is not replaced by the next: had it been made of the first, it would stay that.
    let is_second = || std::fs::read_to_string(&copy).is_ok_and(|copy| copy == second).then_some(());
    until("a copy of the second", is_second).await;
    let ended = until("the signal", || service.0.try_wait().expect("our child")).await;
    assert_eq!(ended.signal(), Some(Signal::SIGHUP as i32));

    // The service is gone and the command fails from now on: told, and no reason to stop.
    std::fs::remove_dir_all(bed.path("copies")).expect("ours");
    agent.say(Says::Grant(granted(&["orders"])));
    let third = bed.renewed(&second).await;
    watch.has_told("--on-renew: cp failed").await;
    watch.has_told("--signal: nobody got SIGHUP").await;
    agent.say(Says::Grant(granted(&["orders"])));
    bed.renewed(&third).await;
}

#[tokio::test]
async fn a_watch_that_comes_back_tells_who_uses_what_the_one_before_has_written() {
    let bed = Bed::new();
    let _agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders"])));
    let directory = bed.directory();
    assert!(bed.run(&["fetch", "--write", &directory]).status.success());
    let marked = bed.path("marked");
    let _watch = bed.watch(&["--on-renew", "touch", &marked.display().to_string()]);
    until("the command to run", || marked.exists().then_some(())).await;
}

#[tokio::test]
async fn systemd_hears_that_the_first_files_are_there() {
    let bed = Bed::new();
    let systemd = UnixDatagram::bind(bed.path("notify")).expect("our folder");
    let agent = WorkloadApi::start(&bed.socket(), Says::End(Code::Unavailable));
    let directory = bed.directory();
    let mut command = bed.command(&["fetch", "--write", &directory, "--watch", "--wait", "10m"]);
    command.env("NOTIFY_SOCKET", bed.path("notify"));
    let _watch = bed.start(command);
    until("a try", || (agent.calls() > 0).then_some(())).await;
    assert!(systemd.try_recv(&mut [0; 256]).is_err(), "not before");
    agent.say(Says::Grant(granted(&["orders"])));
    let mut message = [0; 256];
    let heard = tokio::time::timeout(countersign_tests::LIMIT, systemd.recv(&mut message)).await;
    let message = String::from_utf8_lossy(&message[..heard.expect("in time").expect("a message")]).into_owned();
    assert!(message.starts_with("READY=1\n") && message.contains("spiffe://example.org/orders"), "{message}");
    assert!(bed.file("key.pem").is_some());
}

#[tokio::test]
async fn a_full_disk_keeps_the_old_files_and_gets_the_new_ones_when_there_is_room() {
    if !root_or_skip("a disk of its own") {
        return;
    }
    own_mounts();
    let bed = Bed::new();
    let disk = Disk::make(&bed.path("svid"));
    let directory = disk.place().display().to_string();
    let chain = disk.place().join("svid.pem");
    let agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders"])));
    let mut watch = bed.start(bed.command(&["fetch", "--write", &directory, "--watch"]));
    let read = || std::fs::read_to_string(&chain).ok();
    let first = until("the files", read).await;
    let filler = disk.fill();
    agent.say(Says::Grant(granted(&["orders"])));
    watch.has_told("No space left on device").await;
    assert_eq!(read().as_ref(), Some(&first));
    assert!(std::fs::read_to_string(disk.place().join("svid_and_key.pem")).expect("there").starts_with(&first));
    std::fs::remove_file(filler).expect("ours");
    until("the new files", || read().filter(|chain| *chain != first)).await;
    drop(watch);
}
