//! Cases of `FetchJWTSVID` and `ValidateJWTSVID`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bed::{Bed, by_uid, entry};
use crate::client::Language;

/// The program validates each token by its library and by the agent before it tells of it.
pub(crate) async fn fetches_and_validates(language: Language) {
    let bed = Bed::entitled(language).await;
    let client = bed.start(&["fetch", "billing"]);
    let pid = client.pid();
    let told = client.end().await;
    let [svid] = told.as_slice() else { panic!("one SVID: {told:?}") };
    assert_eq!(svid["spiffe_id"], "spiffe://example.org/orders");
    assert_eq!(svid["audience"], json!(["billing"]));
    assert_eq!(svid["kid"], bed.authority("show").active);
    let record = bed.agent.audited(pid, "issued").await;
    assert_eq!(record["jti"], svid["jti"], "the record is of the token that the client holds");
}

/// One process gets its token again, another process one of its own.
pub(crate) async fn reuses_a_token_within_a_process_only(language: Language) {
    let bed = Bed::entitled(language).await;
    let (first, second) = (bed.start(&["fetch-twice", "billing"]), bed.start(&["fetch-twice", "billing"]));
    let jti = |events: Vec<Value>| -> Vec<String> {
        events.iter().map(|event| event["jti"].as_str().expect("a token with jti").to_owned()).collect()
    };
    let (first, second) = (jti(first.end().await), jti(second.end().await));
    assert_eq!((first.len(), second.len()), (2, 2));
    assert_eq!(first[0], first[1]);
    assert_eq!(second[0], second[1]);
    assert_ne!(first[0], second[0]);
}

/// All identities of a process, in the order of the entries' ids.
pub(crate) async fn fetches_all_identities(language: Language) {
    let bed = Bed::new(language).await;
    bed.agent.apply(&(entry("stock", &by_uid()) + &entry("orders", &by_uid())));
    let told = bed.run(&["fetch-all", "billing"]).await;
    let ids: Vec<_> = told.iter().map(|event| event["spiffe_id"].as_str().expect("a SPIFFE ID")).collect();
    assert_eq!(ids, ["spiffe://example.org/orders", "spiffe://example.org/stock"]);
}

/// Ten calls at once through one client: all of them are answered.
pub(crate) async fn fetches_many_at_once(language: Language) {
    let bed = Bed::entitled(language).await;
    let told = bed.run(&["fetch-together", "billing", "10"]).await;
    let tokens: BTreeSet<_> = told.iter().map(|event| event["jti"].as_str().expect("a token with jti")).collect();
    assert_eq!((told.len(), tokens.len()), (10, 1), "one process, one token: {told:?}");
}

/// Without an entry, and for an audience that the entry does not list.
pub(crate) async fn is_refused_with_the_right_code(language: Language) {
    let bed = Bed::new(language).await;
    let denied = [json!({"event": "refused", "code": "PERMISSION_DENIED"})];
    let stranger = bed.start(&["refused", "billing"]);
    let pid = stranger.pid();
    assert_eq!(stranger.end().await, denied);
    let record = bed.agent.audited(pid, "refused").await;
    assert_eq!(record["reason"], "no entry matches the selectors of this process");

    bed.agent.apply(&entry("orders", &by_uid()));
    let entitled = bed.start(&["refused", "payroll"]);
    let pid = entitled.pid();
    assert_eq!(entitled.end().await, denied);
    let record = bed.agent.audited(pid, "refused").await;
    assert!(record["reason"].as_str().is_some_and(|reason| reason.contains("payroll")), "{record}");
}

/// A token for one audience is not valid for another, neither to the library nor to the agent.
pub(crate) async fn is_refused_the_validation_for_another_audience(language: Language) {
    let bed = Bed::entitled(language).await;
    let told = bed.run(&["refused-validation", "billing", "payroll"]).await;
    assert_eq!(told, [json!({"event": "refused", "code": "INVALID_ARGUMENT"})]);
}

/// An entry that names the program by its path: this program, and no other of the same user.
/// For a script that is its interpreter.
pub(crate) async fn is_selected_by_its_path(language: Language) {
    let bed = Bed::new(language).await;
    let program = language.executable();
    bed.agent.apply(&entry("orders", &[format!("unix:path:{}", program.display())]));
    let told = bed.run(&["fetch", "billing"]).await;
    assert_eq!(told[0]["spiffe_id"], "spiffe://example.org/orders");
    if language != Language::Python {
        let copy = bed.agent.folder().join("copy");
        std::fs::copy(&program, &copy).expect("a copy");
        let told = bed.start_program(&copy, &["refused", "billing"]).end().await;
        assert_eq!(told, [json!({"event": "refused", "code": "PERMISSION_DENIED"})]);
    }
}
