//! Files that a command names, and standard input.

use std::io::Read;
use std::path::Path;

use super::outcome::CliError;

/// A file as it was read.
pub(super) struct Input {
    /// Its name in messages.
    pub(super) name: String,
    /// All of it, or as much as was asked for and one byte.
    pub(super) text: String,
}

/// Whether the file is standard input: `-`.
pub(super) fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// Reads a file whole; `-` is standard input. Of a file of more than `most` bytes, one byte more than that is
/// read, so that whoever parses it sees that it is too long, and says so.
///
/// # Errors
/// It cannot be read, or is not text.
pub(super) fn read(file: &Path, most: usize) -> Result<Input, CliError> {
    let name = if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() };
    let bounded = |source: &mut dyn Read| {
        let mut bytes = Vec::new();
        source.take(most as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    };
    let read = if is_stdin(file) {
        bounded(&mut std::io::stdin())
    } else {
        std::fs::File::open(file).and_then(|mut file| bounded(&mut file))
    };
    let bytes = read.map_err(|error| CliError::refused(format!("cannot read {name}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::refused(format!("cannot read {name}: it is not UTF-8 text (from byte {at} on)"))
    })?;
    Ok(Input { name, text })
}
