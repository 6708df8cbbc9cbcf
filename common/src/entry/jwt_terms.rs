//! The `jwt:` part of an entry: audiences, how many at once, and for how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::read::life_within;
use super::{AudiencePattern, JwtTerms};
use crate::document::{Reader, near_miss, quoted};

/// How many audience patterns an entry may list.
const MAX_AUDIENCES: usize = 1000;

/// How many audiences one token may name, whatever an entry says.
const MAX_AUDIENCES_OF_A_TOKEN: u32 = 100;

/// How long a JWT-SVID may live.
const TTL: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(24 * 3600);

/// How `ttl` names all audiences that have no life of their own.
pub(super) const REST: &str = "default";

/// Reads the terms; what is absent has its default.
pub(super) fn read(mut reader: Reader<'_>) -> JwtTerms {
    let mut audiences = Vec::new();
    reader.list("audiences", MAX_AUDIENCES, |text| {
        let pattern = audience(text)?;
        if audiences.contains(&pattern) {
            return Err(format!("{} stands twice", quoted(text)));
        }
        audiences.push(pattern);
        Ok(())
    });
    let max_audiences = reader.unsigned("max_audiences", 1..=u64::from(MAX_AUDIENCES_OF_A_TOKEN));
    let (ttl, audience_ttl) = ttl(&mut reader, &audiences);
    bind(&mut reader);
    reader.finish();
    let max_audiences = max_audiences.and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
    JwtTerms { audiences: audiences.iter().collect(), max_audiences, ttl, audience_ttl: audience_ttl.into() }
}

/// Reads `ttl`: one duration for all, or one for each of some audience patterns.
fn ttl(reader: &mut Reader<'_>, audiences: &[AudiencePattern]) -> (Option<Duration>, Vec<(AudiencePattern, Duration)>) {
    let name = "ttl";
    let Some(fields) = reader.open_mapping(name) else {
        return (reader.parsed(name, life), Vec::new());
    };
    let (mut rest, mut single) = (None, Vec::new());
    for field in fields {
        let life = reader.parsed_field(name, field, life);
        if field.name == REST {
            rest = life;
            continue;
        }
        let listed = audience(&field.name).and_then(|pattern| {
            let listed = audiences.contains(&pattern);
            listed.then_some(pattern).ok_or_else(|| unlisted(&field.name, audiences))
        });
        let pattern = reader.parsed_field(name, field, |_| listed);
        single.extend(pattern.zip(life));
    }
    (rest, single)
}

/// Why a name in `ttl` is refused; a near miss is suggested.
fn unlisted(name: &str, audiences: &[AudiencePattern]) -> String {
    let meant = match near_miss(name, audiences.iter().map(AudiencePattern::as_str).chain([REST])) {
        Some(meant) => format!(", did you mean {}?", quoted(meant)),
        None => format!("; {REST} stands for those without a life of their own"),
    };
    format!("{} is not one of the audiences{meant}", quoted(name))
}

/// Reads `bind`, which says what a token is bound to.
fn bind(reader: &mut Reader<'_>) {
    reader.parsed("bind", |text| match text {
        "none" => Ok(()),
        "x509" | "key" => Err(format!("{} is not served: {}", quoted(text), super::read::UNSERVED)),
        _ => Err(format!("unknown value {}; only none is known here", quoted(text))),
    });
}

fn audience(text: &str) -> Result<AudiencePattern, String> {
    AudiencePattern::parse(text).map_err(|error| format!("{} {error}", quoted(text)))
}

fn life(text: &str) -> Result<Duration, String> {
    life_within(text, &TTL)
}
