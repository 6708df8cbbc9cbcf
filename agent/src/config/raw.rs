//! What was typed: each key with its default, its bounds and its form.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_common::document::{Problem, Problems, Reader, parse_toml, quoted};
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::Algorithm;
use tracing_subscriber::filter::Targets;

use super::{
    AdminApi, Admission, Attest, Audit, Authority, Config, Docker, Jwt, Log, LogFormat, Pkcs11, SecretSource, Upstream,
    WorkloadApi, X509, check,
};

/// The longest path of a socket in bytes: `sun_path` without its final NUL (unix(7)).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The longest name of a systemd credential (systemd.exec(5)).
const MAX_CREDENTIAL_NAME_BYTES: usize = 255;

/// How many users, and how many groups, may be named as operators.
const MAX_OPERATORS: usize = 1000;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const JWT_TTL: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(24 * 3600);
const X509_TTL: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(30 * 24 * 3600);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Reads a whole file: all keys, then what must hold between them.
pub(super) fn read(file: &str, text: &str) -> Result<Config, Vec<Problem>> {
    let document = parse_toml(file, text)?;
    let problems = Problems::new(file);
    let config = Reader::of_document(&document, &problems).and_then(|mut reader| {
        let config = config(&mut reader);
        reader.finish();
        config
    });
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems.into_sorted()),
    }
}

fn config(reader: &mut Reader<'_>) -> Option<Config> {
    reader.require("trust_domain");
    let trust_domain = reader
        .parsed("trust_domain", |text| TrustDomain::parse(text).map_err(|error| format!("{} {error}", quoted(text))));
    let data_dir = reader.parsed("data_dir", absolute).unwrap_or_else(|| "/var/lib/countersign".into());
    let drain = reader.duration("drain", Duration::ZERO..=5 * MINUTE).unwrap_or(10 * SECOND);
    let workload_api = workload_api(reader.mapping_or_empty("workload_api"));
    let admission = admission(reader.mapping_or_empty("admission"));
    let admin_api = admin_api(reader.mapping_or_empty("admin_api"), &workload_api.socket);
    let jwt = jwt(reader.mapping_or_empty("jwt"));
    let x509 = x509(reader.mapping_or_empty("x509"));
    let authority = authority(reader.mapping_or_empty("authority"), jwt.max_ttl, x509.max_ttl);
    let attest = attest(reader.mapping_or_empty("attest"));
    let audit = audit(reader.mapping_or_empty("audit"));
    let log = log(reader.mapping_or_empty("log"));
    let trust_domain = trust_domain?;
    Some(Config {
        trust_domain,
        data_dir,
        drain,
        workload_api,
        admission,
        admin_api,
        authority,
        jwt,
        x509,
        attest,
        audit,
        log,
    })
}

fn workload_api(mut reader: Reader<'_>) -> WorkloadApi {
    let socket = reader.parsed("socket", socket).unwrap_or_else(|| "/run/countersign/workload/agent.sock".into());
    let hold = reader.duration("hold", Duration::ZERO..=30 * SECOND).unwrap_or(SECOND);
    let max_connections = reader.unsigned("max_connections", 1..=65_536).and_then(size).unwrap_or(2048);
    reader.finish();
    WorkloadApi { socket, hold, max_connections }
}

fn admission(mut reader: Reader<'_>) -> Admission {
    let max_requests = reader.unsigned("max_requests", 1..=65_536).and_then(size).unwrap_or(1024);
    let max_streams = reader.unsigned("max_streams", 1..=1_048_576).and_then(size).unwrap_or(4096);
    let hash_bytes = reader.unsigned("hash_bytes", MIB..=1024 * GIB).unwrap_or(GIB);
    let hash_bytes_per_second = reader.unsigned("hash_bytes_per_second", KIB..=64 * GIB).unwrap_or(64 * MIB);
    reader.finish();
    Admission { max_requests, max_streams, hash_bytes, hash_bytes_per_second }
}

fn admin_api(mut reader: Reader<'_>, workload_socket: &Path) -> AdminApi {
    let own = reader.parsed("socket", socket).unwrap_or_else(|| "/run/countersign/admin/admin.sock".into());
    let uids = ids(&mut reader, "uids").unwrap_or_else(|| vec![0]);
    let gids = ids(&mut reader, "gids").unwrap_or_default();
    let read = AdminApi { socket: own, uids, gids };
    check::admin_api(&reader, &read, workload_socket);
    reader.finish();
    read
}

fn authority(mut reader: Reader<'_>, max_jwt_ttl: Duration, max_x509_ttl: Duration) -> Authority {
    let algorithms = [("ES256", Algorithm::Es256), ("RS256", Algorithm::Rs256)];
    let algorithm = reader.one_of("algorithm", &algorithms).unwrap_or(Algorithm::Es256);
    let key_life = reader.duration("key_life", MINUTE..=90 * 24 * HOUR).unwrap_or(24 * HOUR);
    let x509_key_life = reader.duration("x509_key_life", MINUTE..=365 * 24 * HOUR).unwrap_or(7 * 24 * HOUR);
    let upstream = reader.mapping("upstream").and_then(upstream);
    let sealing_key = secret_source(reader.mapping_or_empty("sealing_key"), "countersign-sealing-key");
    let pkcs11 = reader.mapping("pkcs11").and_then(pkcs11);
    let refresh_hint = whole_seconds(&mut reader, "refresh_hint", SECOND..=24 * HOUR).unwrap_or(5 * MINUTE);
    let read = Authority { algorithm, key_life, x509_key_life, upstream, sealing_key, pkcs11, refresh_hint };
    check::key_life(&reader, "key_life", read.key_life, [("jwt.max_ttl", max_jwt_ttl), ("refresh_hint", refresh_hint)]);
    let depends = [("x509.max_ttl", max_x509_ttl), ("refresh_hint", refresh_hint)];
    check::key_life(&reader, "x509_key_life", read.x509_key_life, depends);
    reader.finish();
    read
}

fn upstream(mut reader: Reader<'_>) -> Option<Upstream> {
    reader.require("certificate");
    reader.require("key");
    let certificate = reader.parsed("certificate", absolute);
    let key = reader.parsed("key", absolute);
    reader.finish();
    Some(Upstream { certificate: certificate?, key: key? })
}

fn pkcs11(mut reader: Reader<'_>) -> Option<Pkcs11> {
    reader.require("module");
    reader.require("token");
    let module = reader.parsed("module", absolute);
    let token = reader.parsed("token", check::token_label);
    let pin = secret_source(reader.mapping_or_empty("pin"), "countersign-pkcs11-pin");
    reader.finish();
    Some(Pkcs11 { module: module?, token: token?, pin })
}

/// A file or a credential; the credential `named` if neither is said.
fn secret_source(mut reader: Reader<'_>, named: &str) -> SecretSource {
    let file = reader.parsed("file", absolute);
    let credential = reader.parsed("credential", credential_name);
    if file.is_some() && credential.is_some() {
        reader.report("file", "stands beside credential: it is in one place, remove one of the two");
    }
    reader.finish();
    match (file, credential) {
        (Some(file), _) => SecretSource::File(file),
        (None, credential) => SecretSource::Credential(credential.unwrap_or_else(|| named.to_owned())),
    }
}

fn jwt(mut reader: Reader<'_>) -> Jwt {
    let issuer = reader.parsed("issuer", check::issuer);
    let default_ttl = whole_seconds(&mut reader, "default_ttl", JWT_TTL).unwrap_or(5 * MINUTE);
    let max_ttl = whole_seconds(&mut reader, "max_ttl", JWT_TTL).unwrap_or(HOUR);
    let read = Jwt { issuer, default_ttl, max_ttl };
    check::ttl(&reader, read.default_ttl, read.max_ttl);
    reader.finish();
    read
}

fn x509(mut reader: Reader<'_>) -> X509 {
    let default_ttl = whole_seconds(&mut reader, "default_ttl", X509_TTL).unwrap_or(HOUR);
    let max_ttl = whole_seconds(&mut reader, "max_ttl", X509_TTL).unwrap_or(24 * HOUR);
    check::ttl(&reader, default_ttl, max_ttl);
    reader.finish();
    X509 { default_ttl, max_ttl }
}

fn attest(mut reader: Reader<'_>) -> Attest {
    let max_executable_bytes = reader.unsigned("max_executable_bytes", MIB..=64 * GIB).unwrap_or(GIB);
    let parallel_hashes = reader.unsigned("parallel_hashes", 1..=64).and_then(size).unwrap_or(2);
    let docker = docker(reader.mapping_or_empty("docker"));
    reader.finish();
    Attest { max_executable_bytes, parallel_hashes, docker }
}

fn docker(mut reader: Reader<'_>) -> Docker {
    let socket = reader.parsed("socket", socket);
    reader.finish();
    Docker { socket }
}

fn audit(mut reader: Reader<'_>) -> Audit {
    let file = reader.parsed("file", absolute).unwrap_or_else(|| "/var/log/countersign/audit.log".into());
    let max_bytes = reader.unsigned("max_bytes", 64 * KIB..=16 * GIB).unwrap_or(100 * MIB);
    let keep = reader.unsigned("keep", 1..=1000).and_then(|keep| u32::try_from(keep).ok()).unwrap_or(10);
    reader.finish();
    Audit { file, max_bytes, keep }
}

fn log(mut reader: Reader<'_>) -> Log {
    let filter = reader.parsed("filter", |text| match text.parse::<Targets>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{} is not a filter such as info,countersign_agent=debug: {error}", quoted(text))),
    });
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = reader.one_of("format", &formats).unwrap_or(LogFormat::Text);
    reader.finish();
    Log { filter: filter.unwrap_or_else(|| "info".to_owned()), format }
}

/// Times in tokens and bundles are whole seconds.
fn whole_seconds(reader: &mut Reader<'_>, name: &'static str, bounds: RangeInclusive<Duration>) -> Option<Duration> {
    let duration = reader.duration(name, bounds)?;
    if duration.subsec_nanos() > 0 {
        reader.report(name, "is not a whole number of seconds");
    }
    Some(duration)
}

fn ids(reader: &mut Reader<'_>, name: &'static str) -> Option<Vec<u32>> {
    let id = |text: &str| text.parse().map_err(|_| format!("{} is not a number from 0 to {}", quoted(text), u32::MAX));
    Some(reader.list(name, MAX_OPERATORS, id)?.into_iter().map(|(_, id)| id).collect())
}

/// A path that means the same wherever the agent was started.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let plain = !text.contains('\0') && !path.components().any(|part| part == std::path::Component::ParentDir);
    if path.is_absolute() && plain {
        Ok(path)
    } else {
        Err(format!("{} is not an absolute path without ..", quoted(text)))
    }
}

fn socket(text: &str) -> Result<PathBuf, String> {
    if text.len() > MAX_SOCKET_PATH_BYTES {
        return Err(format!("has {} bytes; the path of a socket has at most {MAX_SOCKET_PATH_BYTES}", text.len()));
    }
    let path = absolute(text)?;
    if path.file_name().is_none() || text.ends_with('/') {
        return Err(format!("{} names a directory, not a socket in one", quoted(text)));
    }
    Ok(path)
}

/// A credential is a file in a directory of systemd's, so its name may not lead elsewhere.
fn credential_name(text: &str) -> Result<String, String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let fine = (1..=MAX_CREDENTIAL_NAME_BYTES).contains(&text.len()) && text.bytes().all(legal);
    if fine && !text.starts_with('.') {
        Ok(text.to_owned())
    } else {
        Err(format!("{} is not the name of a credential: letters, digits, . - _, no leading .", quoted(text)))
    }
}

fn size(number: u64) -> Option<usize> {
    usize::try_from(number).ok()
}
