//! Registration entries: which process is entitled to which SPIFFE ID, on which terms.

mod audience;
mod dns_name;
mod image_rule;
mod jwt_terms;
mod read;
mod write;
mod x509_terms;

use std::sync::Arc;
use std::time::Duration;

pub use audience::{AudienceError, AudiencePattern, Audiences};
pub use dns_name::{DnsNameError, check_dns_name};
pub use image_rule::ImageRule;
pub use read::{parse_entries, parse_sources};
pub use write::to_yaml;

use crate::clock::Timestamp;
use crate::selector::{SelectorKind, SelectorSet};
use crate::spiffe_id::{SpiffeId, TrustDomain};

/// An entry's name, chosen by the operator and stable: 1 to 128 bytes of `a-z A-Z 0-9 . - _ /`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(Arc<str>);

impl EntryId {
    /// Parses an id; `None` if it breaks the rule above.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/');
        ((1..=128).contains(&text.len()) && text.bytes().all(legal)).then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A registration entry. All of its selectors must hold for a process to be entitled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The operator's name for it.
    pub id: EntryId,
    /// The identity that it grants.
    pub spiffe_id: SpiffeId,
    /// What must hold of the process; never empty.
    pub selectors: SelectorSet,
    /// Rules about the image that are not held against the process, in their order; most often empty.
    pub allow: Box<[ImageRule]>,
    /// Terms of JWT-SVIDs; an empty list of audiences grants none.
    pub jwt: JwtTerms,
    /// Terms of X509-SVIDs, which every entry grants whose SPIFFE ID has a path (X509-SVID.md, section 3.1).
    pub x509: X509Terms,
    /// Other trust domains whose bundles the workload is given, in their order; never its own, at most 100.
    pub federates_with: Box<[TrustDomain]>,
    /// Tells several identities of one workload apart; at most 1024 bytes
    /// (`SPIFFE_Workload_API.md`, section 6.2.1), without control characters.
    pub hint: Option<Box<str>>,
    /// Who answers for it; for people. At most 1024 bytes, without control characters.
    pub owner: Option<Box<str>>,
    /// When somebody should look at it again; for people.
    pub review_by: Option<Date>,
    /// From this day (00:00 UTC) on the entry grants nothing.
    pub expires: Option<Date>,
}

impl Entry {
    /// Whether the entry says which image it means, so that what else the process runs matters.
    pub fn names_image(&self) -> bool {
        let image = [SelectorKind::UnixPath, SelectorKind::UnixSha256];
        self.selectors.iter().any(|selector| image.contains(&selector.kind()))
    }
}

/// The terms on which JWT-SVIDs are issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtTerms {
    /// Which audiences may be asked for.
    pub audiences: Audiences,
    /// How many audiences one token may name: 1 to 100. Default 1.
    pub max_audiences: u32,
    /// Life of a token: whole seconds from 10 seconds to 24 hours; `None` for the agent's default.
    pub ttl: Option<Duration>,
    /// Lives for single audience patterns, with the bounds of `ttl`; each pattern is one of
    /// `audiences` and none stands twice. No pattern here is the word `default`, which is
    /// how a file names `ttl` beside them.
    pub audience_ttl: Box<[(AudiencePattern, Duration)]>,
}

impl Default for JwtTerms {
    /// No audiences, so no JWT-SVIDs.
    fn default() -> Self {
        Self { audiences: Audiences::default(), max_audiences: 1, ttl: None, audience_ttl: Box::default() }
    }
}

/// The terms on which X509-SVIDs are issued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct X509Terms {
    /// Life of a leaf: whole seconds from one minute to 30 days; `None` for the agent's default.
    pub ttl: Option<Duration>,
    /// DNS names beside the SPIFFE ID, in the order of the entry; at most 32, none twice, each as
    /// [`check_dns_name`] has it.
    pub dns_names: Box<[String]>,
}

/// A day of the calendar in UTC, written `2027-09-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Days since 1970-01-01.
    day: u32,
}

const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

impl Date {
    /// Parses `YYYY-MM-DD`; `None` if it is no day.
    pub fn parse(text: &str) -> Option<Self> {
        let begins: Timestamp = humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok()?.into();
        let day = u32::try_from(begins.seconds() / SECONDS_OF_A_DAY).ok()?;
        (text.len() == 10).then_some(Self { day })
    }

    /// The first second of the day, UTC.
    pub fn begins(self) -> Timestamp {
        Timestamp::from_seconds(u64::from(self.day) * SECONDS_OF_A_DAY)
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.begins().to_string().get(..10).unwrap_or_default())
    }
}

/// All entries as of one revision, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct EntrySet {
    /// Rises by one with each commit that changes something.
    pub revision: u64,
    /// The entries, sorted by id.
    pub entries: Vec<Arc<Entry>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_day_of_the_calendar_and_begins_at_midnight_utc() {
        for (text, seconds) in [("1970-01-01", 0), ("2027-09-01", 1_819_756_800), ("2028-02-29", 1_835_395_200)] {
            let date = Date::parse(text).unwrap();
            assert_eq!((date.begins().seconds(), date.to_string().as_str()), (seconds, text));
        }
        for text in ["", "2027-02-29", "2027-13-01", "2027-00-10", "2027-9-01", "01.09.2027", "2027-09-01T00:00:00Z"] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }

    /// An agent may keep a hundred thousand of them: what is seldom said should not be large.
    #[test]
    fn an_entry_is_no_larger_than_it_was() {
        assert_eq!(size_of::<Entry>(), 216);
    }

    #[test]
    fn an_id_has_few_characters_and_a_bound() {
        let longest = "x".repeat(128);
        for text in ["a", "team/orders-api_2.0", &longest] {
            assert_eq!(EntryId::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "a b", "a:b", "\u{e9}", &"x".repeat(129)] {
            assert_eq!(EntryId::parse(text), None, "{text}");
        }
    }
}
