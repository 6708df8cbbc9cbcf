//! `countersign bundle set` and `countersign bundle delete`: what they say, and what they warn of.

use std::path::Path;

use countersign_common::bundle::MAX_BUNDLE_BYTES;
use countersign_common::proto::admin::{
    BundleSummary, ChangeKind, DeleteBundleRequest, DeleteBundleResponse, SetBundleRequest,
};
use countersign_common::spiffe_id::TrustDomain;

use crate::cli::admin_socket::AdminSocket;
use crate::cli::input;
use crate::cli::outcome::CliError;

/// What to print, and what to warn of.
pub(super) type Said = (String, Option<String>);

/// Sets the bundle of `trust_domain` to the document in `file`.
///
/// # Errors
/// Why it was not set, and with which exit code.
pub(super) async fn set(
    socket: &AdminSocket,
    trust_domain: &TrustDomain,
    file: &Path,
    force: bool,
) -> Result<Said, CliError> {
    let document = input::read(file, MAX_BUNDLE_BYTES)?.text;
    let request = SetBundleRequest { trust_domain: trust_domain.to_string(), document, force };
    let answer = super::connect(socket).await?.set(request).await;
    let answer = answer.map_err(|status| CliError::from_status(&status))?.into_inner();
    let happened = match answer.kind() {
        ChangeKind::Created => "created",
        ChangeKind::Updated => "updated",
        ChangeKind::Unchanged => "unchanged",
        ChangeKind::Unspecified | ChangeKind::Deleted => "changed",
    };
    let BundleSummary { sequence, jwt_keys, x509_keys, .. } = answer.bundle.unwrap_or_default();
    let keys = [keys(jwt_keys, "JWT"), keys(x509_keys, "X.509")].join(", ");
    let warning = (jwt_keys + x509_keys == 0).then(|| {
        format!("this bundle has no key that the agent uses: no SVID of {trust_domain} is valid while it is set")
    });
    Ok((format!("bundle/{trust_domain} {happened} (sequence {sequence}, {keys})"), warning))
}

/// Deletes the bundle of `trust_domain`.
///
/// # Errors
/// Why it was not deleted, and with which exit code.
pub(super) async fn delete(socket: &AdminSocket, trust_domain: &TrustDomain) -> Result<Said, CliError> {
    let request = DeleteBundleRequest { trust_domain: trust_domain.to_string() };
    let answer = super::connect(socket).await?.delete(request).await;
    let left = answer.map_err(|status| CliError::from_status(&status))?.into_inner();
    Ok((format!("bundle/{trust_domain} deleted"), still_federating(trust_domain, &left)))
}

fn still_federating(trust_domain: &TrustDomain, left: &DeleteBundleResponse) -> Option<String> {
    let more = match left.entries_left_out {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = left.entries.join(", ");
    (!named.is_empty()).then(|| {
        format!("these entries still federate with {trust_domain}, and no SVID of it is valid for them: {named}{more}")
    })
}

fn keys(count: u64, kind: &str) -> String {
    format!("{count} {kind} key{}", if count == 1 { "" } else { "s" })
}
