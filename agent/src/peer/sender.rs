//! Who sent the bytes that a connection receives (unix(7), SO_PASSCRED).

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt};

/// What one reading brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes; 0 at the end.
    pub length: usize,
    /// Pid of the process that sent all of them, in the agent's pid namespace; 0 for a process
    /// outside of it. None at the end.
    pub sender: Option<i32>,
}

/// Has the kernel tell the sender of all bytes that come through `socket`; of a listening
/// socket, through all connections that it accepts, of the first byte on.
///
/// # Errors
/// It is no Unix socket.
pub fn tell_senders(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::PassCred, &true)?)
}

/// Receives bytes of one sender: the kernel ends a reading where the next byte is another's.
///
/// # Errors
/// As recvmsg(2); `ENOBUFS` if descriptors came along, which the kernel has closed, there being
/// no room for them; `InvalidData` if the kernel does not say who sent the bytes.
pub fn receive(socket: &impl AsFd, bytes: &mut [u8]) -> io::Result<Received> {
    let mut space = cmsg_space!(UnixCredentials);
    let mut slices = [IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let length = message.bytes;
    if length == 0 {
        return Ok(Received { length, sender: None });
    }
    let sender = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.pid()),
        _ => None,
    });
    match sender {
        Some(_) => Ok(Received { length, sender }),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel does not say who sent the bytes")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use super::*;

    fn own_pid() -> i32 {
        std::process::id().try_into().unwrap()
    }

    #[test]
    fn bytes_of_two_senders_are_two_readings() {
        let (mut ours, server) = UnixStream::pair().unwrap();
        tell_senders(&server).unwrap();
        ours.write_all(b"own").unwrap();
        let theirs = OwnedFd::from(ours.try_clone().unwrap());
        let mut child = Command::new("printf").arg("theirs").stdout(Stdio::from(theirs)).spawn().unwrap();
        child.wait().unwrap();
        ours.write_all(b"own again").unwrap();
        let mut bytes = [0; 64];
        let mut next = || receive(&server, &mut bytes).unwrap();
        let childs = i32::try_from(child.id()).unwrap();
        assert_eq!(next(), Received { length: 3, sender: Some(own_pid()) });
        assert_eq!(next(), Received { length: 6, sender: Some(childs) });
        assert_eq!(next(), Received { length: 9, sender: Some(own_pid()) });
        // Not closed: a process that another test starts at this moment holds a copy until it execs.
        ours.shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(receive(&server, &mut [0; 64]).unwrap(), Received { length: 0, sender: None });
    }

    #[test]
    fn bytes_without_a_sender_are_refused() {
        let (mut ours, server) = UnixStream::pair().unwrap();
        ours.write_all(b"x").unwrap();
        assert_eq!(receive(&server, &mut [0; 64]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn descriptors_that_come_along_are_refused() {
        use nix::sys::socket::{ControlMessage, sendmsg};
        let (ours, server) = UnixStream::pair().unwrap();
        tell_senders(&server).unwrap();
        let control = [ControlMessage::ScmRights(&[0])];
        sendmsg::<()>(ours.as_raw_fd(), &[io::IoSlice::new(b"x")], &control, MsgFlags::empty(), None).unwrap();
        let error = receive(&server, &mut [0; 64]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS));
    }
}
