//! What `dev` and `agent` have in common: the rooms put together, run, and drained.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_common::clock::Clock;
use countersign_common::proto;
use tokio::signal::unix::{SignalKind, signal};
use tonic::service::Routes;

use super::{AppError, SystemClock, descriptors, memory};
use crate::admin_api::{self, Access};
use crate::admission::{self, Admission, HashBudget, HashLimits};
use crate::attest::{self, Attestors};
use crate::audit::Audit;
use crate::authority::Authority;
use crate::authority::embedded::{self, EmbeddedAuthority, SealingKey};
use crate::drain::{self, Drain, DrainTrigger};
use crate::endpoint::{self, EndpointError, Listener, OnIntrusion, Options, SocketOptions};
use crate::health::{self, Notifier, ServiceHealth};
use crate::identity::Identity;
use crate::policy::Limits;
use crate::registry;
use crate::store::Store;
use crate::svid::{JwtCache, Renewals};
use crate::workload_api;

/// What the rooms are told; from the configuration, or from the defaults of `dev`.
pub(super) struct Settings {
    pub(super) store: Store,
    pub(super) sealing_key: Option<SealingKey>,
    pub(super) authority: embedded::Options,
    pub(super) limits: Limits,
    pub(super) attest: attest::Limits,
    pub(super) daemons: attest::Daemons,
    pub(super) audit: Audit,
    pub(super) workload_socket: PathBuf,
    pub(super) admission: admission::Limits,
    pub(super) hashing: HashLimits,
    pub(super) hold: Duration,
    pub(super) admin_socket: PathBuf,
    pub(super) admin_access: Access,
    pub(super) drain_limit: Duration,
}

/// The workload socket is everybody's to connect to: who connects is asked of the kernel.
const WORKLOAD_MODES: (u32, u32) = (0o666, 0o755);
/// The admin socket is opened wide enough for a group; `admin_api` asks who it is all the same.
const ADMIN_MODES: (u32, u32) = (0o660, 0o750);
/// The largest request of the reflection service in bytes: the name of a file or a symbol.
const MAX_REFLECTION_BYTES: usize = 4096;
/// Operators are few; one user has a quarter of these.
const ADMIN_PLACES: admission::Limits = admission::Limits { connections: 64, requests: 64, streams: 64 };

/// Runs until SIGTERM or SIGINT, then drains. `ready` is called once, when requests are served.
pub(super) async fn run(settings: Settings, ready: impl FnOnce()) -> Result<(), AppError> {
    let places = descriptors::within(settings.admission, descriptors::raise_limit());
    let notifier = Notifier::from_environment()?;
    let (trigger, drain) = drain::channel();
    stop_on_signals(trigger)?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let audit = Arc::new(settings.audit);
    let sealing_key = settings.sealing_key;
    let store = settings.store;
    let authority =
        EmbeddedAuthority::start(store.clone(), sealing_key, settings.authority, Arc::clone(&clock), drain.clone())
            .await?;
    let [admission, of_operators] =
        [places, ADMIN_PLACES].map(|limits| Admission::new(limits, Arc::clone(&audit), Arc::clone(&clock)));
    let hash_budget = Arc::new(HashBudget::new(settings.hashing));
    let registry = registry::publish(authority.entries());
    let identity = Arc::new(Identity {
        attestors: Attestors::new(settings.attest, Arc::clone(&hash_budget), settings.daemons, Arc::clone(&clock)),
        registry: registry.clone(),
        tokens: Arc::new(JwtCache::new(authority.clone())),
        renewals: Renewals::new(std::thread::available_parallelism().map_or(1, usize::from)),
        streams: Arc::default(),
        authority: authority.clone(),
        audit: Arc::clone(&audit),
        clock: Arc::clone(&clock),
        limits: settings.limits,
        hold: settings.hold,
        drain: drain.clone(),
    });

    let [workload_path, admin_path] =
        [&settings.workload_socket, &settings.admin_socket].map(|path| path.display().to_string());
    let told = told_by(&identity);
    let (health, workload_routes) = workload_routes(identity).await?;
    let usage = admin_api::Usage { admission: Arc::clone(&admission), hash_budget, started: clock.now() };
    let (crowds, snapshots) = (Arc::clone(&admission), registry.clone());
    let admin = admin_api::Admin { store, registry, authority, audit, clock, usage, access: settings.admin_access };
    let workload = listen(settings.workload_socket, WORKLOAD_MODES)?;
    let operators = listen(settings.admin_socket, ADMIN_MODES)?;
    let options = options(settings.hold, settings.drain_limit);
    let serving = async {
        tokio::try_join!(
            serve(workload, workload_routes, options.clone(), admission, drain.clone(), told.clone()),
            serve(operators, admin_api::routes(admin), options, of_operators, drain.clone(), told),
        )
    };

    tracing::info!("serving workloads at {workload_path} and operators at {admin_path}");
    health.serving().await;
    notifier.ready("serving")?;
    ready();
    tokio::select! {
        served = serving => served.map(drop)?,
        () = live(&notifier) => {}
        () = memory::give_back(&crowds, snapshots) => {}
        () = tell_of_drain(&drain, &notifier, &health) => {}
    }
    Ok(())
}

/// Serves at one socket, and sees to it that whom it turned away is recorded.
async fn serve(
    listener: Listener,
    routes: Routes,
    options: Options,
    admission: Arc<Admission>,
    drain: Drain,
    told: OnIntrusion,
) -> Result<(), EndpointError> {
    let telling = async {
        admission.tell_of_refusals(&drain).await;
        Ok(())
    };
    let serving = endpoint::serve(listener, routes, options, Arc::clone(&admission), drain.clone(), told);
    tokio::try_join!(serving, telling).map(drop)
}

fn options(hold: Duration, drain_limit: Duration) -> Options {
    // A caller is held first and attested again then: it is answered by the story, not by a timer.
    let request_limit = hold + 2 * attest::LONGEST + Options::default().request_limit;
    Options { drain_limit, request_limit, ..Options::default() }
}

/// Never ends: it tells the service manager that the agent lives.
async fn live(notifier: &Notifier) {
    // The runtime still schedules: a probe that is polled at all is the sign of life.
    health::watchdog(notifier, || async { true }).await;
    std::future::pending().await
}

/// Has each connection recorded that was ended for who spoke on it.
fn told_by(identity: &Arc<Identity>) -> OnIntrusion {
    let identity = Arc::clone(identity);
    Arc::new(move |peer, error| {
        let (identity, peer) = (Arc::clone(&identity), Arc::clone(peer));
        tokio::spawn(async move { identity.record_intrusion(&peer, error).await });
    })
}

async fn workload_routes(identity: Arc<Identity>) -> Result<(ServiceHealth, Routes), AppError> {
    let (health, health_service) = health::service_health(&["SpiffeWorkloadAPI"]).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::workload::DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().map_err(AppError::Reflection)?;
    let v1alpha = reflection().build_v1alpha().map_err(AppError::Reflection)?;
    // Anybody may ask, and the transport keeps as much of a message as the service allows.
    let routes = Routes::new(health_service)
        .add_service(v1.max_decoding_message_size(MAX_REFLECTION_BYTES))
        .add_service(v1alpha.max_decoding_message_size(MAX_REFLECTION_BYTES));
    Ok((health, workload_api::routes(identity, routes)))
}

fn listen(path: PathBuf, (mode, directory_mode): (u32, u32)) -> Result<Listener, AppError> {
    Ok(Listener::bind(&SocketOptions { path, mode, directory_mode })?)
}

/// Never ends by itself: it only says what happens, once.
async fn tell_of_drain(drain: &Drain, notifier: &Notifier, health: &ServiceHealth) {
    drain.requested().await;
    tracing::info!("stopping: requests under way are finished, streams are ended");
    health.draining().await;
    if let Err(error) = notifier.stopping() {
        tracing::warn!(%error, "the service manager was not told");
    }
    std::future::pending::<()>().await;
}

fn stop_on_signals(trigger: DrainTrigger) -> Result<(), AppError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AppError::system("cannot listen for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::system("cannot listen for SIGINT"))?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        trigger.request();
        // The trigger lives on: who asks late must not take its end for news.
        std::future::pending::<()>().await;
    });
    Ok(())
}
