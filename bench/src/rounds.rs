//! The run: agents of its own, and rounds in which floor and fetches take turns.

use std::io::Write;
use std::process::{Command, Stdio};

use clap::ValueEnum;
use countersign_common::selector::SelectorKind;
use countersign_tests::{Agent, AgentSettings};
use serde::Serialize;

use crate::BenchError;
use crate::call::{AUDIENCE, Call};
use crate::load::Connection;
use crate::machine::{self, Machine};
use crate::measurement::Measurement;
use crate::report::{Findings, Report, Round, Scenario};

/// What is measured, in this order in each round.
const SCENARIOS: [Scenario; 4] = [
    Scenario { clients: 1, connection: Connection::Warm, every_us: None },
    Scenario { clients: 8, connection: Connection::Warm, every_us: None },
    Scenario { clients: 64, connection: Connection::Warm, every_us: None },
    Scenario { clients: 1, connection: Connection::New, every_us: None },
];

/// How often and how long.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// Of each measurement, in milliseconds: calls that do not count.
    pub(crate) warm_up_ms: u64,
    /// Of each measurement, in milliseconds: calls that count.
    pub(crate) measured_ms: u64,
}

impl Plan {
    /// Figures worth keeping; some 30 seconds a round.
    pub(crate) fn whole(rounds: u32) -> Self {
        Self { rounds, warm_up_ms: 500, measured_ms: 2000 }
    }

    /// Shows that every request is answered.
    pub(crate) fn quick() -> Self {
        Self { rounds: 2, warm_up_ms: 100, measured_ms: 400 }
    }
}

/// The agents of a run, with the same one entry.
struct Agents {
    /// As it is delivered.
    whole: Agent,
    /// The same without the proof that the process which was attested is the one that asks.
    unproven: Agent,
}

/// What takes turns in a round.
const TURNS: usize = 3;

/// Runs the plan against new agents whose one entry demands `selectors`.
///
/// # Errors
/// A request failed, or nothing could be measured.
pub(crate) async fn measure(plan: &Plan, selectors: &[SelectorKind]) -> Result<Report, BenchError> {
    let entry = entry(selectors)?;
    let machine = Machine::this()?;
    let (began, load_average_before) = (machine::now(), machine::load_average()?);
    let without: &[&str] = &["sender", "countersign"];
    let agents = Agents {
        whole: Agent::start(AgentSettings::default()).await,
        unproven: Agent::start(AgentSettings { without, ..AgentSettings::default() }).await,
    };
    agents.whole.apply(&entry);
    agents.unproven.apply(&entry);

    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); SCENARIOS.len()];
    for round in 0..plan.rounds {
        say(&format!("round {} of {}", round + 1, plan.rounds));
        for (scenario, measured) in SCENARIOS.iter().zip(&mut rounds) {
            measured.push(one(&agents, *scenario, plan, round as usize)?);
        }
    }
    let scenarios = SCENARIOS.iter().zip(&rounds).map(|(scenario, measured)| Findings::of(*scenario, measured));
    Ok(Report {
        began,
        machine,
        load_average_before,
        load_average_after: machine::load_average()?,
        plan: plan.clone(),
        selectors: selectors.iter().map(ToString::to_string).collect(),
        scenarios: scenarios.collect::<Result<_, _>>()?,
    })
}

/// Floor and both fetches, one right after the other. Which comes first changes from round to
/// round, so that a machine that gets slower favours none.
fn one(agents: &Agents, scenario: Scenario, plan: &Plan, round: usize) -> Result<Round, BenchError> {
    let mut measured = [None; TURNS];
    for turn in 0..TURNS {
        let which = (round + turn) % TURNS;
        let (agent, call) = match which {
            0 => (&agents.whole, Call::Floor),
            1 => (&agents.whole, Call::Fetch),
            _ => (&agents.unproven, Call::Fetch),
        };
        measured[which] = Some(load(agent, call, scenario, plan)?);
    }
    let [Some(floor), Some(fetch), Some(unproven)] = measured else { return Err(BenchError::Nothing("a round")) };
    Ok(Round { floor, fetch, unproven })
}

/// One load process, from its start to its end. It ends by itself: it gives its clients a limit.
pub(crate) fn load(agent: &Agent, call: Call, scenario: Scenario, plan: &Plan) -> Result<Measurement, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::system("find this program"))?;
    let ended = Command::new(program)
        .arg("load")
        .arg("--socket")
        .arg(agent.workload_socket())
        .args(["--agent", &agent.pid().to_string()])
        .args(["--call", &name(call), "--connection", &name(scenario.connection)])
        .args(["--clients", &scenario.clients.to_string()])
        .args(scenario.every_us.map(|every| format!("--every={every}")))
        .args(["--warm-up", &plan.warm_up_ms.to_string(), "--measured", &plan.measured_ms.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(BenchError::system("start the load process"))?;
    if !ended.status.success() {
        return Err(BenchError::LoadProcess(String::from_utf8_lossy(&ended.stderr).trim().to_owned()));
    }
    Ok(serde_json::from_slice(&ended.stdout)?)
}

/// As the command line spells it.
pub(crate) fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The one registration entry: it describes the load process, which most often belongs to the user
/// who runs it. What is lifted is asked all the same.
fn entry(selectors: &[SelectorKind]) -> Result<String, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::system("find this program"))?;
    let selectors = selectors.iter().map(|kind| match kind {
        SelectorKind::UnixUid => Ok(format!("{kind}:{}", nix::unistd::geteuid())),
        SelectorKind::UnixGid => Ok(format!("{kind}:{}", nix::unistd::getegid())),
        SelectorKind::UnixPath => Ok(format!("{kind}:{}", program.display())),
        other => Err(BenchError::Selector(*other)),
    });
    let selectors = serde_json::to_string(&selectors.collect::<Result<Vec<_>, _>>()?)?;
    Ok(format!(
        "id: load\nspiffe_id: spiffe://example.org/load\nselectors: {selectors}\n\
         allow: [writable_executable]\njwt: {{audiences: [{AUDIENCE}]}}\n"
    ))
}

/// Tells how far it is, without getting into the figures.
pub(crate) fn say(what: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{what}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn duration(plan: &Plan) -> Duration {
        let measurements = u64::from(plan.rounds) * (SCENARIOS.len() * TURNS) as u64;
        Duration::from_millis(measurements * (plan.warm_up_ms + plan.measured_ms))
    }

    #[test]
    fn plans_are_as_long_as_they_say() {
        assert!(duration(&Plan::quick()) <= Duration::from_secs(15));
        assert_eq!(duration(&Plan::whole(1)), Duration::from_secs(30));
    }

    #[test]
    fn the_entry_demands_what_was_asked_for() {
        let text = entry(&[SelectorKind::UnixUid, SelectorKind::UnixPath]).unwrap();
        let domain = "example.org".parse().ok();
        let entries = countersign_common::entry::parse_entries("entry", &text, domain.as_ref()).unwrap();
        assert_eq!(entries[0].selectors.len(), 2);
        assert!(entry(&[SelectorKind::UnixUser]).is_err());
    }
}
