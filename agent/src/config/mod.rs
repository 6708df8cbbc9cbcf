//! What the configuration file means: every value read, defaulted and within its bounds.
//!
//! `raw` reads what was typed, key by key; `check` holds the values against each other.
//! Nothing here is global: `app` hands each room the part that it needs.
//! `deploy/config/agent.toml` shows every key.

mod check;
mod file;
mod raw;

use std::path::PathBuf;
use std::time::Duration;

use countersign_common::document::Problem;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::Algorithm;

pub use file::ConfigError;

/// The configuration of `countersign agent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The trust domain that the agent issues for. Required.
    pub trust_domain: TrustDomain,
    /// Directory of the database and the sealed keys. Default `/var/lib/countersign`.
    pub data_dir: PathBuf,
    /// How long the agent waits at its end for what is under way. Default 10 s, 0 s to 5 min.
    pub drain: Duration,
    /// Where and how workloads are served.
    pub workload_api: WorkloadApi,
    /// How much callers may ask for.
    pub admission: Admission,
    /// Where operators are served, and who is one.
    pub admin_api: AdminApi,
    /// The embedded authority's keys.
    pub authority: Authority,
    /// JWT-SVIDs.
    pub jwt: Jwt,
    /// X509-SVIDs.
    pub x509: X509,
    /// How evidence is gathered.
    pub attest: Attest,
    /// The record of every decision.
    pub audit: Audit,
    /// The operational log.
    pub log: Log,
}

/// Where and how workloads are served.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadApi {
    /// The socket that workloads connect to; at most 107 bytes (unix(7), `sun_path`).
    /// Default `/run/countersign/workload/agent.sock`.
    pub socket: PathBuf,
    /// How long a caller without an entry is held, and answered the moment that one
    /// arrives. Default 1 s, 0 s (off) to 30 s.
    pub hold: Duration,
    /// How many connections are open at once, all callers together. Default 2048, 1 to 65536.
    pub max_connections: usize,
}

/// How much callers may ask for, all together; shared fairly between users and cgroups.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// Requests in flight at once. Default 1024, 1 to 65536.
    pub max_requests: usize,
    /// Streams open at once. Default 4096, 1 to 1048576.
    pub max_streams: usize,
    /// Bytes of executables that are hashed for one cgroup at once, after a pause. Default 1 GiB,
    /// 1 MiB to 1 TiB.
    pub hash_bytes: u64,
    /// How many of these come back in a second. Default 64 MiB, 1 KiB to 64 GiB.
    pub hash_bytes_per_second: u64,
}

/// Where operators are served, and who is one. At least one user or group is named.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminApi {
    /// The socket of the admin API; at most 107 bytes, and in a directory of its own.
    /// Default `/run/countersign/admin/admin.sock`.
    pub socket: PathBuf,
    /// Effective user ids that may use it. Default root alone.
    pub uids: Vec<u32>,
    /// Group ids whose members may use it. Default none.
    pub gids: Vec<u32>,
}

/// The embedded authority's keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Authority {
    /// What new keys sign with: ES256 (default) or RS256.
    pub algorithm: Algorithm,
    /// How long a key signs before the next one takes over; it stays published for the
    /// longest token life after that. Default 24 h, 1 min to 90 days, and at least four times
    /// each of `jwt.max_ttl` and `refresh_hint`.
    pub key_life: Duration,
    /// How long an X.509 authority signs before the next one takes over; it stays published for
    /// the longest life of an X509-SVID after that. Default 7 days, 1 min to 365 days, and at least
    /// four times each of the longest life of an X509-SVID and `refresh_hint`.
    pub x509_key_life: Duration,
    /// The root above the X.509 authorities. Default none, and then each signs its own certificate.
    pub upstream: Option<Upstream>,
    /// What the authority's state is sealed under at rest.
    pub sealing_key: SecretSource,
    /// The token that holds the signing keys. Default none, and then they are in the sealed state.
    pub pkcs11: Option<Pkcs11>,
    /// How often others are told to fetch the bundle again (`spiffe_refresh_hint`,
    /// `SPIFFE_Trust_Domain_and_Bundle.md`, section 4.1.2). Whole seconds. Default 5 min, 1 s to 24 h.
    pub refresh_hint: Duration,
}

/// A root above the X.509 authorities, and the key that signs them.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// PEM: the certificate of the key, then those above it, the root last.
    pub certificate: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

/// A PKCS#11 token.
#[derive(Clone, Debug, PartialEq)]
pub struct Pkcs11 {
    /// The module, a shared library.
    pub module: PathBuf,
    /// The token's label: 1 to 32 characters.
    pub token: String,
    /// Where the PIN of its user is.
    pub pin: SecretSource,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A systemd credential of this name (systemd.exec(5), `LoadCredentialEncrypted=`).
    Credential(String),
}

/// JWT-SVIDs.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    /// The `iss` claim: an `https` URL without query and fragment. Default none, and then no claim.
    pub issuer: Option<String>,
    /// Life of a token whose entry names none. Whole seconds. Default 5 min, 10 s to 24 h.
    pub default_ttl: Duration,
    /// The longest life of any token, whatever its entry says. Whole seconds. Default 1 h,
    /// 10 s to 24 h, and not below `default_ttl`.
    pub max_ttl: Duration,
}

/// X509-SVIDs.
#[derive(Clone, Debug, PartialEq)]
pub struct X509 {
    /// Life of an X509-SVID whose entry names none. Whole seconds. Default 1 h, 10 s to 30 days.
    pub default_ttl: Duration,
    /// The longest life of any X509-SVID, whatever its entry says. Whole seconds. Default 24 h,
    /// 10 s to 30 days, and not below `default_ttl`.
    pub max_ttl: Duration,
}

/// How evidence is gathered.
#[derive(Clone, Debug, PartialEq)]
pub struct Attest {
    /// The largest executable that is hashed, in bytes. Default 1 GiB, 1 MiB to 64 GiB.
    pub max_executable_bytes: u64,
    /// How many executables are hashed at once. Default 2, 1 to 64.
    pub parallel_hashes: usize,
    /// The Docker daemon.
    pub docker: Docker,
}

/// The Docker daemon, which tells what is in its containers.
#[derive(Clone, Debug, PartialEq)]
pub struct Docker {
    /// Its socket; at most 107 bytes. Default none, and then no daemon is asked.
    pub socket: Option<PathBuf>,
}

/// The record of every decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// The file, one JSON object a line. Default `/var/log/countersign/audit.log`.
    pub file: PathBuf,
    /// The size in bytes at which a new file is begun. Default 100 MiB, 64 KiB to 16 GiB.
    pub max_bytes: u64,
    /// How many full files are kept beside the current one. Default 10, 1 to 1000.
    pub keep: u32,
}

/// The operational log.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// What is logged: a level, or levels by target such as `info,countersign_agent=debug`.
    /// Default `info`.
    pub filter: String,
    /// Default text.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads the text of a configuration file; `file` is its name in problems.
    ///
    /// # Errors
    /// Every problem of the text, in the order of its lines.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        raw::read(file, text)
    }
}

#[cfg(test)]
mod tests;
