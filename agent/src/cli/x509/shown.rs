//! Identities as they are printed.

use std::io::{Write, stdout};

use clap::ValueEnum;
use countersign_common::untrusted::inert_lines;
use serde_json::{Map, Value, json};

use super::files::chain_and_key;
use super::message::{Identities, Svid};
use crate::cli::outcome::CliError;
use crate::cli::{output, table};

/// How identities are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One JSON value.
    Json,
    /// The same as YAML.
    Yaml,
    /// The chain and the private key of the first SVID. The other formats show no key.
    Pem,
}

/// Prints to standard output.
///
/// # Errors
/// Standard output takes no more.
pub(super) fn print(identities: &Identities, format: Format) -> Result<(), CliError> {
    let text = match format {
        Format::Table => as_table(identities)?,
        Format::Json => serde_json::to_string_pretty(&as_value(identities)).map_err(CliError::output)?,
        Format::Yaml => output::yaml(&as_value(identities), 0),
        Format::Pem => return identities.svids.first().map_or(Ok(()), print_pem),
    };
    writeln!(stdout(), "{}", inert_lines(&text)).map_err(CliError::output)
}

fn print_pem(svid: &Svid) -> Result<(), CliError> {
    let mut output = stdout().lock();
    output.write_all(chain_and_key(svid).expose()).and_then(|()| output.flush()).map_err(CliError::output)
}

fn as_table(identities: &Identities) -> Result<String, CliError> {
    let heading = ["SPIFFE ID", "HINT", "SERIAL", "NOT BEFORE", "NOT AFTER", "AUTHORITY", "CERTIFICATES"];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(identities.svids.iter().map(|svid| {
        [
            svid.spiffe_id.to_string(),
            svid.hint.clone(),
            svid.leaf.serial.clone(),
            svid.leaf.not_before.to_string(),
            svid.leaf.not_after.to_string(),
            svid.leaf.authority_key_id.clone().unwrap_or_else(|| "-".to_owned()),
            svid.chain.len().to_string(),
        ]
    }));
    table::columns(&rows)
}

fn as_value(identities: &Identities) -> Value {
    let svids = identities.svids.iter().map(|svid| {
        json!({
            "spiffe_id": svid.spiffe_id.as_str(),
            "hint": svid.hint,
            "serial": svid.leaf.serial,
            "not_before": svid.leaf.not_before.to_string(),
            "not_after": svid.leaf.not_after.to_string(),
            "authority_key_id": svid.leaf.authority_key_id,
            "key_algorithm": svid.leaf.key_algorithm,
            "dns_names": svid.leaf.dns_names,
            "certificates": svid.chain.len(),
            "bundle_certificates": svid.bundle.len(),
        })
    });
    let federated = identities.federated.iter();
    let federated: Map<_, _> =
        federated.map(|(domain, bundle)| (domain.to_string(), Value::from(bundle.len()))).collect();
    json!({ "svids": svids.collect::<Vec<_>>(), "federated_bundle_certificates": federated })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn what_is_shown_tells_every_identity_and_no_key() {
        let answer = samples::answer(&[samples::svid("a", "in\u{1b}side"), samples::svid("b", "")]);
        let identities = Identities::read(answer).unwrap();
        let (table, value) = (as_table(&identities).unwrap(), as_value(&identities));
        assert_eq!(table.lines().count(), 3);
        assert!(table.contains("spiffe://example.org/b") && table.contains("in?side"), "{table}");
        assert_eq!(value["svids"][0]["certificates"], 1);
        assert_eq!(value["svids"][0]["not_after"], "2100-01-01T00:00:00Z");
        assert_eq!(value["svids"][0]["key_algorithm"], "EC P-256");
        let serial = identities.svids[0].leaf.serial.as_str();
        assert!(table.contains(serial) && value["svids"][0]["serial"] == serial, "{table}");
        assert!(!format!("{table}{value}").contains("PRIVATE"));
    }
}
