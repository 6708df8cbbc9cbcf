//! Who is measured in a scenario: an agent of its own, a floor server, and somebody else's agent
//! if there is one.

use countersign_tests::{Agent, AgentSettings};

use crate::BenchError;
use crate::floor::Floor;
use crate::load::Target;
use crate::reading::Subject;
use crate::setting::{AUDIENCE, Against, Setting};

/// The subjects of a scenario; they end with it.
pub(crate) struct Stage {
    pub(crate) agent: Agent,
    pub(crate) floor: Floor,
    against: Option<Against>,
}

impl Stage {
    /// Starts an agent with `settings` and `entries`, and a floor server.
    ///
    /// # Errors
    /// The floor server does not start.
    pub(crate) async fn set(setting: &Setting, settings: AgentSettings, entries: &str) -> Result<Self, BenchError> {
        let agent = Agent::start(settings).await;
        agent.apply(entries);
        Ok(Self { agent, floor: Floor::start()?, against: setting.against.clone() })
    }

    /// The same with an agent like any other, whose one entry is the load process's.
    ///
    /// # Errors
    /// The floor server does not start, or a selector has no value.
    pub(crate) async fn usual(setting: &Setting, audiences: &[&str]) -> Result<Self, BenchError> {
        Self::set(setting, AgentSettings::default(), &setting.entry(audiences)?).await
    }

    /// Where a load process finds the subject. Of another agent nothing is known but its socket.
    ///
    /// # Errors
    /// There is no such subject.
    pub(crate) fn target(&self, subject: Subject) -> Result<Target, BenchError> {
        match (subject, &self.against) {
            (Subject::Ours, _) => Ok(target(&self.agent)),
            (Subject::Floor, _) => Ok(self.floor.target()),
            (Subject::Theirs, Some(Against { socket, audience })) => {
                Ok(Target { socket: socket.clone(), server: None, audience: audience.clone(), same_token: false })
            }
            (Subject::Theirs, None) => Err(BenchError::Nothing("another agent")),
        }
    }
}

/// Where a load process finds an agent of ours.
pub(crate) fn target(agent: &Agent) -> Target {
    Target {
        socket: agent.workload_socket(),
        server: Some(agent.pid()),
        audience: AUDIENCE.to_owned(),
        same_token: true,
    }
}
