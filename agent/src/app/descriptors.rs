//! How many files the agent may have open, and how many connections and requests that allows.
//!
//! Without a descriptor nothing can be recorded, hashed or accepted. So connections and
//! requests are bounded such that the agent's own files always have room, and running out is
//! left to be what it should be: a fault, which the accept loop waits out.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::admission::Limits;

/// Of a connection: its socket, and the pidfd of its process.
const PER_CONNECTION: usize = 2;
/// Of a request that is worked on: the image of its process, and a file that is being read.
const PER_REQUEST: usize = 2;
/// What the agent has open for itself: sockets, database, audit file, operators, the runtime,
/// the user database, refused connections that are not closed yet, processes that are held for glances; and some.
const OWN: usize = 640;

/// Raises the soft limit of open files to the hard one, and gives it back. The soft limit is low
/// for the sake of old programs that use select(2), and not meant for an agent.
pub(super) fn raise_limit() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard).or_else(|error| {
            tracing::warn!(%error, "the soft limit of open files stays as it is");
            Ok(soft)
        })
    });
    match limit {
        Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "cannot tell how many files may be open; supposing that it is enough");
            usize::MAX
        }
    }
}

/// As many connections and requests as `descriptors` allow, and warns where that is fewer than
/// were asked for.
pub(super) fn within(limits: Limits, descriptors: usize) -> Limits {
    let allowed = clamped(limits, descriptors);
    for (what, asked, allowed) in [
        ("workload_api.max_connections", limits.connections, allowed.connections),
        ("admission.max_requests", limits.requests, allowed.requests),
    ] {
        if allowed < asked {
            tracing::warn!(
                limit = descriptors,
                "{what} is {asked}, and the limit of open files allows {allowed}: raise that (LimitNOFILE= in the \
                 unit) to {} or more, or lower {what}",
                needed(limits)
            );
        }
    }
    allowed
}

fn needed(limits: Limits) -> usize {
    OWN + PER_CONNECTION * limits.connections + PER_REQUEST * limits.requests
}

/// At most a quarter of what there is goes to requests, the rest to connections; never none.
fn clamped(limits: Limits, descriptors: usize) -> Limits {
    if needed(limits) <= descriptors {
        return limits;
    }
    let free = descriptors.saturating_sub(OWN);
    let requests = limits.requests.min(free / 4 / PER_REQUEST).max(1);
    let connections = limits.connections.min(free.saturating_sub(PER_REQUEST * requests) / PER_CONNECTION).max(1);
    Limits { connections, requests, ..limits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_requests_leave_the_agent_its_own_files() {
        let asked = Limits { connections: 2048, requests: 1024, streams: 4096 };
        let within = |descriptors| {
            let Limits { connections, requests, .. } = clamped(asked, descriptors);
            assert!(needed(Limits { connections, requests, ..asked }) <= descriptors.max(OWN + 4));
            (connections, requests)
        };
        assert_eq!(within(16_384), (2048, 1024));
        assert_eq!(within(4096), (1296, 432));
        assert_eq!(within(1024), (144, 48));
        assert_eq!(within(64), (1, 1));
    }
}
