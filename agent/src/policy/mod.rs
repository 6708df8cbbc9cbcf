//! Pure decisions: what a matched entry allows. The only maker of a [`Grant`].

mod image;
mod jwt;
#[cfg(test)]
mod tests;
mod x509;

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_common::clock::Timestamp;
use countersign_common::entry::{AudiencePattern, Date, EntryId, ImageRule};
use countersign_common::selector::Selector;
use countersign_common::spiffe_id::SpiffeId;

use crate::peer::ProcessInstance;

pub use image::check_image;
pub use jwt::authorize_jwt;
#[cfg(test)]
pub(crate) use x509::x509_grant_for_tests;
pub use x509::{X509Grant, authorize_x509};

/// What the agent's configuration allows at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Life of a JWT-SVID whose entry says nothing.
    pub default_jwt_ttl: Duration,
    /// Longest life of a JWT-SVID, whatever an entry says.
    pub max_jwt_ttl: Duration,
    /// Life of an X509-SVID whose entry says nothing.
    pub default_x509_ttl: Duration,
    /// Longest life of an X509-SVID, whatever an entry says.
    pub max_x509_ttl: Duration,
    /// Rules about the image that are lifted for every entry: none, but on a laptop.
    pub lifted: BTreeSet<ImageRule>,
}

/// Leave to sign one JWT-SVID with these terms, for this process and no other.
/// Made only by [`authorize_jwt`]; signing takes a reference to it.
///
/// Whoever holds a grant may read it:
///
/// ```
/// use std::time::Duration;
/// use countersign_agent::policy::Grant;
///
/// fn longer(grant: Grant, ttl: Duration) -> (Duration, Grant) {
///     (ttl, grant)
/// }
///
/// fn life(grant: &Grant) -> Duration {
///     grant.ttl()
/// }
/// ```
///
/// and can neither make one out of another:
///
/// ```compile_fail,E0451
/// use std::time::Duration;
/// use countersign_agent::policy::Grant;
///
/// fn longer(grant: Grant, ttl: Duration) -> (Duration, Grant) {
///     (ttl, Grant { ttl, ..grant })
/// }
///
/// fn life(grant: &Grant) -> Duration {
///     grant.ttl()
/// }
/// ```
///
/// nor change the one that it holds:
///
/// ```compile_fail,E0616
/// use std::time::Duration;
/// use countersign_agent::policy::Grant;
///
/// fn longer(mut grant: Grant, ttl: Duration) -> (Duration, Grant) {
///     grant.ttl = ttl;
///     (ttl, grant)
/// }
///
/// fn life(grant: &Grant) -> Duration {
///     grant.ttl()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    entry: EntryId,
    instance: ProcessInstance,
    spiffe_id: SpiffeId,
    audiences: Vec<String>,
    ttl: Duration,
    not_after: Option<Timestamp>,
}

impl Grant {
    /// The entry that allows it.
    pub fn entry(&self) -> &EntryId {
        &self.entry
    }

    /// The process that the token will belong to.
    pub fn instance(&self) -> &ProcessInstance {
        &self.instance
    }

    /// The identity.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The audiences, as asked for, without repetitions.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Life of the token from its issue on; at least a second.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// No token under this grant is valid at or after this time (the entry's `expires`).
    pub fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }
}

/// Why policy refuses. `Display` is for operators and says what to change; the caller on the
/// workload socket learns none of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// The entry demands something that the attestation does not hold.
    #[error(
        "entry {entry} demands {selector}, which the process does not have; register an entry with selectors that the process has"
    )]
    NotEntitled {
        /// Which entry.
        entry: EntryId,
        /// The first selector that does not hold.
        selector: Selector,
    },
    /// The entry demands nothing, so it would be everybody's.
    #[error("entry {entry} has no selectors, so it is nobody's; give it at least one")]
    NoSelectors {
        /// Which entry.
        entry: EntryId,
    },
    /// The entry has had its day.
    #[error("entry {entry} expired on {expires}; move its expires to a later day, or delete it")]
    Expired {
        /// Which entry.
        entry: EntryId,
        /// From which day on it grants nothing.
        expires: Date,
    },
    /// The image of the process breaks a rule that the entry does not lift.
    #[error("{why}; {remedy}, or lift the rule in entry {entry} if that is meant: allow: [{rule}]")]
    Image {
        /// Which entry.
        entry: EntryId,
        /// Which rule.
        rule: ImageRule,
        /// What was found.
        why: String,
        /// What to do about the process.
        remedy: &'static str,
    },
    /// A rule about the image, which the entry does not lift, could not be judged.
    #[error("cannot tell whether the process keeps the rule {rule}, which entry {entry} does not lift: {why}")]
    ImageUnjudged {
        /// Which entry.
        entry: EntryId,
        /// Which rule.
        rule: ImageRule,
        /// What was in the way.
        why: String,
    },
    /// The entry lists no audiences at all.
    #[error("entry {entry} lists no audiences, so it grants no JWT-SVIDs; list them in jwt.audiences")]
    NoAudiences {
        /// Which entry.
        entry: EntryId,
    },
    /// The caller named no audience (JWT-SVID.md, section 3.2: a token has at least one).
    #[error("the workload asked for no audience; it has to name the one that it will call")]
    NoneRequested,
    /// The caller named an audience without a name.
    #[error("the workload asked for an empty audience; it has to name the one that it will call")]
    EmptyAudience,
    /// Longer than any entry could name.
    #[error("the workload asked for an audience of {bytes} bytes; the longest is {} bytes", AudiencePattern::MAX_BYTES)]
    AudienceTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// One token for more audiences than the entry lets one token have.
    #[error(
        "the workload asked for {requested} audiences in one JWT-SVID and entry {entry} allows {allowed}; \
        let it fetch one JWT-SVID for each, or raise jwt.max_audiences"
    )]
    TooManyAudiences {
        /// Which entry.
        entry: EntryId,
        /// How many different audiences were asked for.
        requested: usize,
        /// How many the entry allows.
        allowed: u32,
    },
    /// No pattern of the entry allows the audience.
    #[error(
        "entry {entry} does not allow the audience {}; add it to jwt.audiences if the workload should have it",
        shown(audience)
    )]
    AudienceNotAllowed {
        /// Which entry.
        entry: EntryId,
        /// The audience, as asked for.
        audience: String,
    },
    /// The SPIFFE ID is that of the trust domain, which no X509-SVID may have (X509-SVID.md, section 3.1).
    #[error(
        "entry {entry} grants the SPIFFE ID of the trust domain itself, for which there is no X509-SVID; give it a path"
    )]
    NoPath {
        /// Which entry.
        entry: EntryId,
    },
    /// More entries match than one message has SVIDs of.
    #[error(
        "entry {entry} is one of more than {limit} that match one process, which is as many X509-SVIDs as one message \
        has; give its workloads a process each, or selectors that tell them apart"
    )]
    TooManySvids {
        /// Which entry.
        entry: EntryId,
        /// How many a message has.
        limit: usize,
    },
    /// The terms leave the X509-SVID no time to be valid in.
    #[error(
        "entry {entry} and the agent's limits leave an X509-SVID less than a second of life; \
        raise x509.ttl of the entry, or the agent's limits"
    )]
    NoX509Life {
        /// Which entry.
        entry: EntryId,
    },
    /// The terms leave the token no time to be valid in.
    #[error(
        "entry {entry} and the agent's limits leave a JWT-SVID less than a second of life; \
        raise jwt.ttl of the entry, or the agent's limits"
    )]
    NoLife {
        /// Which entry.
        entry: EntryId,
    },
}

impl PolicyRefusal {
    /// Whether nothing was decided, since something could not be told.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::ImageUnjudged { .. })
    }
}

/// An audience as it may stand in a log: quoted, control characters escaped, cut to a line.
fn shown(audience: &str) -> String {
    const SHOWN: usize = 100;
    let cut: String = audience.chars().take(SHOWN).collect();
    let dots = if cut.len() < audience.len() { "..." } else { "" };
    format!("{cut:?}{dots}")
}

/// A grant that says what a test of another room wants it to say.
#[cfg(test)]
pub(crate) fn grant_for_tests(
    spiffe_id: SpiffeId,
    audiences: Vec<String>,
    ttl: Duration,
    not_after: Option<Timestamp>,
) -> Grant {
    let executable = crate::peer::FileIdentity { dev: 0, ino: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
    let instance = ProcessInstance { pid: 1, start_time: 1, executable };
    let entry = EntryId::parse("test").unwrap();
    Grant { entry, instance, spiffe_id, audiences, ttl, not_after }
}

#[cfg(test)]
impl Grant {
    /// The same for another process.
    pub(crate) fn of_process(mut self, pid: i32) -> Self {
        self.instance.pid = pid;
        self
    }

    /// The same for a process that runs another image.
    pub(crate) fn of_image(mut self, ino: u64) -> Self {
        self.instance.executable.ino = ino;
        self
    }
}
