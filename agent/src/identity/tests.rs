//! The story with a stepped clock, a store in memory and this very process as the caller.

mod again;
mod fake;
mod federation;
mod model;
mod renewal;
mod x509;

use std::collections::BTreeSet;
use std::sync::Mutex;

use countersign_common::clock::Timestamp;
use countersign_common::entry::parse_entries;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::Algorithm;
use tokio_stream::StreamExt as _;

use super::*;
use crate::admission::{HashBudget, HashLimits};
use crate::authority::embedded::{EmbeddedAuthority, Kind, Options};
use crate::drain::{self, DrainTrigger};
use crate::peer::children::Child;
use crate::registry;
use crate::store::Store;

/// Noon of the first of September 2027.
const NOON: u64 = 1_819_756_800 + 12 * 3600;

struct Stepped(Mutex<u64>);

impl Clock for Stepped {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(*self.0.lock().unwrap())
    }
}

struct Agent {
    identity: Arc<Identity>,
    authority: Arc<EmbeddedAuthority>,
    store: Store,
    clock: Arc<Stepped>,
    folder: tempfile::TempDir,
    _trigger: DrainTrigger,
}

impl Agent {
    async fn start(entries: &str) -> Self {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let store = Store::in_memory(&trust_domain).unwrap();
        let clock = Arc::new(Stepped(Mutex::new(NOON)));
        let (trigger, drain) = drain::channel();
        let authority =
            EmbeddedAuthority::start(store.clone(), None, options(trust_domain), clock.clone(), drain.clone());
        let authority = authority.await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let identity = identity(authority.clone(), clock.clone(), folder.path(), drain);
        let agent = Self { identity: Arc::new(identity), authority, store, clock, folder, _trigger: trigger };
        agent.apply(entries).await;
        agent
    }

    async fn apply(&self, entries: &str) {
        let revision = self.store.apply(parse_entries("test", entries, None).unwrap(), true, false).await.unwrap();
        let mut registry = self.identity.registry.clone();
        registry.wait_for(|snapshot| snapshot.revision() == revision.revision).await.unwrap();
    }

    fn audit(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap()
    }
}

/// What an authority of this trust domain is told.
fn options(trust_domain: TrustDomain) -> Options {
    let hour = Duration::from_secs(3600);
    Options {
        trust_domain,
        algorithm: Algorithm::Es256,
        key_life: 24 * hour,
        max_jwt_ttl: hour,
        x509_key_life: 24 * hour,
        max_x509_ttl: hour,
        upstream: None,
        token: None,
        refresh_hint: hour,
        issuer: None,
    }
}

/// The room over an authority, with an audit file in `folder`.
fn identity(authority: Arc<dyn Authority>, clock: Arc<Stepped>, folder: &std::path::Path, drain: Drain) -> Identity {
    let hour = Duration::from_secs(3600);
    Identity {
        attestors: Attestors::new(
            crate::attest::Limits { max_executable_bytes: 1, parallel_hashes: 1 },
            Arc::new(HashBudget::new(HashLimits { burst: 1, per_second: 1 })),
            crate::attest::Daemons::default(),
            clock.clone(),
        ),
        registry: registry::publish(authority.entries()),
        tokens: Arc::new(JwtCache::new(authority.clone())),
        renewals: Renewals::new(2),
        streams: Arc::default(),
        authority,
        audit: Arc::new(Audit::to_file(folder.join("audit.log"), 1 << 20, 1).unwrap()),
        clock,
        limits: Limits {
            default_jwt_ttl: hour,
            max_jwt_ttl: hour,
            default_x509_ttl: hour,
            max_x509_ttl: hour,
            lifted: BTreeSet::new(),
        },
        hold: Duration::ZERO,
        drain,
    }
}

/// An entry for every process of this user.
fn mine(id: &str, more: &str) -> String {
    let uid = nix::unistd::geteuid();
    format!("---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: [\"unix:uid:{uid}\"]\n{more}\n")
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_entry_expires() {
    let agent = Agent::start(&mine("a", "expires: 2027-09-02")).await;
    let mut stream = agent.identity.watch_bundles(&Peer::of_this_process(), Authorities::Jwt).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    // Nobody says anything, it is only midnight.
    *agent.clock.0.lock().unwrap() += 12 * 3600;
    let ended = tokio::time::timeout(Duration::from_secs(120), stream.next()).await;
    let ended = ended.expect("the stream goes on after the entry's last day");
    assert!(matches!(ended, Some(Err(Refusal::NoEntry))));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_is_ended() {
    let agent = Agent::start(&mine("a", "")).await;
    let mut stream = agent.identity.watch_bundles(&Peer::of_this_process(), Authorities::Jwt).await.unwrap();
    // The first message takes the one place.
    let mut published = agent.authority.bundles();
    agent.authority.prepare(&[Kind::Jwt]).await.unwrap();
    published.changed().await.unwrap();
    let given_up = tokio::time::timeout(stream::READ_LIMIT * 2, std::future::pending::<()>()).await;
    assert!(given_up.is_err());
    while !agent.audit().contains("\"ended\"") {
        tokio::task::yield_now().await;
    }
    assert!(agent.audit().contains("the client does not read its stream"), "{}", agent.audit());
    assert!(stream.next().await.unwrap().is_ok());
    assert!(stream.next().await.is_none(), "it ended behind the message that was not read");
}

#[tokio::test]
async fn a_stream_is_not_taken_over_by_another_program() {
    let agent = Agent::start(&mine("a", "")).await;
    let mut child = Child::play("exec on go");
    let mut stream = agent.identity.watch_bundles(&child.peer(), Authorities::Jwt).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let before = std::fs::read_link(child.proc("exe")).unwrap();
    child.go_on();
    child.until(|| std::fs::read_link(child.proc("exe")).is_ok_and(|now| now != before));
    // The entry holds for the new program too; the stream is the old one's all the same.
    agent.authority.prepare(&[Kind::Jwt]).await.unwrap();
    assert!(matches!(stream.next().await, Some(Err(Refusal::Attest(_)))));
    assert!(agent.audit().contains("the process changed after it connected: executable"), "{}", agent.audit());
}

#[tokio::test]
async fn a_stream_ends_with_its_process_and_the_end_is_recorded() {
    let agent = Agent::start(&mine("a", "")).await;
    let mut child = Child::play("stay");
    let mut stream = agent.identity.watch_bundles(&child.peer(), Authorities::Jwt).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    child.kill();
    assert!(matches!(stream.next().await, Some(Err(Refusal::Exited))));
    assert!(agent.audit().contains("\"outcome\":\"ended\""), "{}", agent.audit());
}
