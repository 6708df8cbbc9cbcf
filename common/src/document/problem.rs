//! What is wrong with a file, one [`Problem`] a place, all of them in [`Problems`].

use std::cell::RefCell;
use std::fmt;

use super::MAX_TEXT_BYTES;

/// How many problems of one file are told; nobody mends more in one go.
pub const MAX_PROBLEMS: usize = 1000;

/// One thing that is wrong with a file, as an operator reads it:
/// `entries.yaml:12: jwt.ttl: "5 minute" is not a duration such as 5m`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file's name as the operator gave it.
    pub file: String,
    /// Line in the file, the first being 1.
    pub line: usize,
    /// The field, dotted from the top of the document; empty where the document itself is meant.
    pub field: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.reason)
    }
}

impl Problem {
    /// The one problem of a text that is too long to be looked at.
    pub(super) fn too_long(file: &str, text: &str) -> Option<Self> {
        (text.len() > MAX_TEXT_BYTES).then(|| Self {
            file: file.to_owned(),
            line: 1,
            field: String::new(),
            reason: format!("has {} bytes; more than 4 MiB are not read: split the file", text.len()),
        })
    }
}

/// Everything that was found wrong with one file.
#[derive(Debug)]
pub struct Problems {
    file: String,
    found: RefCell<Vec<Problem>>,
}

impl Problems {
    /// No problems yet with `file`, named as the operator gave it.
    pub fn new(file: &str) -> Self {
        Self::with(file, Vec::new())
    }

    /// `found` is known to be wrong with `file` already.
    pub fn with(file: &str, found: Vec<Problem>) -> Self {
        Self { file: file.to_owned(), found: RefCell::new(found) }
    }

    /// Adds one; those beyond the first [`MAX_PROBLEMS`] are left out.
    pub fn report(&self, line: usize, field: &str, reason: impl Into<String>) {
        if self.found.borrow().len() >= MAX_PROBLEMS {
            return;
        }
        let problem = Problem { file: self.file.clone(), line, field: field.to_owned(), reason: reason.into() };
        self.found.borrow_mut().push(problem);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// All of them, in the order of their lines.
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| problem.line);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_file_line_field_reason() {
        let problems = Problems::new("a.yaml");
        problems.report(12, "jwt.ttl", "is wrong");
        problems.report(3, "", "is not a mapping");
        let said: Vec<_> = problems.into_sorted().iter().map(ToString::to_string).collect();
        assert_eq!(said, ["a.yaml:3: is not a mapping", "a.yaml:12: jwt.ttl: is wrong"]);
    }

    #[test]
    fn there_is_an_end_to_problems() {
        let problems = Problems::new("a.yaml");
        for line in 0..2 * MAX_PROBLEMS {
            problems.report(line, "", "is wrong");
        }
        assert_eq!(problems.into_sorted().len(), MAX_PROBLEMS);
    }
}
