//! The files that a command names.

use std::io::Read;
use std::path::{Path, PathBuf};

use countersign_common::document::MAX_TEXT_BYTES;
use countersign_common::proto::admin::Source;

use crate::cli::outcome::CliError;

/// Reads every file whole; `-` is standard input.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Source>, CliError> {
    files.iter().map(|file| read_one(file)).collect()
}

fn read_one(file: &Path) -> Result<Source, CliError> {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    // One byte over the bound, so that the parser sees that it is too long, and says so.
    let most = MAX_TEXT_BYTES as u64 + 1;
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().take(most).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|file| file.take(most).read_to_string(&mut text)),
    };
    read.map_err(|error| CliError::refused(format!("cannot read {name}: {error}")))?;
    Ok(Source { name, text })
}
