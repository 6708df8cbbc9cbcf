//! The real parts: a store on disk, the authority in this process, the registry, the cache and the streams
//! of the identity room, with a clock that a test sets; and real processes that ask.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use countersign_common::bundle::BundleSet;
use countersign_common::entry::EntrySet;
use countersign_common::svid::jwt::JwtSvid;

use super::super::*;
use super::document::Token;
use super::expectation::Process;
use super::step::{End, PROCESSES, Subject};
use super::stream::Stream;
use crate::authority::embedded::{AuthorityView, SealingKey};
use crate::authority::{AuthorityError, SignedX509};
use crate::policy::X509Grant;
use crate::store::StoreError;

/// The program of those who sleep.
pub(super) fn sleeping_program() -> PathBuf {
    std::fs::canonicalize("/bin/sleep").expect("coreutils")
}

/// The authority, but when told to fail it signs nothing.
struct Signing {
    authority: Arc<EmbeddedAuthority>,
    fails: AtomicBool,
}

impl Signing {
    fn works(&self) -> Result<(), AuthorityError> {
        if self.fails.load(Ordering::SeqCst) { Err(AuthorityError::NoActiveKey) } else { Ok(()) }
    }
}

#[async_trait]
impl Authority for Signing {
    fn trust_domain(&self) -> &TrustDomain {
        self.authority.trust_domain()
    }

    fn entries(&self) -> watch::Receiver<Arc<EntrySet>> {
        self.authority.entries()
    }

    fn bundles(&self) -> watch::Receiver<Arc<BundleSet>> {
        self.authority.bundles()
    }

    async fn sign_jwt(&self, grant: &Grant) -> Result<JwtSvid, AuthorityError> {
        self.works()?;
        self.authority.sign_jwt(grant).await
    }

    async fn sign_x509(&self, grant: &X509Grant, public_key: &[u8]) -> Result<SignedX509, AuthorityError> {
        self.works()?;
        self.authority.sign_x509(grant, public_key).await
    }
}

/// One run of the agent.
struct Run {
    identity: Arc<Identity>,
    signing: Arc<Signing>,
    store: Store,
    trigger: DrainTrigger,
}

impl Run {
    async fn start(file: &Path, clock: &Arc<Stepped>, full: &Arc<AtomicBool>) -> Self {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let store = Store::open(file, &trust_domain).unwrap();
        let (trigger, drain) = drain::channel();
        let disk = (store.clone(), Arc::clone(full));
        let sealing_key = SealingKey::from_bytes([7; 32]);
        let options = options(trust_domain);
        let authority = EmbeddedAuthority::start_on_disk(disk, sealing_key, options, clock.clone(), drain.clone());
        let signing = Arc::new(Signing { authority: authority.await.unwrap(), fails: AtomicBool::new(false) });
        let identity = Arc::new(identity(signing.clone(), clock.clone(), file.parent().unwrap(), drain));
        Self { identity, signing, store, trigger }
    }
}

/// A process and the number that no other one has.
struct Asker {
    process: Process,
    peer: Arc<Peer>,
    child: Option<Child>,
}

/// One machine.
pub(super) struct World {
    folder: tempfile::TempDir,
    files: u64,
    clock: Arc<Stepped>,
    full: Arc<AtomicBool>,
    run: Option<Run>,
    askers: Vec<Asker>,
    /// How many processes there ever were.
    started: u64,
}

impl World {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Stepped(Mutex::new(NOON)));
        let full = Arc::<AtomicBool>::default();
        let mut world = Self { folder, files: 0, clock, full, run: None, askers: Vec::new(), started: 1 };
        let process = Process { number: 0, sleeps: false };
        world.askers.push(Asker { process, peer: Peer::of_this_process(), child: None });
        for _ in 1..PROCESSES {
            let sleeper = world.sleeper();
            world.askers.push(sleeper);
        }
        world.run = Some(Run::start(&world.file(), &world.clock, &world.full).await);
        world
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(format!("store-{}.redb", self.files))
    }

    fn run(&self) -> &Run {
        self.run.as_ref().unwrap()
    }

    fn sleeper(&mut self) -> Asker {
        let child = Child::run(&sleeping_program());
        let process = Process { number: self.started, sleeps: true };
        self.started += 1;
        Asker { process, peer: child.peer(), child: Some(child) }
    }

    pub(super) fn process(&self, place: usize) -> Process {
        self.askers[place].process
    }

    /// Ends a process; another one of its program takes its place.
    pub(super) fn replace(&mut self, place: usize) {
        self.askers[place].child.as_mut().unwrap().kill();
        self.askers[place] = self.sleeper();
    }

    pub(super) fn is_alive(&self, process: Process) -> bool {
        self.askers.iter().any(|asker| asker.process == process)
    }

    pub(super) fn set_clock(&self, now: u64) {
        *self.clock.0.lock().unwrap() = now;
    }

    pub(super) fn set_signing(&self, works: bool) {
        self.run().signing.fails.store(!works, Ordering::SeqCst);
    }

    pub(super) fn set_disk(&self, has_room: bool) {
        self.full.store(!has_room, Ordering::SeqCst);
    }

    pub(super) fn authority(&self) -> &EmbeddedAuthority {
        &self.run().signing.authority
    }

    pub(super) fn store(&self) -> &Store {
        &self.run().store
    }

    /// Waits until requests are decided by the entries of this revision.
    pub(super) async fn is_published(&self, revision: u64) {
        let mut registry = self.run().identity.registry.clone();
        registry.wait_for(|snapshot| snapshot.revision() == revision).await.unwrap();
    }

    pub(super) fn entries(&self) -> Arc<EntrySet> {
        self.store().entries().borrow().clone()
    }

    pub(super) async fn shown(&self) -> (AuthorityView, Arc<BundleSet>) {
        let authority = self.authority();
        let view = authority.show().await;
        let bundles = authority.bundles().borrow().clone();
        (view, bundles)
    }

    /// Ends the agent and starts it again. After a kill it finds the file as it was at that moment,
    /// and nothing of what the database does as it is closed.
    pub(super) async fn restart(&mut self, end: End) {
        let run = self.run.take().unwrap();
        match end {
            End::Stop => {
                run.trigger.request();
                run.store.close().await;
            }
            End::Kill => {
                let before = self.file();
                self.files += 1;
                std::fs::copy(before, self.file()).unwrap();
            }
        }
        drop(run);
        self.set_disk(true);
        self.run = Some(Run::start(&self.file(), &self.clock, &self.full).await);
    }

    /// The tokens that a process is given, or whether it is the agent that cannot.
    pub(super) async fn fetch(
        &self,
        place: usize,
        audiences: &[&str],
        spiffe_id: Option<&str>,
    ) -> Result<Vec<Token>, bool> {
        let audiences = audiences.iter().map(|&audience| audience.to_owned()).collect();
        let spiffe_id = spiffe_id.map(|id| SpiffeId::parse(id).unwrap());
        let request = JwtRequest { audiences, spiffe_id };
        let answer = self.run().identity.fetch_jwt_svids(&self.askers[place].peer, &request).await;
        let read = |issued: &IssuedJwt| Token::read(issued.svid.token.expose()).expect("a token with every claim");
        answer.map(|issued| issued.iter().map(read).collect()).map_err(|refusal| refusal.fault() == Fault::Agent)
    }

    /// The stream that a process opens, or why there is none.
    pub(super) async fn open(&self, place: usize, subject: Subject) -> Result<Stream, Refusal> {
        let (identity, peer) = (&self.run().identity, &self.askers[place].peer);
        let process = self.process(place);
        Ok(match subject {
            Subject::X509Svids => Stream::read(process, subject, identity.watch_x509_svids(peer).await?),
            Subject::X509Bundles => {
                Stream::read(process, subject, identity.watch_bundles(peer, Authorities::X509).await?)
            }
            Subject::JwtBundles => {
                Stream::read(process, subject, identity.watch_bundles(peer, Authorities::Jwt).await?)
            }
        })
    }

    /// What the operator applies.
    pub(super) async fn apply(&self, text: &str, prune: bool) -> Result<(), StoreError> {
        let entries = parse_entries("model", text, Some(self.authority().trust_domain())).unwrap();
        self.store().apply(entries, prune, false).await.map(drop)
    }
}
