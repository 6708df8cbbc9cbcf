//! X509-SVIDs and X.509 bundles: what is fetched once, and a source that does what it is told.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use spiffe::{
    SpiffeId, WorkloadApiClient, X509Bundle, X509BundleSet, X509Source, X509SourceError, X509SourceUpdates, X509Svid,
};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};
use tokio::time::timeout;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{CALL_LIMIT, Outcome, say, say_refusal};

fn parse(certificate: &spiffe::Certificate) -> Outcome<X509Certificate<'_>> {
    Ok(X509Certificate::from_der(certificate.as_bytes())?.1)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The id of the key that signed this certificate.
fn authority_of(certificate: &X509Certificate<'_>) -> Outcome<String> {
    let found = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| hex(id.0)),
        _ => None,
    });
    found.ok_or_else(|| "a certificate without an authority key id".into())
}

/// The id of the key that this certificate is for.
fn key_id_of(certificate: &X509Certificate<'_>) -> Outcome<String> {
    let found = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(hex(id.0)),
        _ => None,
    });
    found.ok_or_else(|| "an authority without a subject key id".into())
}

/// The authorities of a bundle, by their subject key ids.
fn authorities_of(bundle: &X509Bundle) -> Outcome<Vec<String>> {
    let mut ids = Vec::new();
    for authority in bundle.authorities() {
        ids.push(key_id_of(&parse(authority)?)?);
    }
    ids.sort();
    Ok(ids)
}

/// The library leaves both to its user: that the key is the leaf's, and that the chain leads to the bundle.
fn check(svid: &X509Svid, bundle: &X509Bundle) -> Outcome {
    let leaf = parse(svid.leaf())?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, svid.private_key().as_bytes())?;
    if key.public_key().as_ref() != leaf.public_key().subject_public_key.data.as_ref() {
        return Err("the key is not the leaf's".into());
    }
    let chain = svid.cert_chain().iter().map(parse).collect::<Outcome<Vec<_>>>()?;
    for pair in chain.windows(2) {
        pair[0].verify_signature(Some(pair[1].public_key()))?;
    }
    let last = chain.last().ok_or("an SVID without certificates")?;
    let authority = authority_of(last)?;
    for candidate in bundle.authorities() {
        let candidate = parse(candidate)?;
        if key_id_of(&candidate)? == authority {
            return Ok(last.verify_signature(Some(candidate.public_key()))?);
        }
    }
    Err(format!("no authority {authority} in the bundle").into())
}

fn say_x509_svid(svid: &X509Svid, bundles: &X509BundleSet) -> Outcome {
    let id: &SpiffeId = svid.spiffe_id();
    let bundle = bundles.get(id.trust_domain()).ok_or("no bundle of the SVID's trust domain")?;
    check(svid, &bundle)?;
    let leaf = parse(svid.leaf())?;
    say(&json!({
        "event": "x509-svid",
        "spiffe_id": id.to_string(),
        "hint": svid.hint().unwrap_or_default(),
        "serial": hex(&leaf.serial.to_bytes_be()),
        "not_before": leaf.validity().not_before.timestamp(),
        "not_after": leaf.validity().not_after.timestamp(),
        "authority": authority_of(&leaf)?,
        "authorities": authorities_of(&bundle)?,
    }));
    Ok(())
}

/// Fetches the SVIDs of all identities.
pub(crate) async fn fetch() -> Outcome {
    let context = WorkloadApiClient::connect_env().await?.fetch_x509_context().await?;
    context.svids().iter().try_for_each(|svid| say_x509_svid(svid, context.bundle_set()))
}

/// Expects that there is none.
pub(crate) async fn refused() -> Outcome {
    say_refusal(WorkloadApiClient::connect_env().await?.fetch_all_x509_svids().await)
}

/// Opens a source and answers one command a line until there are no more.
pub(crate) async fn hold() -> Outcome {
    let source = timeout(CALL_LIMIT, X509Source::new()).await??;
    let mut updates = source.updated();
    say_current(&source)?;
    let mut commands = BufReader::new(stdin()).lines();
    while let Some(command) = commands.next_line().await? {
        obey(&command, &source, &mut updates).await?;
    }
    Ok(())
}

async fn obey(command: &str, source: &X509Source, updates: &mut X509SourceUpdates) -> Outcome {
    match command {
        "svid" => say_current(source),
        "next" => {
            updates.changed().await?;
            say_current(source)
        }
        "bundles" => say_bundles().await,
        other => Err(format!("no such command: {other}").into()),
    }
}

/// What the source holds now, as one SVID with the bundle that came with it. This library takes both away
/// when the agent denies.
fn say_current(source: &X509Source) -> Outcome {
    let state = source.state();
    match state.svid() {
        Ok(svid) => say_x509_svid(&svid, state.context()?.bundle_set()),
        Err(X509SourceError::Withdrawn(_)) => {
            say(&json!({"event": "withdrawn"}));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks anew, by the call for bundles: the source goes by that for SVIDs.
async fn say_bundles() -> Outcome {
    let set = WorkloadApiClient::connect_env().await?.fetch_x509_bundles().await?;
    let mut bundles = serde_json::Map::new();
    for (domain, bundle) in set.iter() {
        bundles.insert(domain.to_string(), Value::from(authorities_of(bundle)?));
    }
    say(&json!({"event": "x509-bundles", "bundles": bundles}));
    Ok(())
}
