//! Cases of `FetchX509SVID` and `FetchX509Bundles`: what is fetched once, and sources that are held.

use countersign_tests::LIMIT;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::bed::{Bed, by_uid, entry};
use crate::client::{Client, Language};

/// The program checks each SVID before it tells of it: the key, the chain, the bundle.
pub(crate) async fn fetches_svids(language: Language) {
    let bed = Bed::entitled(language).await;
    let client = bed.start(&["x509-fetch"]);
    let pid = client.pid();
    let told = client.end().await;
    let [svid] = told.as_slice() else { panic!("one SVID: {told:?}") };
    assert_eq!(svid["spiffe_id"], "spiffe://example.org/orders");
    assert_eq!(svid["authorities"], json!([svid["authority"]]));
    let record = bed.agent.audited(pid, "issued").await;
    assert_eq!(record["serial"], svid["serial"], "the record is of the SVID that the client holds");
}

/// All identities of a process, in the order of the entries' ids, each with a key of its own.
pub(crate) async fn fetches_svids_of_all_identities(language: Language) {
    let bed = Bed::new(language).await;
    bed.agent.apply(&(entry("stock", &by_uid()) + &entry("orders", &by_uid()) + "hint: internal\n"));
    let told = bed.run(&["x509-fetch"]).await;
    let ids: Vec<_> = told.iter().map(|svid| &svid["spiffe_id"]).collect();
    assert_eq!(ids, ["spiffe://example.org/orders", "spiffe://example.org/stock"]);
    assert_ne!(told[0]["serial"], told[1]["serial"]);
    // The library of Python keeps hints to itself.
    if language != Language::Python {
        assert_eq!([&told[0]["hint"], &told[1]["hint"]], ["internal", ""]);
    }
}

pub(crate) async fn is_refused_svids_with_the_right_code(language: Language) {
    let bed = Bed::new(language).await;
    let stranger = bed.start(&["x509-refused"]);
    let pid = stranger.pid();
    assert_eq!(stranger.end().await, [json!({"event": "refused", "code": "PERMISSION_DENIED"})]);
    let record = bed.agent.audited(pid, "refused").await;
    assert_eq!(record["event"], "x509_svid");
}

/// A source is renewed before what it holds expires, again and again.
pub(crate) async fn holds_a_source_through_renewals(language: Language) {
    let bed = Bed::short_lived(language).await;
    let mut source = Source::open(&bed).await;
    for _ in 0..2 {
        let before = source.svid.clone();
        source.renewed().await;
        assert_eq!(source.svid["authority"], before["authority"]);
        assert_eq!(source.svid["spiffe_id"], before["spiffe_id"]);
    }
}

/// The next authority is in the hands of a source before it signs anything, and takes over when
/// it is told to.
pub(crate) async fn holds_a_source_through_a_rotation(language: Language) {
    let bed = Bed::short_lived(language).await;
    let mut source = Source::open(&bed).await;
    let before = bed.x509_authority(&["show"]);
    assert_eq!(source.svid["authority"], before.active);
    assert_eq!(source.bundles().await, json!({"example.org": before.all}));

    let prepared = bed.x509_authority(&["prepare", "--kind", "x509"]);
    assert_eq!((prepared.all.len(), &prepared.active), (2, &before.active));
    source.until("the prepared authority", |svid| svid["authorities"] == json!(prepared.all)).await;
    source.renewed().await;
    assert_eq!(source.svid["authority"], before.active, "what is prepared signs nothing");
    assert_eq!(source.bundles().await, json!({"example.org": prepared.all}));

    let activated = bed.x509_authority(&["activate", "--kind", "x509"]);
    assert_ne!(activated.active, before.active);
    source.until("an SVID of the next authority", |svid| svid["authority"] == activated.active).await;
    // The authority before it stays published for those who hold an SVID of it.
    assert_eq!(source.svid["authorities"], json!(prepared.all));
}

/// An SVID of an authority that is no longer to be trusted is replaced at once, not when it is due.
pub(crate) async fn holds_a_source_through_a_taint(language: Language) {
    let bed = Bed::entitled(language).await;
    let mut source = Source::open(&bed).await;
    let before = bed.x509_authority(&["show"]);
    let prepared = bed.x509_authority(&["prepare", "--kind", "x509"]);
    source.until("the prepared authority", |svid| svid["authorities"] == json!(prepared.all)).await;
    let tainted = bed.x509_authority(&["taint", &before.active]);
    assert_ne!(tainted.active, before.active);
    source.until("an SVID of another authority", |svid| svid["authority"] == tainted.active).await;
}

/// An agent that is killed and comes back has the same authority; a source connects again by itself, and
/// what it held is good until then.
pub(crate) async fn holds_a_source_over_a_restart(language: Language) {
    let mut bed = Bed::entitled(language).await;
    let mut source = Source::open(&bed).await;
    let before = bed.x509_authority(&["show"]);
    bed.agent.kill();
    source.current().await;
    assert_eq!(source.svid["authority"], before.active);
    bed.agent.restart().await;
    source.renewed().await;
    assert_eq!(bed.x509_authority(&["show"]), before);
    assert_eq!(source.svid["authority"], before.active);
    assert_eq!(source.svid["authorities"], json!(before.all));

    let prepared = bed.x509_authority(&["prepare", "--kind", "x509"]);
    source.until("the prepared authority", |svid| svid["authorities"] == json!(prepared.all)).await;
}

/// With the entry the stream goes, and with the entry it comes back. Of the libraries Rust's alone takes
/// back what it gave.
pub(crate) async fn holds_a_source_while_its_entry_goes_and_comes(language: Language) {
    let bed = Bed::entitled(language).await;
    let mut source = Source::open(&bed).await;
    let deleted = bed.agent.operator(&["entry", "delete", "orders"], "");
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    // It asks again, and is told no.
    bed.agent.audited(source.client.pid(), "refused").await;
    if language == Language::Rust {
        assert_eq!(source.client.ask("next").await, json!({"event": "withdrawn"}));
    }
    bed.agent.apply(&entry("orders", &by_uid()));
    source.renewed().await;
    assert_eq!(source.svid["spiffe_id"], "spiffe://example.org/orders");
}

/// A client that holds an X.509 source, and the SVID that it told of last.
pub(crate) struct Source {
    pub(crate) client: Client,
    pub(crate) svid: Value,
}

impl Source {
    async fn open(bed: &Bed) -> Self {
        Self::of(bed.start(&["x509-hold"])).await
    }

    /// A client that was started with `x509-hold`.
    pub(crate) async fn of(mut client: Client) -> Self {
        let svid = client.hear().await;
        let source = Self { client, svid };
        source.check();
        source
    }

    /// What the client has told of is an SVID that is valid now.
    #[allow(clippy::disallowed_methods, reason = "the client goes by the machine's clock")]
    fn check(&self) {
        assert_eq!(self.svid["event"], "x509-svid", "{}", self.svid);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let time = |name: &str| self.svid[name].as_u64().expect("seconds");
        assert!((time("not_before")..=time("not_after")).contains(&now), "at {now}: {}", self.svid);
    }

    /// Looks at what the source holds now.
    pub(crate) async fn current(&mut self) {
        self.svid = self.client.ask("svid").await;
        self.check();
    }

    /// Waits until the source holds another SVID than last time.
    async fn renewed(&mut self) {
        let before = self.svid.clone();
        self.until("another SVID", |svid| svid["serial"] != before["serial"]).await;
        assert!(self.svid["not_after"].as_u64() >= before["not_after"].as_u64(), "{before} {}", self.svid);
    }

    /// Waits until the source holds an SVID with its bundle that `is_it`.
    pub(crate) async fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) {
        let listening = async {
            while !is_it(&self.svid) {
                self.svid = self.client.ask("next").await;
                self.check();
            }
        };
        timeout(LIMIT, listening).await.unwrap_or_else(|_| panic!("waited {LIMIT:?} in vain for {what}"));
    }

    /// The X.509 bundles as a call of their own tells them.
    async fn bundles(&mut self) -> Value {
        let told = self.client.ask("bundles").await;
        assert_eq!(told["event"], "x509-bundles", "{told}");
        told["bundles"].clone()
    }
}
