//! What one decision leaves behind. There is no field for a token, a key or a proof: a
//! record names a token by its `jti`.
//!
//! Text that a caller may have chosen (its executable's path, the audiences it asked for)
//! is cut to a bound when it is written; see [`super::line`].

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use super::line;

/// One decision. Times are RFC 3339; durations are microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    /// When it was decided.
    #[serde(serialize_with = "line::text")]
    pub time: String,
    /// What was asked for: `jwt_svid`, `x509_svid`, `jwt_bundles`, `x509_bundles`, `validate_jwt_svid`,
    /// `entry_apply`, `bundle_set`, ...; `admission` for connections and requests that were refused before
    /// they were looked at.
    pub event: &'static str,
    /// `issued`, `refused`, `abandoned` (the caller went away), `served`, `ended` (a stream, by the
    /// agent), `valid`, `invalid`; for changes by operators `created`, `updated`, `deleted`,
    /// `prepared`, `activated`, `tainted`, `revoked`, `taken`, `failed`, which is also a renewal that is tried
    /// again.
    pub outcome: &'static str,
    /// Why, for operators; empty when issued. For a bundle that an operator changes: which one.
    #[serde(skip_serializing_if = "String::is_empty", serialize_with = "line::text")]
    pub reason: String,
    /// Who asked. Its members stand beside these, behind them.
    #[serde(skip)]
    pub whom: Arc<Whom>,
    /// The entry that matched.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_text")]
    pub entry: Option<String>,
    /// The signing key that an operator changed, by its name.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_text")]
    pub key: Option<String>,
    /// The identity in question.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_text")]
    pub spiffe_id: Option<String>,
    /// The audiences asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "line::list")]
    pub audience: Vec<String>,
    /// Name of the token; the token itself is in no record.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_text")]
    pub jti: Option<String>,
    /// Serial number of the X509-SVID in hexadecimal; neither certificate nor key is in any record.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_text")]
    pub serial: Option<String>,
    /// Serial number of the X509-SVID that this one took the place of, if it is a renewal.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_text")]
    pub replaces: Option<String>,
    /// The X.509 authority that signed it: its subject key id in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_text")]
    pub authority: Option<String>,
    /// When the SVID expires.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_text")]
    pub expires: Option<String>,
    /// Whether the token was issued before and handed out again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
    /// How long each stage took.
    pub duration_us: Stages,
}

/// Who asked. The same in every record that rests on one attestation, so it is put into words once.
#[derive(Debug, Default)]
pub struct Whom {
    known: Known,
    words: OnceLock<Box<[u8]>>,
}

#[derive(Debug, Default, Serialize)]
struct Known {
    #[serde(flatten)]
    caller: Caller,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "line::list")]
    selectors: Vec<String>,
}

impl Whom {
    /// The process, and which selectors were found to hold for it.
    pub fn new(caller: Caller, selectors: Vec<String>) -> Self {
        Self { known: Known { caller, selectors }, words: OnceLock::new() }
    }

    /// The process.
    pub fn caller(&self) -> &Caller {
        &self.known.caller
    }

    /// Its members as JSON, without the braces around them.
    pub(super) fn words(&self) -> Result<&[u8], serde_json::Error> {
        if let Some(words) = self.words.get() {
            return Ok(words);
        }
        let object = line::object(&self.known)?;
        let members = object.strip_prefix(b"{").and_then(|object| object.strip_suffix(b"}")).unwrap_or_default();
        Ok(self.words.get_or_init(|| members.into()))
    }
}

impl From<Caller> for Arc<Whom> {
    fn from(caller: Caller) -> Self {
        Self::new(Whom::new(caller, Vec::new()))
    }
}

/// The process that asked.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Caller {
    /// Pid in the agent's pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot; with the pid it names the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
    /// Effective user id.
    pub uid: u32,
    /// Path of the executable. Bytes that are not UTF-8 are written as U+FFFD.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_path")]
    pub exe: Option<PathBuf>,
    /// SHA-256 of the executable, where it was taken.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_text")]
    pub sha256: Option<String>,
    /// Cgroup path.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "line::maybe_text")]
    pub cgroup: Option<String>,
}

/// Microseconds spent in each stage; 0 for a stage that was not reached.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Stages {
    /// Evidence to selectors.
    pub attest: u64,
    /// Waiting for an entry to match.
    pub hold: u64,
    /// Selectors to entries.
    pub r#match: u64,
    /// Policy.
    pub authorize: u64,
    /// Signing or finding the SVID.
    pub issue: u64,
}
