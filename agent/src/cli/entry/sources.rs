//! The files that a command names.

use std::path::PathBuf;

use countersign_common::document::MAX_TEXT_BYTES;
use countersign_common::entry::{Entry, parse_sources};
use countersign_common::proto::admin::Source;
use countersign_common::spiffe_id::TrustDomain;

use crate::cli::input::{self, Input, is_stdin};
use crate::cli::outcome::CliError;

/// Reads every file whole; `-` is standard input.
///
/// # Errors
/// A file cannot be read, or is not text.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Source>, CliError> {
    // Standard input is gone after the first time: the second would be an empty file.
    if files.iter().filter(|file| is_stdin(file)).count() > 1 {
        return Err(CliError::usage("- (standard input) can be named once only"));
    }
    let read = |file: &PathBuf| input::read(file, MAX_TEXT_BYTES).map(|Input { name, text }| Source { name, text });
    files.iter().map(read).collect()
}

/// The entries of all sources; what is wrong with them is told whole, without asking an agent.
///
/// # Errors
/// Every problem, a line each.
pub(super) fn parse(sources: &[Source], trust_domain: Option<&TrustDomain>) -> Result<Vec<Entry>, CliError> {
    let texts: Vec<_> = sources.iter().map(|source| (source.name.as_str(), source.text.as_str())).collect();
    parse_sources(&texts, trust_domain).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let count = match lines.len() {
            1 => "1 thing".to_owned(),
            more => format!("{more} things"),
        };
        CliError::refused(format!("{count} wrong:\n{}", lines.join("\n")))
    })
}
