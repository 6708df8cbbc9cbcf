//! The authority as a table for people and as a value for machines.

use countersign_common::clock::Timestamp;
use countersign_common::proto::admin::ShowAuthorityResponse;
use serde_json::json;

use crate::cli::outcome::CliError;
use crate::cli::table;

pub(super) fn as_table(shown: &ShowAuthorityResponse) -> Result<String, CliError> {
    let mut rows =
        vec![["KIND", "KEY", "ALGORITHM", "HELD IN", "STATE", "CREATED", "ACTIVATES", "ENDS"].map(str::to_owned)];
    for key in &shown.jwt_keys {
        let [created, activates, ends] = [key.created, key.activates, key.ends].map(time);
        let (kid, algorithm, held_in) = (key.kid.clone(), key.algorithm.clone(), key.held_in.clone());
        rows.push(["jwt".to_owned(), kid, algorithm, held_in, key.state.clone(), created, activates, ends]);
    }
    for key in &shown.x509_authorities {
        let [created, activates, ends] = [key.created, key.activates, key.ends].map(time);
        let (id, algorithm, held_in) = (key.subject_key_id.clone(), key.algorithm.clone(), key.held_in.clone());
        rows.push(["x509".to_owned(), id, algorithm, held_in, key.state.clone(), created, activates, ends]);
    }
    let roots: std::collections::BTreeSet<_> = shown.x509_authorities.iter().map(|key| key.root.as_str()).collect();
    let roots = roots.into_iter().filter(|root| !root.is_empty()).map(|root| format!("upstream root   {root}\n"));
    Ok(format!(
        "trust domain    {}\nbundle          sequence {}\nnext rotation   jwt {}, x509 {}\n{}\n{}",
        shown.trust_domain,
        shown.bundle_sequence,
        planned(shown.next_rotation_at),
        planned(shown.next_x509_rotation_at),
        roots.collect::<String>(),
        table::columns(&rows)?
    ))
}

pub(super) fn as_value(shown: &ShowAuthorityResponse) -> serde_json::Value {
    let keys = shown.jwt_keys.iter().map(|key| {
        json!({
            "kid": key.kid,
            "algorithm": key.algorithm,
            "held_in": key.held_in,
            "state": key.state,
            "created": time(key.created),
            "activates": time(key.activates),
            "ends": time(key.ends),
        })
    });
    let authorities = shown.x509_authorities.iter().map(|key| {
        json!({
            "subject_key_id": key.subject_key_id,
            "algorithm": key.algorithm,
            "held_in": key.held_in,
            "state": key.state,
            "created": time(key.created),
            "activates": time(key.activates),
            "ends": time(key.ends),
            "root": (!key.root.is_empty()).then_some(&key.root),
        })
    });
    let next = |at: u64| (at > 0).then(|| time(at));
    json!({
        "trust_domain": shown.trust_domain,
        "bundle_sequence": shown.bundle_sequence,
        "next_rotation_at": next(shown.next_rotation_at),
        "jwt_keys": keys.collect::<Vec<_>>(),
        "next_x509_rotation_at": next(shown.next_x509_rotation_at),
        "x509_authorities": authorities.collect::<Vec<_>>(),
    })
}

fn planned(at: u64) -> String {
    if at == 0 { "none planned".to_owned() } else { time(at) }
}

fn time(seconds: u64) -> String {
    Timestamp::from_seconds(seconds).to_string()
}
