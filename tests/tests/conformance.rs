//! What the SPIFFE standards demand of the wire, by document and section.
//!
//! The test process itself is the workload here: it is a real process with a real entry.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_common::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use countersign_common::proto::workload::{
    JwtBundlesRequest, Jwtsvid, JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest, X509svidRequest,
};
use countersign_tests::{Agent, AgentSettings, LIMIT, allow_own_programs};
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

type Client = SpiffeWorkloadApiClient<Channel>;

async fn agent_with(entries: &str) -> (Agent, Client) {
    let agent = Agent::start(AgentSettings::default()).await;
    if !entries.is_empty() {
        agent.apply(entries);
    }
    let client = Client::new(channel(&agent).await);
    (agent, client)
}

async fn channel(agent: &Agent) -> Channel {
    let address = format!("unix://{}", agent.workload_socket().display());
    Endpoint::try_from(address).expect("an address").connect().await.expect("the agent listens")
}

fn mine(id: &str, more: &str) -> String {
    let (uid, allow) = (nix::unistd::geteuid(), allow_own_programs());
    format!("---\nid: {id}\nspiffe_id: spiffe://example.org/{id}\nselectors: [\"unix:uid:{uid}\"]\n{allow}{more}\n")
}

const BILLING: &str = "jwt: {audiences: [billing, \"stock/*\"], max_audiences: 2}";

fn secured<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}

async fn fetch(client: &mut Client, spiffe_id: &str, audience: &[&str]) -> Result<Vec<Jwtsvid>, Status> {
    let audience = audience.iter().map(|&audience| audience.to_owned()).collect();
    let request = secured(JwtsvidRequest { audience, spiffe_id: spiffe_id.to_owned() });
    Ok(client.fetch_jwtsvid(request).await?.into_inner().svids)
}

async fn code_of(client: &mut Client, spiffe_id: &str, audience: &[&str]) -> Code {
    fetch(client, spiffe_id, audience).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

async fn validate(client: &mut Client, audience: &str, svid: &str) -> Result<Value, Status> {
    let request = secured(ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.to_owned() });
    let answer = client.validate_jwtsvid(request).await?.into_inner();
    let claims = answer.claims.expect("claims are required");
    let aud = claims.fields.get("aud").cloned().and_then(|aud| aud.kind);
    let list = matches!(aud, Some(prost_types::value::Kind::ListValue(_)));
    Ok(
        json!({"spiffe_id": answer.spiffe_id, "claims": claims.fields.keys().collect::<Vec<_>>(), "aud is a list": list}),
    )
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url without padding")).expect("JSON")
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn workload_endpoint_3_a_request_without_the_security_header_is_invalid() {
    let (_agent, mut client) = agent_with(&mine("a", BILLING)).await;
    let bare = || Request::new(JwtsvidRequest { audience: vec!["billing".to_owned()], spiffe_id: String::new() });
    assert_eq!(client.fetch_jwtsvid(bare()).await.unwrap_err().code(), Code::InvalidArgument);
    for values in [&["True"][..], &["TRUE"], &["1"], &["true,true"], &["true", "true"], &[""]] {
        let mut request = bare();
        for value in values {
            request.metadata_mut().append("workload.spiffe.io", MetadataValue::from_static(value));
        }
        assert_eq!(client.fetch_jwtsvid(request).await.unwrap_err().code(), Code::InvalidArgument, "{values:?}");
    }
    assert_eq!(client.fetch_jwt_bundles(JwtBundlesRequest {}).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.fetch_x509svid(X509svidRequest {}).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap_err().code(), Code::InvalidArgument);
    let request = ValidateJwtsvidRequest { audience: "a".to_owned(), svid: "b".to_owned() };
    assert_eq!(client.validate_jwtsvid(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn workload_endpoint_7_reflection_lists_the_services_and_health_answers() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let (agent, _client) = agent_with("").await;
    let channel = channel(&agent).await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel.clone()).server_reflection_info(tokio_stream::once(ask)).await;
    let answer = answers.expect("reflection").into_inner().message().await.expect("an answer").expect("one answer");
    let ServerReflectionResponse { message_response: Some(MessageResponse::ListServicesResponse(list)), .. } = answer
    else {
        panic!("not a list: {answer:?}");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"SpiffeWorkloadAPI"), "{names:?}");
    let serving = HealthClient::new(channel).check(tonic_health::pb::HealthCheckRequest::default()).await;
    assert_eq!(serving.expect("health").into_inner().status, 1);
}

#[tokio::test]
async fn workload_endpoint_appendix_a_what_is_not_served_is_unimplemented() {
    let (agent, mut client) = agent_with(&mine("a", BILLING)).await;
    // Both profiles are served, the mandatory one included.
    assert!(client.fetch_x509svid(secured(X509svidRequest {})).await.is_ok());
    assert!(client.fetch_x509_bundles(secured(X509BundlesRequest {})).await.is_ok());
    assert!(client.fetch_jwt_bundles(secured(JwtBundlesRequest {})).await.is_ok());
    // The WIT profile is off as a whole: each of its calls, not one of them.
    for path in [
        "/SpiffeWorkloadAPI/FetchWITSVID",
        "/SpiffeWorkloadAPI/FetchWITBundles",
        "/spiffe.workload.SpiffeWorkloadAPI/FetchJWTSVID",
    ] {
        let mut grpc = tonic::client::Grpc::new(channel(&agent).await);
        grpc.ready().await.expect("connected");
        let codec = tonic_prost::ProstCodec::<JwtBundlesRequest, JwtBundlesRequest>::default();
        let answer = grpc.unary(secured(JwtBundlesRequest {}), path.parse().expect("a path"), codec).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn jwt_svid_2_and_3_header_and_claims_are_exactly_these() {
    let (_agent, mut client) = agent_with(&mine("a", BILLING)).await;
    let svids = fetch(&mut client, "", &["billing"]).await.expect("entitled");
    let (header, claims) = (part(&svids[0].svid, 0), part(&svids[0].svid, 1));
    assert_eq!(keys(&header), ["alg", "kid", "typ"]);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("JWT")));
    assert_eq!(keys(&claims), ["aud", "exp", "iat", "jti", "nbf", "sub"]);
    assert_eq!(claims["sub"], svids[0].spiffe_id);
    assert_eq!(claims["aud"], json!(["billing"]));
    let life = claims["exp"].as_u64().expect("integer") - claims["iat"].as_u64().expect("integer");
    assert_eq!(life, 300, "the default life is five minutes");
    assert_eq!(claims["nbf"], claims["iat"]);
}

#[tokio::test]
async fn workload_api_6_2_1_all_identities_or_the_one_that_was_asked_for() {
    let entries = mine("a", &format!("{BILLING}\nhint: internal"))
        + &mine("b", &format!("{BILLING}\nhint: internal"))
        + &mine("c", "owner: nobody");
    let (_agent, mut client) = agent_with(&entries).await;
    let svids = fetch(&mut client, "", &["billing", "stock/eu"]).await.expect("entitled");
    let ids: Vec<_> = svids.iter().map(|svid| svid.spiffe_id.as_str()).collect();
    assert_eq!(ids, ["spiffe://example.org/a", "spiffe://example.org/b"], "in the order of the entries' ids");
    assert_eq!(part(&svids[0].svid, 1)["aud"], json!(["billing", "stock/eu"]), "all requested audiences go into aud");
    let hints: Vec<_> = svids.iter().map(|svid| svid.hint.as_str()).collect();
    assert_eq!(hints, ["internal", ""], "a hint is unique in a response");
    let one = fetch(&mut client, "spiffe://example.org/b", &["billing"]).await.expect("entitled");
    assert_eq!(one.iter().map(|svid| svid.spiffe_id.as_str()).collect::<Vec<_>>(), ["spiffe://example.org/b"]);
}

#[tokio::test]
async fn workload_api_4_5_a_missing_mandatory_field_is_an_invalid_argument() {
    let (_agent, mut client) = agent_with(&mine("a", BILLING)).await;
    assert_eq!(code_of(&mut client, "", &[]).await, Code::InvalidArgument);
    assert_eq!(code_of(&mut client, "", &[""]).await, Code::InvalidArgument);
    assert_eq!(code_of(&mut client, "", &["billing", ""]).await, Code::InvalidArgument);
    assert_eq!(code_of(&mut client, "not a SPIFFE ID", &["billing"]).await, Code::InvalidArgument);
    assert_eq!(validate(&mut client, "", "x").await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(validate(&mut client, "billing", "").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn workload_api_6_2_2_the_first_bundle_comes_at_once_and_is_a_plain_jwk_set() {
    let (agent, mut client) = agent_with(&mine("a", BILLING)).await;
    let mut stream = client.fetch_jwt_bundles(secured(JwtBundlesRequest {})).await.expect("entitled").into_inner();
    let first =
        tokio::time::timeout(LIMIT, stream.message()).await.expect("at once").expect("served").expect("a message");
    assert_eq!(first.bundles.keys().collect::<Vec<_>>(), ["spiffe://example.org"], "no slash at the end");
    let jwks: Value = serde_json::from_slice(&first.bundles["spiffe://example.org"]).expect("JSON");
    assert_eq!(keys(&jwks), ["keys"]);
    for key in jwks["keys"].as_array().expect("a list") {
        assert!(key.get("use").is_none() && key.get("d").is_none(), "{key}");
        assert!(key["kid"].is_string() && key["x"].is_string());
    }
    let token = fetch(&mut client, "", &["billing"]).await.expect("entitled").remove(0).svid;
    let kid = part(&token, 0)["kid"].clone();
    assert!(jwks["keys"].as_array().expect("a list").iter().any(|key| key["kid"] == kid));

    // Later messages come on change only, and are complete.
    let quiet = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
    assert!(quiet.is_err(), "a message without a change: {quiet:?}");
    assert!(agent.operator(&["authority", "prepare"], "").status.success());
    let second =
        tokio::time::timeout(LIMIT, stream.message()).await.expect("on change").expect("served").expect("a message");
    let second: Value = serde_json::from_slice(&second.bundles["spiffe://example.org"]).expect("JSON");
    assert_eq!(second["keys"].as_array().map(Vec::len), Some(jwks["keys"].as_array().map_or(0, Vec::len) + 1));
}

#[tokio::test]
async fn workload_api_6_2_2_who_is_entitled_to_nothing_gets_no_bundle() {
    let (_agent, mut client) = agent_with("").await;
    assert_eq!(
        client.fetch_jwt_bundles(secured(JwtBundlesRequest {})).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    assert_eq!(code_of(&mut client, "", &["billing"]).await, Code::PermissionDenied);
}

#[tokio::test]
async fn workload_api_6_2_3_a_valid_token_is_told_with_all_claims() {
    let (_agent, mut client) = agent_with(&mine("a", BILLING)).await;
    let token = fetch(&mut client, "", &["billing"]).await.expect("entitled").remove(0).svid;
    let valid = validate(&mut client, "billing", &token).await.expect("valid");
    assert_eq!(valid["spiffe_id"], "spiffe://example.org/a");
    assert_eq!(valid["aud is a list"], true);
    assert_eq!(valid["claims"].as_array().map(Vec::len), Some(6));
}

#[tokio::test]
async fn t1_audiences_that_the_entry_does_not_list_are_refused() {
    let (agent, mut client) = agent_with(&mine("a", BILLING)).await;
    for near_miss in [
        "Billing",
        "billing/",
        "billing ",
        " billing",
        "billin",
        "billings",
        "billing/x",
        "bıllıng",
        "billing\u{200b}",
        "stock",
        "stock/",
        "stocks/eu",
        "stock//eu",
        "Stock/eu",
        "*",
        "stock/*/..//",
        "spiffe://example.org/a",
    ] {
        assert_eq!(code_of(&mut client, "", &[near_miss]).await, Code::PermissionDenied, "{near_miss:?}");
    }
    for allowed in [&["billing"][..], &["stock/eu"], &["stock/eu/1"], &["billing", "stock/eu"], &["billing", "billing"]]
    {
        assert_eq!(code_of(&mut client, "", allowed).await, Code::Ok, "{allowed:?}");
    }
    assert_eq!(
        code_of(&mut client, "", &["billing", "stock/a", "stock/b"]).await,
        Code::PermissionDenied,
        "more than max_audiences"
    );
    assert_eq!(
        code_of(&mut client, "", &["billing", "other"]).await,
        Code::PermissionDenied,
        "one of two is not listed"
    );
    let many: Vec<String> = (0..10_000).map(|n| format!("stock/{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_ne!(code_of(&mut client, "", &many).await, Code::Ok);
    assert_ne!(code_of(&mut client, "", &[&format!("stock/{}", "x".repeat(1 << 20))]).await, Code::Ok);
    let refused = agent.audit().into_iter().filter(|record| record["outcome"] == "refused");
    assert!(refused.clone().count() >= 19 && refused.into_iter().all(|record| record["reason"].is_string()));

    agent.apply(&mine("a", "owner: nobody"));
    assert_eq!(
        code_of(&mut client, "", &["billing"]).await,
        Code::PermissionDenied,
        "an entry without audiences grants none"
    );
}

#[tokio::test]
async fn t2_another_spiffe_id_than_ones_own_is_denied() {
    let uid = nix::unistd::geteuid().as_raw() + 1;
    let other = format!(
        "---\nid: victim\nspiffe_id: spiffe://example.org/victim\nselectors: [\"unix:uid:{uid}\"]\n{BILLING}\n"
    );
    let (agent, mut client) = agent_with(&(mine("a", BILLING) + &other)).await;
    for id in
        ["spiffe://example.org/victim", "spiffe://example.org/none", "spiffe://other.org/a", "spiffe://example.org"]
    {
        assert_eq!(code_of(&mut client, id, &["billing"]).await, Code::PermissionDenied, "{id}");
    }
    let last = agent.audit().pop().expect("a record");
    assert_eq!(
        last["reason"],
        "the process is not entitled to the SPIFFE ID that it asked for, but to spiffe://example.org/a"
    );
}

#[tokio::test]
async fn t3_a_token_that_is_not_ours_or_not_for_us_is_refused() {
    let (_agent, mut client) = agent_with(&mine("a", BILLING)).await;
    let token = fetch(&mut client, "", &["billing"]).await.expect("entitled").remove(0).svid;
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().expect("three parts");
    let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    flipped[10] ^= 1;
    let flipped = URL_SAFE_NO_PAD.encode(flipped);
    let kid = part(&token, 0)["kid"].clone();
    let none = encode(&json!({"alg": "none", "kid": kid, "typ": "JWT"}));
    let hs256 = encode(&json!({"alg": "HS256", "kid": kid, "typ": "JWT"}));
    let other_type = encode(&json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"}));
    let other_kid = encode(&json!({"alg": "ES256", "kid": "unknown", "typ": "JWT"}));
    let mut foreign = part(&token, 1);
    foreign["sub"] = json!("spiffe://other.org/a");
    let foreign = encode(&foreign);
    let twice =
        URL_SAFE_NO_PAD.encode(part(&token, 1).to_string().replacen('{', "{\"sub\":\"spiffe://example.org/b\",", 1));
    for (what, audience, token) in [
        ("wrong audience", "other", token.clone()),
        ("a bit of the signature", "billing", format!("{header}.{claims}.{flipped}")),
        ("no signature", "billing", format!("{header}.{claims}.")),
        ("alg none", "billing", format!("{none}.{claims}.")),
        ("HS256", "billing", format!("{hs256}.{claims}.{signature}")),
        ("another type", "billing", format!("{other_type}.{claims}.{signature}")),
        ("another kid", "billing", format!("{other_kid}.{claims}.{signature}")),
        ("a foreign trust domain", "billing", format!("{header}.{foreign}.{signature}")),
        ("a claim twice", "billing", format!("{header}.{twice}.{signature}")),
        ("not a token", "billing", "a.b.c".to_owned()),
        ("padding", "billing", format!("{token}=")),
    ] {
        let refused = validate(&mut client, audience, &token).await.expect_err(what);
        assert_eq!(refused.code(), Code::InvalidArgument, "{what}");
    }
    assert!(validate(&mut client, "billing", &token).await.is_ok(), "the token itself is valid");
}
