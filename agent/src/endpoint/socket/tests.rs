//! Sockets on a real file system: modes, leftovers, neighbours.

use std::os::unix::fs::symlink;

use super::*;

fn options(path: &Path) -> SocketOptions {
    SocketOptions { path: path.to_owned(), mode: 0o777, directory_mode: 0o755 }
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A directory of our own below one that others cannot look into.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_name_is_never_wider_than_it_will_be() {
    let directory = directory();
    let path = directory.path().join("agent.sock");
    let _socket = bound(&path, 0o600).unwrap();
    assert_eq!(mode_of(&path), 0o600, "before anything else is done to it");
}

#[tokio::test]
async fn socket_and_directory_have_exactly_their_modes_whatever_the_umask() {
    let parent = directory();
    for (mode, directory_mode) in [(0o777, 0o755), (0o600, 0o700), (0o660, 0o750), (0o666, 0o711)] {
        let directory = parent.path().join(format!("{mode:o}"));
        let path = directory.join("agent.sock");
        let listener = Listener::bind(&SocketOptions { path: path.clone(), mode, directory_mode }).unwrap();
        assert_eq!((mode_of(&path), mode_of(&directory)), (mode, directory_mode));
        assert_eq!(listener.path(), path);
        net::UnixStream::connect(&path).unwrap();
    }
}

#[tokio::test]
async fn a_socket_that_a_crash_left_is_replaced() {
    let directory = directory();
    let path = directory.path().join("agent.sock");
    drop(net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _listener = Listener::bind(&options(&path)).unwrap();
    net::UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn a_socket_that_is_served_is_left_alone() {
    let directory = directory();
    let path = directory.path().join("agent.sock");
    let other = net::UnixListener::bind(&path).unwrap();
    let error = Listener::bind(&options(&path)).unwrap_err();
    assert!(matches!(error, SocketError::InUse { .. }), "{error}");
    net::UnixStream::connect(&path).unwrap();
    drop(other);
}

#[tokio::test]
async fn a_socket_with_a_full_queue_is_served() {
    let directory = directory();
    let path = directory.path().join("agent.sock");
    let busy = new_socket().unwrap();
    bind(busy.as_raw_fd(), &address(&path).unwrap()).unwrap();
    listen(&busy, Backlog::new(0).unwrap()).unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        let client = new_socket().unwrap();
        match connect(client.as_raw_fd(), &address(&path).unwrap()) {
            Ok(()) => waiting.push(client),
            Err(error) => break error,
        }
    };
    assert_eq!(full, Errno::EAGAIN);
    assert!(matches!(Listener::bind(&options(&path)), Err(SocketError::InUse { .. })));
}

#[tokio::test]
async fn two_listeners_cannot_have_one_path() {
    let directory = directory();
    let path = directory.path().join("agent.sock");
    let first = Listener::bind(&options(&path)).unwrap();
    assert!(matches!(Listener::bind(&options(&path)), Err(SocketError::InUse { .. })));
    // The lock alone keeps the second away, also while the name is gone.
    fs::remove_file(&path).unwrap();
    assert!(matches!(Listener::bind(&options(&path)), Err(SocketError::InUse { .. })));
    drop(first);
    Listener::bind(&options(&path)).unwrap();
}

#[tokio::test]
async fn what_is_not_a_socket_is_left_alone() {
    let directory = directory();
    let (file, link) = (directory.path().join("file"), directory.path().join("link"));
    fs::write(&file, "precious").unwrap();
    symlink(directory.path().join("elsewhere"), &link).unwrap();
    for path in [&file, &link] {
        let error = Listener::bind(&options(path)).unwrap_err();
        assert!(matches!(error, SocketError::Foreign { .. }), "{error}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[tokio::test]
async fn a_directory_that_others_may_write_is_refused() {
    let parent = directory();
    let shared = parent.path().join("shared");
    fs::create_dir(&shared).unwrap();
    for (mode, below) in [(0o757, "agent.sock"), (0o1777, "agent.sock"), (0o777, "below/agent.sock")] {
        fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
        let error = Listener::bind(&options(&shared.join(below))).unwrap_err();
        let expected = matches!(&error, SocketError::Directory { path, fault: Fault::Writable } if *path == shared);
        assert!(expected, "{mode:o} {below}: {error}");
    }
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    Listener::bind(&options(&shared.join("below/agent.sock"))).unwrap();
}

#[tokio::test]
async fn a_directory_behind_a_link_is_checked_where_it_really_is() {
    let parent = directory();
    let (open, good, link) = (parent.path().join("open"), parent.path().join("good"), parent.path().join("link"));
    fs::create_dir(&open).unwrap();
    fs::create_dir(&good).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    symlink(&open, &link).unwrap();
    let error = Listener::bind(&options(&link.join("agent.sock"))).unwrap_err();
    assert!(matches!(error, SocketError::Directory { .. }), "{error}");
    fs::remove_file(&link).unwrap();
    symlink(&good, &link).unwrap();
    Listener::bind(&options(&link.join("agent.sock"))).unwrap();
}

#[tokio::test]
async fn the_name_goes_with_the_listener() {
    let directory = directory();
    let path = directory.path().join("agent.sock");
    drop(Listener::bind(&options(&path)).unwrap());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_name_that_became_another_socket_stays() {
    let directory = directory();
    let path = directory.path().join("agent.sock");
    let listener = Listener::bind(&options(&path)).unwrap();
    fs::remove_file(&path).unwrap();
    let other = net::UnixListener::bind(&path).unwrap();
    drop(listener);
    net::UnixStream::connect(&path).unwrap();
    drop(other);
}

#[tokio::test]
async fn paths_that_are_no_address_are_refused_with_the_reason() {
    for (path, reason) in [
        ("agent.sock".to_owned(), "is not absolute"),
        (format!("/{}", "a".repeat(MAX_PATH)), "is longer than 107 bytes"),
        ("/".to_owned(), "names no file"),
        ("/run/countersign/".to_owned(), "names no file"),
        ("/run/..".to_owned(), "names no file"),
    ] {
        let error = Listener::bind(&options(Path::new(&path))).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
