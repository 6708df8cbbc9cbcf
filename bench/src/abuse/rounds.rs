//! One round of each kind of abuse. The agent may end it at any point: that is its right.

use std::io;
use std::path::Path;

use countersign_tests::{
    DATA, HEADERS, PING, RST_STREAM, RawConnection, SETTINGS, frame, grpc_message, preface, request_headers,
};

use super::Kind;

/// More of a header block (RFC 9113, section 6.10).
const CONTINUATION: u8 = 0x9;
/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2).
const INITIAL_WINDOW: u16 = 4;
/// SETTINGS_MAX_CONCURRENT_STREAMS, with a value.
const MAX_STREAMS_9: [u8; 6] = [0, 3, 0, 0, 0, 9];
/// The longest payload of a frame that anybody has to take, in bytes.
const LARGEST_PAYLOAD: usize = 16_384;
/// Frames that are sent with one write.
const AT_ONCE: usize = 100;

/// The connections that one round leaves open.
pub(super) fn of(kind: Kind, socket: &Path, size: usize) -> Vec<RawConnection> {
    match kind {
        Kind::Silent | Kind::Half | Kind::Unread => holding(kind, socket, size),
        _ => {
            // It failed because the agent had enough of it.
            let _ = sending(kind, socket, size);
            vec![]
        }
    }
}

/// Opens `size` connections.
fn holding(kind: Kind, socket: &Path, size: usize) -> Vec<RawConnection> {
    let one = |_| match kind {
        Kind::Half => {
            let mut connection = RawConnection::open(socket)?;
            connection.send(&[0, 0, 8, PING, 0])?;
            Ok(connection)
        }
        Kind::Unread => unread(socket),
        _ => RawConnection::silent(socket),
    };
    (0..size).filter_map(|number: usize| -> Option<RawConnection> { one(number).ok() }).collect()
}

/// A connection with streams that have no window: each may keep a message in the agent.
fn unread(socket: &Path) -> io::Result<RawConnection> {
    let mut connection = RawConnection::silent(socket)?;
    connection.send(&preface(&[(INITIAL_WINDOW, 0)]))?;
    for method in ["FetchJWTBundles", "FetchX509SVID", "FetchX509Bundles"] {
        connection.call(method, &[])?;
    }
    // It proves that it is the one that asks, and reads no further.
    while connection.next_frame()?.0 != PING {}
    Ok(connection)
}

/// Sends `size` hundred frames on a new connection, of which nothing is read.
fn sending(kind: Kind, socket: &Path, size: usize) -> io::Result<()> {
    let mut connection = RawConnection::impatient(socket)?;
    match kind {
        Kind::Garbage => {
            let mut bytes = 0x9e37_79b9_7f4a_7c15_u64;
            for _ in 0..size {
                bytes = bytes.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                connection.send(&bytes.to_be_bytes().repeat(AT_ONCE))?;
            }
        }
        Kind::Resets => {
            for stream in (1..).step_by(2).take(size * AT_ONCE) {
                let begun = request_headers(stream, "FetchJWTBundles", &[]);
                let taken_back = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
                connection.send(&[begun, grpc_message(stream, &[]), taken_back].concat())?;
            }
        }
        Kind::Continuation => {
            connection.send(&frame(HEADERS, 0, 1, &[]))?;
            for _ in 0..size {
                connection.send(&frame(CONTINUATION, 0, 1, &vec![0; LARGEST_PAYLOAD]))?;
            }
        }
        Kind::Bomb => {
            // A long field once, then by its index (RFC 7541, section 6.1).
            let field = [&[0x40, 1, b'x', 0x7f, 0xb9, 0x16], vec![b'a'; 3000].as_slice(), &[0xbe; 8000]].concat();
            for stream in (1..).step_by(2).take(size) {
                connection.send(&frame(HEADERS, 0x5, stream, &field))?;
            }
        }
        Kind::Pings => repeated(&mut connection, &frame(PING, 0, 0, &[7; 8]), size)?,
        Kind::Settings => repeated(&mut connection, &frame(SETTINGS, 0, 0, &MAX_STREAMS_9), size)?,
        Kind::EmptyData => {
            connection.send(&request_headers(1, "FetchJWTSVID", &[]))?;
            repeated(&mut connection, &frame(DATA, 0, 1, &[]), size)?;
        }
        // The others hold what they open, or are no frames.
        _ => {}
    }
    Ok(())
}

fn repeated(connection: &mut RawConnection, frame: &[u8], size: usize) -> io::Result<()> {
    let bytes = frame.repeat(AT_ONCE);
    (0..size).try_for_each(|_| connection.send(&bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_kind_ends_where_nobody_answers() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        for kind in Kind::value_variants() {
            assert!(of(*kind, &socket, 1).is_empty(), "{kind:?}: nobody listens");
        }
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(of(Kind::Silent, &socket, 3).len(), 3);
        assert_eq!(of(Kind::Half, &socket, 3).len(), 3);
    }
}
