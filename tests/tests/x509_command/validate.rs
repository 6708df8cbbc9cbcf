//! `x509 validate`: the verdict, the facts, and how it ends.

use serde_json::Value;
use tonic::Code;

use super::bed::{Bed, printed};
use super::workload_api::{Says, WorkloadApi, granted};

#[tokio::test]
async fn a_chain_is_checked_with_what_the_agent_trusts() {
    let bed = Bed::new();
    let agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders"])));
    let directory = bed.directory();
    printed(&bed.run(&["fetch", "--write", &directory]), 0);
    let file = |name: &str| format!("{directory}/{name}");
    for name in ["svid.pem", "svid_and_key.pem"] {
        let shown = printed(&bed.run(&["validate", &file(name), "-o", "json"]), 0);
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!((&shown["valid"], &shown["spiffe_id"]), (&true.into(), &"spiffe://example.org/orders".into()));
    }
    // Another authority by now: the chain leads nowhere.
    agent.say(Says::Grant(granted(&["orders"])));
    let refused = bed.run(&["validate", &file("svid.pem"), "-o", "json"]);
    assert!(printed(&refused, 1).contains("not valid: "));
    let shown: Value = serde_json::from_slice(&refused.stdout).expect("what the leaf says all the same");
    assert_eq!(shown["valid"], false);
    agent.say(Says::End(Code::PermissionDenied));
    assert!(printed(&bed.run(&["validate", &file("svid.pem")]), 1).contains("give --bundle"));
    drop(agent);
    assert!(printed(&bed.run(&["validate", &file("svid.pem")]), 3).contains("no agent answers"));
}

#[tokio::test]
async fn a_chain_is_checked_with_a_bundle_and_no_agent() {
    let bed = Bed::new();
    let agent = WorkloadApi::start(&bed.socket(), Says::Grant(granted(&["orders"])));
    let directory = bed.directory();
    printed(&bed.run(&["fetch", "--write", &directory]), 0);
    drop(agent);
    let (chain, bundle) = (format!("{directory}/svid.pem"), format!("{directory}/bundle.pem"));
    let check = |domain: &str| bed.run(&["validate", &chain, "--bundle", &bundle, "--trust-domain", domain]);
    let table = printed(&check("example.org"), 0);
    assert!(table.contains("valid             true"), "{table}");
    assert!(printed(&check("other.org"), 1).contains("there is no bundle of it"));
    assert!(
        printed(&bed.run(&["validate", &bundle, "--bundle", &bundle, "--trust-domain", "example.org"]), 1)
            .contains("not valid")
    );
    assert!(printed(&bed.run(&["validate", &chain, "--bundle", &bundle]), 2).contains("--trust-domain"));
    assert!(printed(&check("Example.org"), 2).contains("trust domain"));
    assert!(printed(&bed.run(&["validate", "/nonexistent/svid.pem"]), 1).contains("cannot read"));
}
