//! An entry as it stands in the database: JSON, every field, nothing that is not known.
//!
//! A shape of its own, apart from the YAML of operators: that one may learn to be read more
//! kindly, this one must read what was written years ago, byte for byte the same entry.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_common::entry::{
    AudiencePattern, Date, Entry, EntryId, ImageRule, JwtTerms, X509Terms, check_dns_name,
};
use countersign_common::selector::SelectorError;
use countersign_common::spiffe_id::{SpiffeId, TrustDomain};
use serde::{Deserialize, Serialize};

/// The shape at rest. Its fields are part of the database's format: a new one needs a new
/// format version, or a default that means what its absence meant.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    spiffe_id: String,
    selectors: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    audiences: Vec<String>,
    max_audiences: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Duration>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    audience_ttl: Vec<(String, Duration)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x509_ttl: Option<Duration>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dns_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    federates_with: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    review_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

/// The entry as it is stored under its id.
pub(super) fn encode(entry: &Entry) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Record {
        spiffe_id: entry.spiffe_id.to_string(),
        selectors: entry.selectors.iter().map(|selector| selector.to_string()).collect(),
        allow: entry.allow.iter().map(ToString::to_string).collect(),
        audiences: entry.jwt.audiences.iter().map(str::to_owned).collect(),
        max_audiences: entry.jwt.max_audiences,
        ttl: entry.jwt.ttl,
        audience_ttl: entry.jwt.audience_ttl.iter().map(|(audience, ttl)| (audience.to_string(), *ttl)).collect(),
        x509_ttl: entry.x509.ttl,
        dns_names: entry.x509.dns_names.to_vec(),
        federates_with: entry.federates_with.iter().map(ToString::to_string).collect(),
        hint: entry.hint.as_deref().map(str::to_owned),
        owner: entry.owner.as_deref().map(str::to_owned),
        review_by: entry.review_by.map(|day| day.to_string()),
        expires: entry.expires.map(|day| day.to_string()),
    })
}

/// The entry that is stored under `id`.
///
/// # Errors
/// What is wrong with the record; whoever wrote it was not this program, or the disk lost it.
pub(super) fn decode(id: &str, json: &str) -> Result<Entry, String> {
    let record: Record = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let selectors: Result<_, SelectorError> = record.selectors.iter().map(|text| text.parse()).collect();
    let allow: Result<BTreeSet<_>, String> = record.allow.iter().map(|text| rule(text)).collect();
    let audiences: Result<Vec<_>, String> = record.audiences.iter().map(|text| pattern(text)).collect();
    let audience_ttl: Result<_, String> =
        record.audience_ttl.iter().map(|(text, ttl)| Ok((pattern(text)?, *ttl))).collect();
    let federates_with: Result<BTreeSet<_>, String> =
        record.federates_with.iter().map(|text| trust_domain(text)).collect();
    Ok(Entry {
        id: EntryId::parse(id).ok_or("the id is not an entry id")?,
        spiffe_id: SpiffeId::parse(&record.spiffe_id).map_err(|error| error.to_string())?,
        selectors: selectors.map_err(|error| error.to_string())?,
        allow: allow?.into_iter().collect(),
        jwt: JwtTerms {
            audiences: audiences?.iter().collect(),
            max_audiences: record.max_audiences,
            ttl: record.ttl,
            audience_ttl: audience_ttl?,
        },
        x509: X509Terms { ttl: record.x509_ttl, dns_names: dns_names(record.dns_names)?.into() },
        federates_with: federates_with?.into_iter().collect(),
        hint: record.hint.map(Into::into),
        owner: record.owner.map(Into::into),
        review_by: record.review_by.as_deref().map(day).transpose()?,
        expires: record.expires.as_deref().map(day).transpose()?,
    })
}

fn pattern(text: &str) -> Result<AudiencePattern, String> {
    AudiencePattern::parse(text).map_err(|error| format!("the audience {text:?} {error}"))
}

fn dns_names(names: Vec<String>) -> Result<Vec<String>, String> {
    for name in &names {
        check_dns_name(name).map_err(|error| format!("the DNS name {name:?} {error}"))?;
    }
    Ok(names)
}

fn trust_domain(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::parse(text).map_err(|error| format!("{text:?} {error}"))
}

fn rule(text: &str) -> Result<ImageRule, String> {
    ImageRule::parse(text).ok_or_else(|| format!("{text:?} is not a rule about the image"))
}

fn day(text: &str) -> Result<Date, String> {
    Date::parse(text).ok_or_else(|| format!("{text:?} is not a day"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::any_entry;
    use super::*;

    proptest! {
        #[test]
        fn every_entry_is_read_as_it_was_written(entry in any_entry()) {
            let json = encode(&entry).unwrap();
            prop_assert_eq!(decode(entry.id.as_str(), &json), Ok(entry));
        }

        #[test]
        fn no_bytes_are_read_as_something_else(
            entry in any_entry(),
            (at, byte) in (any::<prop::sample::Index>(), 0x20..0x7fu8),
        ) {
            let json = encode(&entry).unwrap();
            let mut bytes = json.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let changed = String::from_utf8(bytes);
            // What is still a record says of itself what it says.
            if let Ok(read) = changed.as_deref().map_err(ToString::to_string).and_then(|json| decode("a", json)) {
                prop_assert_eq!(decode("a", &encode(&read).unwrap()), Ok(read));
            }
        }
    }

    /// The format at rest: a change of these bytes needs a new format version.
    #[test]
    fn the_shape_at_rest_is_this_one() {
        let full = concat!(
            r#"{"spiffe_id":"spiffe://example.org/a","selectors":["unix:uid:1"],"allow":["traced"],"#,
            r#""audiences":["b","s/*"],"#,
            r#""max_audiences":2,"ttl":{"secs":300,"nanos":0},"audience_ttl":[["s/*",{"secs":30,"nanos":0}]],"#,
            r#""x509_ttl":{"secs":3600,"nanos":0},"dns_names":["b.internal","*.a"],"federates_with":["other.example"],"#,
            r#""hint":"h","owner":"o","review_by":"2027-03-01","expires":"2027-09-01"}"#,
        );
        assert_eq!(encode(&decode("a", full).unwrap()).unwrap(), full);
        let bare =
            r#"{"spiffe_id":"spiffe://example.org/a","selectors":["unix:uid:1"],"audiences":[],"max_audiences":1}"#;
        assert_eq!(encode(&decode("a", bare).unwrap()).unwrap(), bare);
        let least = decode("a", bare).unwrap();
        assert!(least.allow.is_empty() && least.federates_with.is_empty());
        assert_eq!((least.x509, least.jwt), (X509Terms::default(), JwtTerms::default()));
        assert!(decode("a", &bare.replace("max_audiences", "max_audience")).unwrap_err().contains("unknown field"));
    }

    #[test]
    fn what_no_entry_can_say_is_damage() {
        let with = |field: &str| {
            let record =
                r#"{"spiffe_id":"spiffe://example.org/a","selectors":["unix:uid:1"],"audiences":[],"max_audiences":1"#;
            decode("a", &format!("{record},{field}}}"))
        };
        assert!(with(r#""dns_names":["a.b"],"federates_with":["c"]"#).is_ok());
        assert_eq!(
            with(r#""dns_names":["A.b"]"#).unwrap_err(),
            r#"the DNS name "A.b" has upper case: write it in lower case"#
        );
        assert!(with(r#""federates_with":["spiffe://c"]"#).unwrap_err().contains("spiffe://c"));
    }
}
