//! The messages that a service manager receives.

use super::*;

struct Supervisor {
    _directory: tempfile::TempDir,
    path: OsString,
    socket: UnixDatagram,
}

impl Supervisor {
    fn listen() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify").into_os_string();
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        Self { _directory: directory, path, socket }
    }

    fn heard(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message");
        String::from_utf8(message[..length].to_vec()).expect("UTF-8")
    }
}

#[test]
fn ready_and_stopping_are_said_in_one_message_each() {
    let supervisor = Supervisor::listen();
    let notifier = Notifier::new(Some(supervisor.path.clone()), None).expect("connected");
    notifier.ready("serving spiffe://example.org").expect("taken");
    notifier.stopping().expect("taken");
    notifier.alive().expect("taken");
    assert_eq!(supervisor.heard(), "READY=1\nSTATUS=serving spiffe://example.org\n");
    assert_eq!(supervisor.heard(), "STOPPING=1\nSTATUS=draining\n");
    assert_eq!(supervisor.heard(), "WATCHDOG=1\n");
}

#[test]
fn a_status_cannot_carry_another_assignment() {
    let supervisor = Supervisor::listen();
    let notifier = Notifier::new(Some(supervisor.path.clone()), None).expect("connected");
    notifier.ready(&format!("up\nMAINPID=1\r{}", "x".repeat(5000))).expect("taken");
    let heard = supervisor.heard();
    assert_eq!(heard.lines().count(), 2, "{heard}");
    assert!(heard.contains("STATUS=up MAINPID=1 xxx") && heard.len() < 600, "{heard}");
}

#[test]
fn an_abstract_socket_is_reached() {
    let name = format!("countersign-notify-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("bound");
    let notifier = Notifier::new(Some(format!("@{name}").into()), None).expect("connected");
    notifier.alive().expect("taken");
    let mut message = [0; 64];
    let length = socket.recv(&mut message).expect("a message");
    assert_eq!(&message[..length], b"WATCHDOG=1\n");
}

#[test]
fn without_a_supervisor_nothing_is_said_and_no_watchdog_runs() {
    let notifier = Notifier::new(None, Some(Duration::from_secs(1))).expect("nothing to reach");
    notifier.ready("up").expect("goes nowhere");
    assert_eq!(notifier.watchdog_limit(), None);
}

#[test]
fn a_supervisor_that_is_not_there_is_an_error_that_names_it() {
    for socket in ["/nonexistent/notify", "notify", "vsock:2:1"] {
        let error = Notifier::new(Some(socket.into()), None).expect_err("nobody listens").to_string();
        assert!(error.contains(socket) && error.contains("NOTIFY_SOCKET"), "{error}");
    }
}

#[test]
fn a_watchdog_limit_of_zero_is_none() {
    let supervisor = Supervisor::listen();
    let with = |limit| Notifier::new(Some(supervisor.path.clone()), limit).expect("connected").watchdog_limit();
    assert_eq!(with(Some(Duration::ZERO)), None);
    assert_eq!(with(Some(Duration::from_secs(3))), Some(Duration::from_secs(3)));
}
