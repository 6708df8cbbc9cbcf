//! A user who serves a socket of its own where the agent was told that Docker is.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use countersign_tests::{Agent, AgentSettings};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::room::Cgroups;
use crate::runtime::{Bed, Runtime};
use crate::{audited, entry};

/// The user who wants to be orders.
const ATTACKER: u32 = 61002;

/// What the impostor says of every container.
const LIE: &str = r#"{"Id": "ID", "State": {"Running": true}, "Config": {"Labels": {"team": "orders"}},
    "Image": "sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#;

/// What gives an impostor away.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The socket is in a directory of the attacker's.
    Directory,
    /// The socket is the attacker's, in a directory of root's.
    Socket,
    /// The attacker listens at a socket that it gave to root.
    Listener,
}

impl Place {
    const ALL: [Self; 3] = [Self::Directory, Self::Socket, Self::Listener];

    fn fault(self, folder: &Path, socket: &Path) -> String {
        let (folder, socket) = (folder.display(), socket.display());
        match self {
            Self::Directory => format!("the directory {folder} belongs to uid {ATTACKER}; it must belong to root"),
            Self::Socket => format!("{socket} belongs to uid {ATTACKER}, not to root"),
            Self::Listener => format!("{socket} is served by uid {ATTACKER}, not by root"),
        }
    }
}

/// Lets the attacker listen below `folder`, which is as `place` says when this returns.
async fn impostor(place: Place, folder: &Path) -> (Child, PathBuf) {
    std::fs::create_dir(folder).expect("our folder");
    chown(folder, Some(ATTACKER), Some(ATTACKER)).expect("our folder");
    let socket = folder.join("docker.sock");
    // Where it was built, other users need not reach it.
    let program = folder.join("impostor");
    std::fs::copy(env!("CARGO_BIN_EXE_impostor"), &program).expect("a copy");
    let mut command = Command::new(program);
    command.arg(&socket).arg(LIE).uid(ATTACKER).gid(ATTACKER).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("it runs");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(said.next_line().await.expect("readable").as_deref(), Some("listening"));
    let to_root = |path: &Path| chown(path, Some(0), Some(0)).expect("ours to give");
    match place {
        Place::Directory => {}
        Place::Socket => to_root(folder),
        Place::Listener => {
            to_root(folder);
            to_root(&socket);
        }
    }
    (child, socket)
}

/// The attacker's container, and what came of its request.
async fn attempt(without: &'static [&'static str]) {
    if !Runtime::Docker.here_or_skip() {
        return;
    }
    let bed = Bed::new(Runtime::Docker, Cgroups::AsMounted).await;
    std::fs::set_permissions(bed.room.folder(), std::fs::Permissions::from_mode(0o711)).expect("our folder");
    for place in Place::ALL {
        let folder = bed.room.folder().join(format!("{place:?}"));
        let (_impostor, socket) = impostor(place, &folder).await;
        let docker_socket = Some(socket.clone());
        let agent = Agent::start(AgentSettings { docker_socket, without, ..AgentSettings::default() }).await;
        agent.apply(&entry("orders", &["docker:label:team:orders".to_owned()]));
        let mut attacker = bed.start(&agent, &format!("{place:?}"), &[]).await;
        let answer = attacker.workload.ask("fetch billing").await;
        if without.is_empty() {
            assert_eq!(answer.code(), "Unavailable", "{place:?}");
            let fault = place.fault(&folder, &socket);
            assert!(agent.log().contains(&fault), "{place:?}: {}", agent.log());
            audited(&agent, &attacker.id, "refused").await;
        } else {
            assert_eq!(answer.claim("sub"), "spiffe://example.org/orders", "{place:?}");
        }
    }
}

#[tokio::test]
async fn a_socket_that_a_user_serves_is_not_asked() {
    attempt(&[]).await;
}

#[tokio::test]
async fn a_socket_that_a_user_serves_is_believed_without_the_protection() {
    attempt(&["runtime-socket"]).await;
}
