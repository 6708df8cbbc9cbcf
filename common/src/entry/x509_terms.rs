//! The `x509:` part of an entry: for how long, and which DNS names beside the SPIFFE ID.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::read::life_within;
use super::{X509Terms, check_dns_name};
use crate::document::{Reader, quoted};

/// How many DNS names an entry may list.
const MAX_DNS_NAMES: usize = 32;

/// How long an X509-SVID may live.
const TTL: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);

/// Reads the terms; what is absent has its default.
pub(super) fn read(mut reader: Reader<'_>) -> X509Terms {
    let ttl = reader.parsed("ttl", |text| life_within(text, &TTL));
    let mut dns_names = Vec::new();
    reader.list("dns_names", MAX_DNS_NAMES, |text| {
        check_dns_name(text).map_err(|error| format!("{} {error}", quoted(text)))?;
        if dns_names.iter().any(|name| name == text) {
            return Err(format!("{} stands twice", quoted(text)));
        }
        dns_names.push(text.to_owned());
        Ok(())
    });
    reader.finish();
    X509Terms { ttl, dns_names: dns_names.into() }
}
