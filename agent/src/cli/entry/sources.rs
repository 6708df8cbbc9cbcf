//! The files that a command names.

use std::io::Read;
use std::path::{Path, PathBuf};

use countersign_common::document::MAX_TEXT_BYTES;
use countersign_common::entry::{Entry, parse_sources};
use countersign_common::proto::admin::Source;
use countersign_common::spiffe_id::TrustDomain;

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
    files.iter().map(|file| read_one(file)).collect()
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn read_one(file: &Path) -> Result<Source, CliError> {
    let name = if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() };
    let read = if is_stdin(file) { bounded(std::io::stdin()) } else { std::fs::File::open(file).and_then(bounded) };
    let bytes = read.map_err(|error| CliError::refused(format!("cannot read {name}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::refused(format!("cannot read {name}: it is not UTF-8 text (from byte {at} on)"))
    })?;
    Ok(Source { name, text })
}

/// One byte over the bound at most, so that the parser sees that it is too long, and says so.
fn bounded(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
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
