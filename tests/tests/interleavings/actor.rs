//! A process that does what it is told, one command after the other: `actor.c`.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use countersign_tests::LIMIT;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// Something that must not be: what, in words.
pub(crate) type Fault = String;

/// Compiles the program.
pub(crate) fn compile(to: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interleavings/actor.c");
    let compiled = Command::new("cc").args(["-O1", "-o"]).arg(to).arg(source).status().expect("cc runs");
    assert!(compiled.success(), "the actor compiles");
    to.to_owned()
}

/// A process under command.
pub(crate) struct Actor {
    control: OwnedFd,
    /// Commands whose answers have not been heard: the letter of each.
    owed: Vec<char>,
    /// Unless it was forked by another.
    child: Option<Child>,
}

/// A pair of connected sockets that keep messages apart.
pub(crate) fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("a pair of sockets")
}

impl Actor {
    pub(crate) fn start(program: &Path) -> Self {
        let (control, theirs) = pair();
        let child = Command::new(program).stdin(theirs).stdout(Stdio::null()).spawn().expect("the actor runs");
        let mut actor = Self::forked(control);
        actor.child = Some(child);
        actor
    }

    /// The child of another, which was told to fork and given the other end of `control`.
    pub(crate) fn forked(control: OwnedFd) -> Self {
        let limit = TimeVal::seconds(i64::try_from(LIMIT.as_secs()).expect("short"));
        setsockopt(&control, sockopt::ReceiveTimeout, &limit).expect("our socket");
        // The first answer of a new process is that it is there.
        Self { control, owed: vec!['f'], child: None }
    }

    /// Gives a command, without waiting for its answer.
    pub(crate) fn tell(&mut self, letter: char, argument: &[u8], descriptor: Option<BorrowedFd<'_>>) {
        let command = [&[letter as u8], argument].concat();
        let descriptors: Vec<_> = descriptor.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let along = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        let socket = self.control.as_raw_fd();
        sendmsg::<()>(socket, &[IoSlice::new(&command)], along, MsgFlags::MSG_NOSIGNAL, None).expect("it lives");
        if letter != 'x' {
            self.owed.push(letter);
        }
    }

    /// Gives a command and waits for its answer and for all before.
    pub(crate) fn ask(&mut self, letter: char, argument: &[u8]) -> Result<(i32, Vec<u8>), Fault> {
        self.tell(letter, argument, None);
        let last = self.owed.pop();
        self.settle()?;
        self.owed.extend(last);
        self.hear()
    }

    /// Waits for all answers that are owed.
    pub(crate) fn settle(&mut self) -> Result<(), Fault> {
        while let Some(letter) = self.owed.first().copied() {
            let (number, _) = self.hear()?;
            // Whether the agent still takes bytes is what the model is about.
            if number < 0 && letter != 's' && letter != 'h' {
                return Err(format!("the actor cannot do `{letter}`: error {}", -number));
            }
        }
        Ok(())
    }

    /// Waits until the process is gone.
    pub(crate) fn gone(&mut self) -> Result<(), Fault> {
        match recv(self.control.as_raw_fd(), &mut [0; 1], MsgFlags::empty()) {
            Ok(0) => Ok(()),
            other => Err(format!("a process that was to exit does not: {other:?}")),
        }
    }

    fn hear(&mut self) -> Result<(i32, Vec<u8>), Fault> {
        let letter = if self.owed.is_empty() { '?' } else { self.owed.remove(0) };
        let mut message = vec![0; 4 + 16384];
        let length = recv(self.control.as_raw_fd(), &mut message, MsgFlags::empty());
        let length = length.map_err(|errno| format!("no answer to `{letter}` within {LIMIT:?}: {errno}"))?;
        message.truncate(length);
        let (number, bytes) = message.split_first_chunk().ok_or(format!("it ended instead of doing `{letter}`"))?;
        Ok((i32::from_ne_bytes(*number), bytes.to_vec()))
    }
}

impl AsFd for Actor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have exited already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
