//! `countersign agent`: the daemon, and the check of its configuration.

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Subcommand;

use super::outcome::{CliError, Outcome};
use crate::app;
use crate::config::{Config, LogFormat};
use crate::telemetry;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign agent --config /etc/countersign/agent.toml
  countersign agent check --config /etc/countersign/agent.toml

Exit codes: 0 stopped as asked, 1 cannot run, 2 wrong usage";

/// Arguments of `countersign agent`.
#[derive(Debug, clap::Args)]
pub(super) struct Agent {
    #[command(subcommand)]
    command: Option<AgentCommand>,
    /// The configuration file.
    #[arg(long, global = true, default_value = "/etc/countersign/agent.toml", value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Check the configuration, tell everything that is wrong with it, and run nothing.
    #[command(after_help = EXAMPLES)]
    Check,
}

impl Agent {
    pub(super) async fn run(self) -> Result<Outcome, CliError> {
        let config = Config::load(&self.config).map_err(|error| CliError::refused(error.to_string()))?;
        match self.command {
            Some(AgentCommand::Check) => {
                writeln!(stdout(), "{}: the configuration is valid", self.config.display())
                    .map_err(CliError::output)?;
                Ok(Outcome::Done)
            }
            None => {
                let format = match config.log.format {
                    LogFormat::Text => telemetry::Format::Text,
                    LogFormat::Json => telemetry::Format::Json,
                };
                telemetry::init(&config.log.filter, format).map_err(|error| CliError::refused(error.to_string()))?;
                Box::pin(app::run_agent(config)).await.map_err(|error| CliError::caused_by(&error))?;
                Ok(Outcome::Done)
            }
        }
    }
}
