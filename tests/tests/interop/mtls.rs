//! Mutual TLS between workloads in Go and Python, each of which calls the other every 50 ms on a new
//! handshake with what its source holds, through everything that happens to SVIDs.

use countersign_tests::{AgentSettings, LIMIT};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::bed::{Bed, entry};
use crate::client::Language;
use crate::x509::Source;

/// As many calls after something happened are calls enough.
const SOME: &str = "calls 20";

/// Long enough for an agent to be away, short enough to wait for the renewal.
const TTL: &str = "default_ttl = \"30s\"";

#[tokio::test]
async fn go_and_python_call_each_other_without_one_failure_through_all_changes() {
    if !Language::Go.built_or_skip() || !Language::Python.built_or_skip() {
        return;
    }
    let mut bed = Bed::with(Language::Go, AgentSettings { x509: TTL, ..AgentSettings::default() }).await;
    bed.agent.apply(&ENTRIES.map(|(id, language)| by_program(id, language)).concat());
    let mut pair = Pair::start(&bed).await;
    let first = bed.x509_authority(&["show"]);
    pair.until("calls with the first authority", |call| by(call, &first.active)).await;

    // Renewal.
    let [go, python] = pair.calls().await;
    pair.until("calls with renewed SVIDs", |call| renewed(call, &go) && renewed(call, &python)).await;

    // Rotation: both know the next authority before either has an SVID of it.
    let prepared = bed.x509_authority(&["prepare", "--kind", "x509"]);
    pair.know(&prepared.all).await;
    let second = bed.x509_authority(&["activate", "--kind", "x509"]);
    assert_ne!(second.active, first.active);
    pair.until("calls with the second authority", |call| by(call, &second.active)).await;

    // The agent is killed, is away, comes back.
    bed.agent.kill();
    pair.calls().await;
    bed.agent.restart().await;
    let [go, python] = pair.calls().await;
    pair.until("calls with SVIDs of the new agent", |call| renewed(call, &go) && renewed(call, &python)).await;
    assert_eq!(bed.x509_authority(&["show"]).active, second.active);

    // Taint: what the authority signed is replaced at once.
    let prepared = bed.x509_authority(&["prepare", "--kind", "x509"]);
    pair.know(&prepared.all).await;
    let third = bed.x509_authority(&["taint", &second.active]);
    assert_ne!(third.active, second.active);
    pair.until("calls with the third authority", |call| by(call, &third.active)).await;

    // Revocation: nothing in use is of that authority any more, so nothing breaks.
    bed.x509_authority(&["revoke", &second.active]);
    pair.know(&sorted([&first.active, &third.active])).await;
    pair.calls().await;
}

/// A peer with another SPIFFE ID than the expected one is refused, whichever side finds out.
#[tokio::test]
async fn go_and_python_refuse_each_other_under_another_name() {
    if !Language::Go.built_or_skip() || !Language::Python.built_or_skip() {
        return;
    }
    let bed = Bed::new(Language::Go).await;
    bed.agent.apply(&ENTRIES.map(|(id, language)| by_program(id, language)).concat());
    for [listener, caller] in [ENTRIES, [ENTRIES[1], ENTRIES[0]]] {
        for [expected, called] in [["nobody", listener.0], [caller.0, "nobody"]] {
            let mut listening = Source::of(bed.start_in(listener.1, &["x509-hold"])).await;
            let mut calling = Source::of(bed.start_in(caller.1, &["x509-hold"])).await;
            let address = listen(&mut listening, expected).await;
            call(&mut calling, &address, called).await;
            let told = calling.client.ask("calls 1").await;
            assert_eq!(told["event"], "error", "{expected} calls {called}: {told}");
        }
    }
}

/// The workloads by their programs, with the ids of their entries.
const ENTRIES: [(&str, Language); 2] = [("orders", Language::Go), ("stock", Language::Python)];

fn by_program(id: &str, language: Language) -> String {
    entry(id, &[format!("unix:path:{}", language.executable().display())])
}

fn sorted(ids: [&String; 2]) -> Vec<String> {
    let mut ids = ids.map(String::clone);
    ids.sort();
    ids.into()
}

/// Has a workload answer the requests of the one with this entry; its address.
async fn listen(source: &mut Source, peer: &str) -> String {
    let listening = source.client.ask(&format!("listen spiffe://example.org/{peer}")).await;
    listening["address"].as_str().unwrap_or_else(|| panic!("{listening}")).to_owned()
}

/// Has a workload begin to call the one with this entry.
async fn call(source: &mut Source, address: &str, peer: &str) {
    let calling = source.client.ask(&format!("call {address} spiffe://example.org/{peer}")).await;
    assert_eq!(calling, json!({"event": "calling"}));
}

/// Whether both sides of a call had an SVID of this authority.
fn by(call: &Value, authority: &str) -> bool {
    call["own"]["authority"] == authority && call["peer"]["authority"] == authority
}

/// Whether neither side of a call had an SVID of that call before.
fn renewed(call: &Value, before: &Value) -> bool {
    let old = [&before["own"]["serial"], &before["peer"]["serial"]];
    !old.contains(&&call["own"]["serial"]) && !old.contains(&&call["peer"]["serial"])
}

/// A workload in Go and one in Python, each calling the other.
struct Pair {
    workloads: [Source; 2],
}

impl Pair {
    async fn start(bed: &Bed) -> Self {
        let [(orders, first), (stock, second)] = ENTRIES;
        let mut go = Source::of(bed.start_in(first, &["x509-hold"])).await;
        let mut python = Source::of(bed.start_in(second, &["x509-hold"])).await;
        let (of_go, of_python) = (listen(&mut go, stock).await, listen(&mut python, orders).await);
        call(&mut go, &of_python, stock).await;
        call(&mut python, &of_go, orders).await;
        Self { workloads: [go, python] }
    }

    /// Waits for some more calls of each, of which none failed; the last of each.
    async fn calls(&mut self) -> [Value; 2] {
        let [go, python] = &mut self.workloads;
        let (go, python) = tokio::join!(go.client.ask(SOME), python.client.ask(SOME));
        [go, python].map(|told| {
            // A failure on either side of any call so far is what it tells instead.
            assert_eq!(told["event"], "calls", "{told}");
            told
        })
    }

    /// Waits for a call of each that `is_it`, and for some more after it.
    async fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) {
        let calling = async { while !self.calls().await.iter().all(&is_it) {} };
        timeout(LIMIT, calling).await.unwrap_or_else(|_| panic!("waited {LIMIT:?} in vain for {what}"));
        self.calls().await;
    }

    /// Waits until both hold a bundle of these authorities.
    async fn know(&mut self, authorities: &[String]) {
        for source in &mut self.workloads {
            source.until("the prepared authority", |svid| svid["authorities"] == json!(authorities)).await;
        }
    }
}
