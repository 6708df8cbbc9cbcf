//! Commands that end well, badly and not at all; signals to those who are meant and to nobody else.

use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;

use super::*;

async fn run_in_time(command: &[&str]) -> Result<(), String> {
    let arguments: Vec<OsString> = command[1..].iter().map(Into::into).collect();
    run(&command[0].into(), &arguments, Duration::from_secs(30)).await
}

#[tokio::test]
async fn a_command_gets_its_words_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a; b $HOME *");
    run_in_time(&["touch", file.to_str().unwrap()]).await.unwrap();
    assert!(file.exists());
}

#[tokio::test]
async fn a_command_that_fails_is_told() {
    assert!(run_in_time(&["false"]).await.unwrap_err().contains("failed: exit status: 1"));
    assert!(run_in_time(&["/nonexistent/command"]).await.unwrap_err().contains("cannot be run"));
    let after = AfterRenewal { on_renew: vec!["false".into()], ..AfterRenewal::default() };
    assert_eq!(after.tell().await.len(), 1);
    assert!(AfterRenewal::default().tell().await.is_empty());
}

#[tokio::test]
async fn a_command_that_does_not_end_is_killed() {
    let told = run(&"sleep".into(), &["3600".into()], Duration::from_millis(10)).await.unwrap_err();
    assert!(told.contains("was killed"), "{told}");
}

/// A process that does nothing; killed when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("3600").spawn().unwrap())
    }

    fn write_pid(&self, file: &Path) {
        std::fs::write(file, format!("{}\n", self.0.id())).unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_process_of_the_file_gets_the_signal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut sleeper = Sleeper::start();
    sleeper.write_pid(&file);
    send(Signal::SIGUSR1, &file).unwrap();
    assert_eq!(sleeper.0.wait().unwrap().signal(), Some(Signal::SIGUSR1 as i32));
    assert!(send(Signal::SIGUSR1, &file).unwrap_err().to_string().contains("is not there any more"));
}

#[test]
fn a_file_that_names_nobody_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    for text in ["", "0", "-1", "x", "1 2", "4294967296", "99999999999999999999999999999999999999999"] {
        std::fs::write(&file, text).unwrap();
        assert!(send(Signal::SIGHUP, &file).unwrap_err().to_string().contains("no number"), "{text}");
    }
    std::fs::write(&file, "4294967295").unwrap();
    assert!(send(Signal::SIGHUP, &file).is_err(), "no pid is that large");
    assert!(send(Signal::SIGHUP, &folder.path().join("absent")).is_err());
    assert!(send(Signal::SIGHUP, folder.path()).is_err());
}

#[test]
fn nobody_has_others_signalled() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("pid"), folder.path().join("link"));
    let mut sleeper = Sleeper::start();
    sleeper.write_pid(&file);
    symlink(&file, &link).unwrap();
    assert!(send(Signal::SIGKILL, &link).is_err(), "the file of another, by a link");
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        let told = send(Signal::SIGKILL, &file).unwrap_err().to_string();
        assert!(told.contains("belongs to uid 65534"), "{told}");
    }
    assert!(sleeper.0.try_wait().unwrap().is_none(), "it lives");
}
