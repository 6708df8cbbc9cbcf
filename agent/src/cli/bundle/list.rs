//! `countersign bundle list`.

use std::time::Duration;

use countersign_common::document::duration_text;
use countersign_common::proto::admin::{BundleSummary, ListBundlesRequest};
use serde_json::{Value, json};

use crate::cli::admin_socket::AdminSocket;
use crate::cli::outcome::CliError;
use crate::cli::output::Output;
use crate::cli::table;

/// What the agent knows of each trust domain, its own first.
///
/// # Errors
/// Why it could not be listed, and with which exit code.
pub(super) async fn list(socket: &AdminSocket, output: &Output) -> Result<String, CliError> {
    let answer = super::connect(socket).await?.list(ListBundlesRequest {}).await;
    let bundles = answer.map_err(|status| CliError::from_status(&status))?.into_inner().bundles;
    output.render(|| as_table(&bundles), || Ok(bundles.iter().map(as_value).collect()))
}

fn as_table(bundles: &[BundleSummary]) -> Result<String, CliError> {
    let heading = ["TRUST DOMAIN", "KIND", "SEQUENCE", "JWT KEYS", "X.509 KEYS", "REFRESH HINT", "ENTRIES"];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(bundles.iter().map(|bundle| {
        // Every entry is given the own one.
        let entries = if bundle.own { "all".to_owned() } else { bundle.entries.to_string() };
        [
            bundle.trust_domain.clone(),
            kind(bundle).to_owned(),
            bundle.sequence.to_string(),
            bundle.jwt_keys.to_string(),
            bundle.x509_keys.to_string(),
            refresh_hint(bundle),
            entries,
        ]
    }));
    table::columns(&rows)
}

fn as_value(bundle: &BundleSummary) -> Value {
    json!({
        "trust_domain": bundle.trust_domain,
        "kind": kind(bundle),
        "sequence": bundle.sequence,
        "jwt_keys": bundle.jwt_keys,
        "x509_keys": bundle.x509_keys,
        "refresh_hint": refresh_hint(bundle),
        "federating_entries": (!bundle.own).then_some(bundle.entries),
    })
}

fn kind(bundle: &BundleSummary) -> &'static str {
    if bundle.own { "own" } else { "foreign" }
}

fn refresh_hint(bundle: &BundleSummary) -> String {
    duration_text(Duration::from_secs(bundle.refresh_hint_seconds))
}
