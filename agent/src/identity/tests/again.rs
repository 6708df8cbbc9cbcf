//! Who asks again on the same connection: what was kept is not used when entries change or end.

use super::super::kept::Entitlement;
use super::*;

const TERMS: &str = "jwt: {audiences: [billing]}\nallow: [writable_executable]";

/// Whom the tokens are for that the peer is given.
async fn given(agent: &Agent, peer: &Arc<Peer>) -> Result<Vec<String>, Refusal> {
    let request = JwtRequest { audiences: vec!["billing".to_owned()], spiffe_id: None };
    let issued = agent.identity.fetch_jwt_svids(peer, &request).await?;
    Ok(issued.iter().map(|issued| issued.svid.claims.sub.path().to_owned()).collect())
}

// In the runtime's own time: paused time would run ahead while the store works, and nothing be kept any more.
#[tokio::test]
async fn a_change_of_entries_counts_at_the_next_request() {
    let (agent, peer) = (Agent::start(&mine("a", TERMS)).await, Peer::of_this_process());
    for _ in 0..3 {
        assert_eq!(given(&agent, &peer).await.unwrap(), ["/a"]);
        assert!(peer.kept::<Entitlement>().is_some());
    }
    agent.apply(&(mine("a", TERMS) + &mine("b", TERMS))).await;
    assert_eq!(given(&agent, &peer).await.unwrap(), ["/a", "/b"]);
    agent.apply(&mine("b", TERMS)).await;
    assert_eq!(given(&agent, &peer).await.unwrap(), ["/b"]);
}

#[tokio::test]
async fn an_entry_that_has_expired_is_not_kept() {
    let terms = format!("{TERMS}\nexpires: 2027-09-02");
    let (agent, peer) = (Agent::start(&mine("a", &terms)).await, Peer::of_this_process());
    assert_eq!(given(&agent, &peer).await.unwrap(), ["/a"]);
    *agent.clock.0.lock().unwrap() += 12 * 3600;
    assert!(matches!(given(&agent, &peer).await, Err(Refusal::NoEntry)));
}
