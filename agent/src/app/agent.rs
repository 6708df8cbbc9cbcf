//! `countersign agent`, wired: what the configuration means for each room.

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign_common::clock::Clock;

use super::wiring::{self, Settings};
use super::{AppError, SystemClock, forbid_core_dumps};
use crate::admin_api::Access;
use crate::admission::{self, HashLimits};
use crate::attest;
use crate::audit::Audit;
use crate::authority::embedded::{self, Pkcs11Source, Pkcs11Token, SealingKey, SecretSource, Upstream, UpstreamSource};
use crate::config::{self, Config};
use crate::policy;
use crate::store::Store;

/// The database's name in the data directory.
pub(super) const STORE_FILE: &str = "countersign.redb";

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Why it cannot run.
pub async fn run_agent(config: Config) -> Result<(), AppError> {
    forbid_core_dumps()?;
    let path = config.data_dir.join(STORE_FILE);
    Box::pin(wiring::run(settings(config)?, || ())).await.map_err(|error| match error {
        AppError::Authority(source) => AppError::Database { path, source },
        other => other,
    })
}

/// The sealing key of the configuration.
pub(super) fn sealing_key(config: &Config) -> Result<SealingKey, AppError> {
    Ok(SealingKey::load(&secret_source(&config.authority.sealing_key))?)
}

/// The token of the configuration, if there is one, with its user logged in.
pub(super) fn token(config: &Config) -> Result<Option<Arc<Pkcs11Token>>, AppError> {
    let Some(found) = &config.authority.pkcs11 else { return Ok(None) };
    let (module, token) = (found.module.clone(), found.token.clone());
    let source = Pkcs11Source { module, token, pin: secret_source(&found.pin) };
    Ok(Some(Arc::new(Pkcs11Token::open(&source)?)))
}

fn secret_source(configured: &config::SecretSource) -> SecretSource {
    match configured {
        config::SecretSource::File(path) => SecretSource::File(path.clone()),
        config::SecretSource::Credential(name) => SecretSource::Credential(name.clone()),
    }
}

fn settings(config: Config) -> Result<Settings, AppError> {
    let (sealing_key, token) = (sealing_key(&config)?, token(&config)?);
    let upstream = config.authority.upstream.map(|found| {
        let source = UpstreamSource { certificate: found.certificate, key: found.key };
        Upstream::load(&source, &config.trust_domain, SystemClock.now())
    });
    Ok(Settings {
        sealing_key: Some(sealing_key),
        store: Store::open(&config.data_dir.join(STORE_FILE), &config.trust_domain)?,
        authority: embedded::Options {
            trust_domain: config.trust_domain,
            algorithm: config.authority.algorithm,
            key_life: config.authority.key_life,
            max_jwt_ttl: config.jwt.max_ttl,
            x509_key_life: config.authority.x509_key_life,
            max_x509_ttl: config.x509.max_ttl,
            upstream: upstream.transpose()?.map(Arc::new),
            token,
            refresh_hint: config.authority.refresh_hint,
            issuer: config.jwt.issuer,
        },
        limits: policy::Limits {
            default_jwt_ttl: config.jwt.default_ttl,
            max_jwt_ttl: config.jwt.max_ttl,
            default_x509_ttl: config.x509.default_ttl,
            max_x509_ttl: config.x509.max_ttl,
            lifted: BTreeSet::new(),
        },
        attest: attest::Limits {
            max_executable_bytes: config.attest.max_executable_bytes,
            parallel_hashes: config.attest.parallel_hashes,
        },
        daemons: attest::Daemons { docker: config.attest.docker.socket },
        audit: Audit::to_file(&config.audit.file, config.audit.max_bytes, config.audit.keep)?,
        workload_socket: config.workload_api.socket,
        admission: admission::Limits {
            connections: config.workload_api.max_connections,
            requests: config.admission.max_requests,
            streams: config.admission.max_streams,
        },
        hashing: HashLimits { burst: config.admission.hash_bytes, per_second: config.admission.hash_bytes_per_second },
        hold: config.workload_api.hold,
        admin_socket: config.admin_api.socket,
        admin_access: Access { uids: config.admin_api.uids, gids: config.admin_api.gids, read_only: None },
        drain_limit: config.drain,
    })
}
