//! Cases of `FetchJWTBundles`.

use serde_json::json;

use crate::bed::{Bed, Keys};
use crate::client::{Client, Language};

/// The stream tells of a prepared key before it signs; tokens of that key are then valid to
/// the library and to the agent.
pub(crate) async fn follows_a_key_change(language: Language) {
    let bed = Bed::entitled(language).await;
    let before = bed.authority("show");
    let mut watching = bed.start(&["watch", "2", "60"]);
    let bundle = |keys: &Keys| json!({"event": "bundle", "trust_domains": ["example.org"], "kids": keys.all});
    assert_eq!(watching.hear().await, bundle(&before));
    let prepared = bed.authority("prepare");
    assert_eq!((prepared.all.len(), &prepared.active), (2, &before.active));
    assert_eq!(watching.end().await, [bundle(&prepared)]);

    let old = bed.run(&["fetch", "billing"]).await;
    assert_eq!(old[0]["kid"], before.active);
    let activated = bed.authority("activate");
    assert_ne!(activated.active, before.active);
    let new = bed.run(&["fetch", "billing"]).await;
    assert_eq!(new[0]["kid"], activated.active);
}

/// A watch goes on by itself over an agent that is stopped and started, and over one that is
/// killed: it tells of the key that the agent made after it came back.
pub(crate) async fn goes_on_over_a_restart(language: Language) {
    let mut bed = Bed::entitled(language).await;
    let mut watching = bed.start(&["watch", "100", "120"]);
    watching.hear().await;

    assert!(bed.agent.terminate().await.success());
    bed.agent.restart().await;
    hear_of_next_key(&bed, &mut watching).await;

    bed.agent.kill();
    bed.agent.restart().await;
    hear_of_next_key(&bed, &mut watching).await;
}

/// Changes the key and listens until the client has heard of it.
async fn hear_of_next_key(bed: &Bed, watching: &mut Client) {
    let prepared = bed.authority("prepare");
    while watching.hear().await["kids"] != json!(prepared.all) {}
    bed.authority("activate");
}
