//! The hot paths: what is called, how often, and at an agent with which entries.

use std::fmt::Write;

use countersign_tests::{Agent, AgentSettings};

use crate::BudgetError;
use crate::callgrind::Callgrind;
use crate::client::{AUDIENCE, Client, NEW_AUDIENCES};

/// Calls that are not counted: caches and the allocator are then as they stay.
const WARM_UP: u32 = 100;
/// Calls that are counted together.
const COUNTED: u32 = 500;
/// Few entries, and many: what they are matched in must not show.
const FEW: u32 = 10;
const MANY: u32 = 100_000;
/// As many as an operator's command reads at a time, and fewer.
const APPLIED_AT_ONCE: usize = 20_000;

/// What one call of a path takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) path: String,
    pub(crate) instructions: u64,
}

/// A call that is counted.
#[derive(Clone, Copy, Debug)]
enum Call {
    Check,
    Fetch,
    FetchNewAudience,
    FetchOnNewConnection,
    Validate,
    FirstX509,
}

/// A path, by the name that it has in the budget; and whether its entry demands `unix:path` too.
const PATHS: [(&str, Call, bool); 7] = [
    ("empty-call", Call::Check, false),
    ("fetch-jwt-warm-by-uid", Call::Fetch, false),
    ("fetch-jwt-warm", Call::Fetch, true),
    ("fetch-jwt-new-audience", Call::FetchNewAudience, true),
    ("fetch-jwt-new-connection", Call::FetchOnNewConnection, true),
    ("validate-jwt", Call::Validate, true),
    ("fetch-x509-first-message", Call::FirstX509, true),
];

/// Counts all paths, and says each as it is known.
pub(crate) async fn count(say: impl Fn(&Count)) -> Result<Vec<Count>, BudgetError> {
    let mut counts = Vec::new();
    let mut add = |path: &str, instructions| {
        let count = Count { path: path.to_owned(), instructions };
        say(&count);
        counts.push(count);
    };
    let mut callgrind = Callgrind::new()?;
    let agent = Agent::start(AgentSettings { under: callgrind.command(), ..AgentSettings::default() }).await;
    callgrind.begin(agent.pid()).await?;
    for (path, call, by_path) in PATHS {
        agent.apply(&own_entry(by_path)?);
        add(path, calls(&agent, &mut callgrind, call).await?);
    }
    drop(agent);
    for entries in [FEW, MANY] {
        add(&format!("fetch-jwt-warm-among-{entries}"), among(entries).await?);
    }
    Ok(counts)
}

/// A warm fetch at an agent with so many entries. They are applied while nothing slows it down.
async fn among(entries: u32) -> Result<u64, BudgetError> {
    let mut agent = Agent::start(AgentSettings::default()).await;
    let others: Vec<String> = (1..entries).map(other_entry).collect();
    let own = [own_entry(true)?];
    for texts in own.chunks(1).chain(others.chunks(APPLIED_AT_ONCE)) {
        let applied = agent.operator(&["entry", "apply", "-"], &texts.concat());
        if !applied.status.success() {
            return Err(BudgetError::Apply(String::from_utf8_lossy(&applied.stderr).trim().to_owned()));
        }
    }
    let mut callgrind = Callgrind::new()?;
    if let Some(status) = agent.restart_under(&callgrind.command()).await {
        return Err(BudgetError::Ended(status));
    }
    callgrind.begin(agent.pid()).await?;
    calls(&agent, &mut callgrind, Call::Fetch).await
}

/// Instructions of one call, from as many as are counted together.
async fn calls(agent: &Agent, callgrind: &mut Callgrind, call: Call) -> Result<u64, BudgetError> {
    let mut client = Client::connect(&agent.workload_socket()).await?;
    let issued = client.token(AUDIENCE.to_owned()).await?;
    for number in 0..WARM_UP {
        one(&mut client, call, &issued, number).await?;
    }
    callgrind.forget(agent.pid()).await?;
    for number in WARM_UP..WARM_UP + COUNTED {
        one(&mut client, call, &issued, number).await?;
    }
    Ok(callgrind.count(agent.pid()).await? / u64::from(COUNTED))
}

async fn one(client: &mut Client, call: Call, issued: &str, number: u32) -> Result<(), BudgetError> {
    match call {
        Call::Check => client.check().await,
        Call::Fetch => client.fetch(issued).await,
        Call::FetchNewAudience => client.token(format!("{NEW_AUDIENCES}/{number:04}")).await.map(|_| ()),
        Call::FetchOnNewConnection => client.connect_and_fetch(issued).await,
        Call::Validate => client.validate(issued).await,
        Call::FirstX509 => client.first_x509().await,
    }
}

/// Describes this very process. That its user may write to its program is asked, and allowed.
fn own_entry(by_path: bool) -> Result<String, BudgetError> {
    let mut selectors = format!("\"unix:uid:{}\"", nix::unistd::geteuid());
    if by_path {
        let program = std::env::current_exe().map_err(BudgetError::system("find this program"))?;
        let _ = write!(selectors, ", \"unix:path:{}\"", program.display());
    }
    Ok(format!(
        "id: counted\nspiffe_id: spiffe://example.org/counted\nselectors: [{selectors}]\n\
         allow: [writable_executable]\njwt: {{audiences: [{AUDIENCE}, \"{NEW_AUDIENCES}/*\"]}}\n"
    ))
}

/// Describes a program of another user.
fn other_entry(number: u32) -> String {
    format!(
        "---\nid: other-{number}\nspiffe_id: spiffe://example.org/other/{number}\n\
         selectors: [\"unix:uid:{}\", \"unix:path:/opt/other/{number}\"]\njwt: {{audiences: [{AUDIENCE}]}}\n",
        100_000 + number,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_describes_this_process_and_names_every_audience() {
        let domain = "example.org".parse().ok();
        let entries = |by_path| {
            let text = own_entry(by_path).unwrap();
            countersign_common::entry::parse_entries("entry", &text, domain.as_ref()).unwrap()
        };
        assert_eq!(entries(false)[0].selectors.len(), 1);
        assert_eq!(entries(true)[0].selectors.len(), 2);
        let others = other_entry(1) + &other_entry(2);
        assert_eq!(countersign_common::entry::parse_entries("entry", &others, domain.as_ref()).unwrap().len(), 2);
    }

    #[test]
    fn each_path_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = PATHS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names.len(), PATHS.len());
    }
}
