//! What an operator typed, as a tree whose every node knows its line.
//!
//! Entries (YAML) and configuration (TOML) become the same [`Node`]s, and one
//! [`Reader`] turns nodes into values. It does not stop at the first problem: it
//! collects all of them, each with file, line and field, so that a file is mended
//! in one go.

mod duration;
mod problem;
mod read;
mod spelling;
mod toml;
mod yaml;

pub use duration::{NotADuration, duration_text, parse_duration};
pub use problem::{MAX_PROBLEMS, Problem, Problems};
pub use read::Reader;
pub(crate) use read::duration_within;
pub use spelling::{near_miss, quoted};
pub use toml::parse_toml;
pub use yaml::{parse_yaml, read_documents};

/// The longest text that is read, in bytes (4 MiB).
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// A value with the line that it begins on.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line in the file, the first being 1.
    pub line: usize,
    /// What stands there.
    pub value: Value,
}

/// What a node holds. Scalars keep their text: `1001` may be meant as a number or a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, or `null`.
    Null,
    /// A scalar, as text without quotes.
    Scalar(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Fields in the order of the file; no name stands twice.
    Mapping(Vec<Field>),
    /// Something that was refused, and reported, while the text was parsed.
    /// A [`Reader`] passes over it without another word.
    Refused,
}

/// One `name: value` of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The name as written.
    pub name: String,
    /// The line of the name.
    pub line: usize,
    /// The value.
    pub node: Node,
}
