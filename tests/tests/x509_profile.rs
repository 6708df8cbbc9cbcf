//! The X.509 profile of the Workload API (`SPIFFE_Workload_API.md`, section 5) over the wire, with
//! real processes. Tests are named by the conformance checklist.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use countersign_common::proto::workload::{X509BundlesRequest, X509svid, X509svidRequest, X509svidResponse};
use countersign_tests::{Agent, AgentSettings, Answer, LIMIT, Workload, WorkloadSpec, allow_own_programs, until};
use rcgen::{KeyPair, PublicKeyData};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

type Client = SpiffeWorkloadApiClient<Channel>;

/// A short life: renewed after some five seconds.
const SHORT: &str = "default_ttl = \"10s\"\nmax_ttl = \"10s\"";

async fn agent_with(entries: &str, settings: AgentSettings) -> (Agent, Client) {
    let agent = Agent::start(settings).await;
    if !entries.is_empty() {
        agent.apply(entries);
    }
    let client = client(&agent).await;
    (agent, client)
}

async fn client(agent: &Agent) -> Client {
    let address = format!("unix://{}", agent.workload_socket().display());
    Client::new(Endpoint::try_from(address).expect("an address").connect().await.expect("the agent listens"))
}

fn mine(id: &str, more: &str) -> String {
    with_path(id, id, more)
}

fn with_path(id: &str, path: &str, more: &str) -> String {
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    format!("---\nid: {id}\nspiffe_id: spiffe://example.org/{path}\nselectors: [\"unix:uid:{uid}\"]\n{allow}{more}\n")
}

fn secured<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}

async fn open(client: &mut Client) -> Result<Streaming<X509svidResponse>, Status> {
    Ok(client.fetch_x509svid(secured(X509svidRequest {})).await?.into_inner())
}

/// The next message, which has to come.
async fn next<M>(stream: &mut Streaming<M>) -> M {
    let next = tokio::time::timeout(LIMIT, stream.message()).await.expect("in time");
    next.expect("served").expect("a message")
}

/// The code that a stream ends with.
async fn end<M>(stream: &mut Streaming<M>) -> Code {
    let next = tokio::time::timeout(LIMIT, stream.message()).await.expect("in time");
    next.err().expect("an end with a status").code()
}

/// Concatenated certificates, one by one.
fn certificates(mut der: &[u8]) -> Vec<X509Certificate<'_>> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (rest, certificate) = X509Certificate::from_der(der).expect("a certificate");
        found.push(certificate);
        der = rest;
    }
    found
}

fn uris(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().expect("at most one").expect("one");
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(uri).collect()
}

fn is_ca(certificate: &X509Certificate<'_>) -> bool {
    certificate.basic_constraints().expect("at most one").is_some_and(|constraints| constraints.value.ca)
}

fn serial(svid: &X509svid) -> String {
    certificates(&svid.x509_svid)[0].raw_serial().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ids(message: &X509svidResponse) -> Vec<&str> {
    message.svids.iter().map(|svid| svid.spiffe_id.as_str()).collect()
}

#[tokio::test]
async fn wa_4_wa_5_the_first_message_comes_at_once_and_is_complete() {
    let (_agent, mut client) = agent_with(&mine("a", "hint: internal"), AgentSettings::default()).await;
    let first = next(&mut open(&mut client).await.expect("entitled")).await;
    assert_eq!(ids(&first), ["spiffe://example.org/a"]);
    assert!(first.crl.is_empty() && first.federated_bundles.is_empty(), "foreign bundles only, and there are none");
    let svid = &first.svids[0];
    assert_eq!(svid.hint, "internal");
    let (chain, roots) = (certificates(&svid.x509_svid), certificates(&svid.bundle));
    assert_eq!(uris(&chain[0]), ["spiffe://example.org/a"]);
    assert!(!is_ca(&chain[0]) && chain[1..].iter().all(is_ca), "the leaf comes first");
    assert!(!roots.is_empty() && roots.iter().all(is_ca));
    assert!(roots.iter().all(|root| uris(root) == ["spiffe://example.org"]));
    assert!(chain.iter().all(|one| roots.iter().all(|root| one.as_raw() != root.as_raw())), "no root in the chain");
    let above = chain.get(1).or(roots.iter().find(|root| root.subject() == chain[0].issuer())).expect("an issuer");
    assert!(chain[0].verify_signature(Some(above.public_key())).is_ok());
    let key = KeyPair::try_from(svid.x509_svid_key.as_slice()).expect("PKCS#8 that is not encrypted");
    assert_eq!(key.subject_public_key_info(), chain[0].public_key().raw);
    let life = chain[0].validity().not_after.timestamp() - chain[0].validity().not_before.timestamp();
    assert!((3600..3600 + 300).contains(&life), "an hour, and a little for slow clocks: {life}");
}

#[tokio::test]
async fn wa_10_wa_18_hints_are_unique_and_the_order_is_that_of_the_entries() {
    let entries = mine("c", "hint: x") + &mine("a", "hint: x") + &mine("b", "") + &mine("d", "");
    let (_agent, mut client) = agent_with(&entries, AgentSettings::default()).await;
    let expected = ["a", "b", "c", "d"].map(|id| format!("spiffe://example.org/{id}"));
    for _ in 0..3 {
        let first = next(&mut open(&mut client).await.expect("entitled")).await;
        assert_eq!(ids(&first), expected);
        let hints: Vec<_> = first.svids.iter().map(|svid| svid.hint.as_str()).collect();
        assert_eq!(hints, ["x", "", "", ""], "empty ones may repeat");
    }
}

#[tokio::test]
async fn wa_4_wa_6_later_messages_come_on_change_and_are_complete() {
    let (agent, mut client) = agent_with(&mine("a", ""), AgentSettings::default()).await;
    let mut stream = open(&mut client).await.expect("entitled");
    let first = next(&mut stream).await;
    // What changes nothing for the caller comes first: had it been said, it would be the next message.
    agent.apply(&mine("a", "owner: somebody"));
    agent.apply(&(mine("a", "") + &mine("b", "")));
    let second = next(&mut stream).await;
    assert_eq!(ids(&second), ["spiffe://example.org/a", "spiffe://example.org/b"]);
    assert!(second.svids.iter().all(|svid| !svid.x509_svid_key.is_empty() && svid.bundle == first.svids[0].bundle));
    assert_ne!(second.svids[0].x509_svid_key, first.svids[0].x509_svid_key, "no key is handed out twice");
    agent.apply(&mine("b", ""));
    assert_eq!(ids(&next(&mut stream).await), ["spiffe://example.org/b"]);
}

#[tokio::test]
async fn wa_7_wa_9_who_is_entitled_to_nothing_is_denied_also_on_an_open_stream() {
    let (agent, mut client) = agent_with("", AgentSettings::default()).await;
    assert_eq!(open(&mut client).await.expect_err("no entry").code(), Code::PermissionDenied);
    let bundles = client.fetch_x509_bundles(secured(X509BundlesRequest {})).await;
    assert_eq!(bundles.expect_err("no entry").code(), Code::PermissionDenied);
    agent.apply(&mine("a", ""));
    let mut svids = open(&mut client).await.expect("entitled");
    let bundles = client.fetch_x509_bundles(secured(X509BundlesRequest {})).await;
    let mut bundles = bundles.expect("entitled").into_inner();
    assert!(!next(&mut svids).await.svids.is_empty());
    next(&mut bundles).await;
    let deleted = agent.operator(&["entry", "delete", "a"], "");
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    assert_eq!(end(&mut svids).await, Code::PermissionDenied);
    assert_eq!(end(&mut bundles).await, Code::PermissionDenied);
}

#[tokio::test]
async fn wa_11_bundles_hold_the_own_one_under_the_id_of_its_trust_domain() {
    let (_agent, mut client) = agent_with(&mine("a", ""), AgentSettings::default()).await;
    let first = next(&mut open(&mut client).await.expect("entitled")).await;
    let mut stream = client.fetch_x509_bundles(secured(X509BundlesRequest {})).await.expect("entitled").into_inner();
    let bundles = next(&mut stream).await;
    assert_eq!(bundles.bundles.keys().collect::<Vec<_>>(), ["spiffe://example.org"], "no slash at the end");
    assert_eq!(bundles.bundles["spiffe://example.org"], first.svids[0].bundle);
    assert!(bundles.crl.is_empty());
}

#[tokio::test]
async fn id_6_a_spiffe_id_of_2048_bytes_passes_through() {
    let path = "p".repeat(2048 - "spiffe://example.org/".len());
    let (agent, mut client) = agent_with(&with_path("long", &path, ""), AgentSettings::default()).await;
    let first = next(&mut open(&mut client).await.expect("entitled")).await;
    let id = format!("spiffe://example.org/{path}");
    assert_eq!(id.len(), 2048);
    assert_eq!(ids(&first), [&id]);
    assert_eq!(uris(&certificates(&first.svids[0].x509_svid)[0]), [id.as_str()]);
    let record = agent.audited(std::process::id(), "issued").await;
    assert_eq!(record["spiffe_id"], id);
}

#[tokio::test]
async fn each_issue_and_renewal_is_recorded_and_no_key_is_kept_anywhere() {
    let settings = AgentSettings { x509: SHORT, log: "trace", ..AgentSettings::default() };
    let (agent, mut client) = agent_with(&mine("a", ""), settings).await;
    let mut stream = open(&mut client).await.expect("entitled");
    let mut keys = Vec::new();
    let mut before: Option<String> = None;
    for _ in 0..3 {
        // Nothing changes: later messages come for the renewal alone, and before the last one expired.
        let svid = next(&mut stream).await.svids.remove(0);
        let serial = serial(&svid);
        let found = || agent.audit().into_iter().find(|record| record["serial"] == serial.as_str());
        let record = until("the record of the issue", found).await;
        assert_eq!((&record["event"], &record["outcome"]), (&"x509_svid".into(), &"issued".into()));
        assert_eq!((&record["entry"], &record["spiffe_id"]), (&"a".into(), &svid.spiffe_id.as_str().into()));
        assert_eq!(record["replaces"].as_str(), before.as_deref());
        assert!(record["authority"].is_string() && record["expires"].is_string());
        before = Some(serial);
        keys.push(svid.x509_svid_key);
    }
    for file in ["log", "audit.log", "data/countersign.redb"] {
        let bytes = std::fs::read(agent.folder().join(file)).expect("a file of the agent");
        for key in &keys {
            // The secret number itself, and as a part of the whole in the two ways in which text has it.
            let secret = &key[36..68];
            assert!(!bytes.windows(32).any(|window| window == secret), "{file}");
            let (base64, hex): (String, String) =
                (STANDARD.encode(&key[36..66]), secret.iter().map(|byte| format!("{byte:02x}")).collect());
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(&base64) && !text.contains(&hex), "{file}");
        }
    }
}

#[tokio::test]
async fn renewals_overlap() {
    let settings = AgentSettings { x509: SHORT, ..AgentSettings::default() };
    let (_agent, mut client) = agent_with(&mine("a", ""), settings).await;
    let mut stream = open(&mut client).await.expect("entitled");
    let mut expires = i64::MAX;
    for _ in 0..3 {
        let message = next(&mut stream).await;
        let leaf = certificates(&message.svids[0].x509_svid);
        assert!(leaf[0].validity().not_before.timestamp() < expires, "a gap in validity");
        expires = leaf[0].validity().not_after.timestamp();
    }
}

#[tokio::test]
async fn many_streams_are_renewed_while_others_are_served() {
    let settings = AgentSettings { x509: SHORT, ..AgentSettings::default() };
    let billing = mine("a", "jwt: {audiences: [billing]}");
    let (agent, mut client) = agent_with(&billing, settings).await;
    // Each is read as messages come: what nobody reads fills the window of the connection.
    let mut watching = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let mut stream = open(&mut client).await.expect("entitled");
        watching.spawn(async move {
            let first = next(&mut stream).await.svids.remove(0).x509_svid_key;
            let second = next(&mut stream).await.svids.remove(0).x509_svid_key;
            assert_ne!(first, second);
        });
    }
    let mut other = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    while let Some(renewed) = watching.join_next().await {
        renewed.expect("renewed");
        assert_eq!(other.ask("fetch billing").await.code(), "Ok");
    }
}

fn chain(answer: &Answer) -> String {
    answer.0["svids"][0]["chain"].to_string()
}

#[tokio::test]
async fn each_process_has_svids_of_its_own_and_none_once_it_is_gone() {
    let (agent, _client) = agent_with(&mine("a", ""), AgentSettings::default()).await;
    let mut watching = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let mut other = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let (one, another) = (watching.ask("watch-x509").await, other.ask("watch-x509").await);
    assert_eq!((one.code(), another.code()), ("Ok", "Ok"));
    assert_ne!(chain(&one), chain(&another), "each process has an SVID of its own");
    let pid = watching.pid();
    watching.end().await;
    agent.apply(&(mine("a", "") + &mine("b", "")));
    let pushed = other.hear().await;
    assert_eq!(pushed.0["svids"].as_array().map(Vec::len), Some(2));
    let issued = agent.audit().into_iter().filter(|record| record["pid"] == pid && record["outcome"] == "issued");
    assert_eq!(issued.count(), 1, "nothing is issued to who is gone");
}

#[tokio::test]
async fn bundles_reach_a_process_and_end_with_its_entry() {
    let uid = nix::unistd::geteuid().as_raw();
    let (agent, _client) = agent_with(&mine("a", ""), AgentSettings::default()).await;
    let mut watching = Workload::start(&agent.workload_socket(), &WorkloadSpec::default());
    let first = watching.ask("watch-x509-bundles").await;
    assert!(first.0["bundles"]["spiffe://example.org"].is_string(), "{first:?}");
    agent.apply(&mine("a", "").replace(&format!("unix:uid:{uid}"), &format!("unix:uid:{}", uid + 1)));
    assert_eq!(watching.hear().await.code(), "PermissionDenied");
    assert_eq!(agent.audited(watching.pid(), "refused").await["event"], "x509_bundles");
}
