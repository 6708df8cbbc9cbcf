//! Nodes to values, collecting every problem on the way.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::spelling::suggestion;
use super::{Field, Node, Problems, Value, duration_text, parse_duration, quoted};

/// Reads a mapping field by field.
///
/// Each getter takes the name of a key, and by that the key is known; [`finish`] then
/// reports the keys that nobody asked for. A getter that finds something wrong reports it
/// and returns `None`, as it does for a key that is absent: the caller goes on with any
/// value, because what it builds is thrown away once a problem is reported.
///
/// [`finish`]: Reader::finish
#[derive(Debug)]
pub struct Reader<'p> {
    problems: &'p Problems,
    path: String,
    line: usize,
    fields: &'p [Field],
    known: Vec<&'static str>,
}

impl<'p> Reader<'p> {
    /// Reads `document`; `None`, and a problem, if it is not a mapping.
    pub fn of_document(document: &'p Node, problems: &'p Problems) -> Option<Self> {
        Self::of_node(document, document.line, String::new(), problems)
    }

    fn of_node(node: &'p Node, line: usize, path: String, problems: &'p Problems) -> Option<Self> {
        match &node.value {
            Value::Mapping(fields) => Some(Self { problems, path, line, fields, known: Vec::new() }),
            Value::Refused => None,
            other => {
                problems.report(
                    node.line,
                    &path,
                    format!("is {}, where keys with values are expected", name_of(other)),
                );
                None
            }
        }
    }

    /// The line that the mapping begins on.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The line of key `name`, or of the mapping if the key is absent.
    pub fn line_of(&self, name: &str) -> usize {
        self.field(name).map_or(self.line, |field| field.line)
    }

    /// Reports something about key `name` that only the caller can know.
    pub fn report(&self, name: &str, reason: impl Into<String>) {
        self.problems.report(self.line_of(name), &self.path_of(name), reason);
    }

    /// Reports that key `name` is missing, if it is.
    pub fn require(&mut self, name: &'static str) {
        self.know(name);
        if self.field(name).is_none() {
            self.problems.report(self.line, &self.path_of(name), "is missing");
        }
    }

    /// The node of key `name`; a key without a value is a problem.
    pub fn node(&mut self, name: &'static str) -> Option<&'p Node> {
        self.know(name);
        let field = self.field(name)?;
        match field.node.value {
            Value::Refused => None,
            Value::Null => {
                self.report(name, "has no value: give one, or remove the line");
                None
            }
            _ => Some(&field.node),
        }
    }

    /// The text of key `name`.
    pub fn text(&mut self, name: &'static str) -> Option<&'p str> {
        let node = self.node(name)?;
        self.text_of(node, || self.path_of(name))
    }

    /// The value that `parse` makes of the text of key `name`. Its error is the whole reason
    /// that the operator reads.
    pub fn parsed<T, E: Display>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text(name)?;
        let line = self.field(name)?.node.line;
        parse(text).map_err(|error| self.problems.report(line, &self.path_of(name), error.to_string())).ok()
    }

    /// A duration within `bounds`.
    pub fn duration(&mut self, name: &'static str, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        self.parsed(name, |text| duration_within(text, &bounds))
    }

    /// A whole number within `bounds`.
    pub fn unsigned(&mut self, name: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        self.parsed(name, |text| {
            let (least, most) = (bounds.start(), bounds.end());
            let number = text.parse().ok().filter(|number| bounds.contains(number));
            number.ok_or_else(|| format!("{} is not a whole number from {least} to {most}", quoted(text)))
        })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        self.one_of(name, &[("true", true), ("false", false)])
    }

    /// One of a few names, each with what it stands for.
    pub fn one_of<T: Copy>(&mut self, name: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        self.parsed(name, |text| {
            let chosen = choices.iter().find(|(choice, _)| *choice == text).map(|(_, meaning)| *meaning);
            let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
            chosen.ok_or_else(|| format!("unknown value {}{}", quoted(text), suggestion(text, &names)))
        })
    }

    /// The values that `parse` makes of the texts in the list of key `name`, each with its
    /// line; items that `parse` refuses are reported and left out. At most `most` items.
    pub fn list<T, E: Display>(
        &mut self,
        name: &'static str,
        most: usize,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Option<Vec<(usize, T)>> {
        let node = self.node(name)?;
        let Value::Sequence(items) = &node.value else {
            self.report(name, format!("is {}, where a list is expected", name_of(&node.value)));
            return None;
        };
        if items.len() > most {
            self.report(name, format!("has {} items; at most {most} are allowed", items.len()));
            return None;
        }
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = || format!("{}[{index}]", self.path_of(name));
            let Some(text) = self.text_of(item, path) else { continue };
            match parse(text) {
                Ok(value) => values.push((item.line, value)),
                Err(error) => self.problems.report(item.line, &path(), error.to_string()),
            }
        }
        Some(values)
    }

    /// How many items the list of key `name` has; 0 if it is no list.
    pub fn item_count(&self, name: &str) -> usize {
        match self.field(name).map(|field| &field.node.value) {
            Some(Value::Sequence(items)) => items.len(),
            _ => 0,
        }
    }

    /// The fields of key `name` if it is a mapping whose names the operator chooses.
    /// Anything else than a mapping is left to the other getters.
    pub fn open_mapping(&mut self, name: &'static str) -> Option<&'p [Field]> {
        match &self.node(name)?.value {
            Value::Mapping(fields) => Some(fields),
            _ => None,
        }
    }

    /// A value of an [`open_mapping`](Self::open_mapping): what `parse` makes of its text.
    pub fn parsed_field<T, E: Display>(
        &self,
        name: &'static str,
        field: &'p Field,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let path = || format!("{}.{}", self.path_of(name), quoted(&field.name));
        let text = self.text_of(&field.node, path)?;
        parse(text).map_err(|error| self.problems.report(field.line, &path(), error.to_string())).ok()
    }

    /// The mapping of key `name`, to be read and finished in its turn.
    pub fn mapping(&mut self, name: &'static str) -> Option<Self> {
        let node = self.node(name)?;
        Self::of_node(node, self.line_of(name), self.path_of(name), self.problems)
    }

    /// As [`mapping`](Self::mapping), where an absent one is as good as an empty one.
    pub fn mapping_or_empty(&mut self, name: &'static str) -> Self {
        let (path, line, problems) = (self.path_of(name), self.line_of(name), self.problems);
        let empty = Self { problems, path, line, fields: &[], known: Vec::new() };
        self.mapping(name).unwrap_or(empty)
    }

    /// Reports every key that no getter asked for.
    pub fn finish(self) {
        for field in self.fields {
            if !self.known.contains(&field.name.as_str()) {
                let reason = format!("unknown key {}{}", quoted(&field.name), suggestion(&field.name, &self.known));
                self.problems.report(field.line, &self.path, reason);
            }
        }
    }

    fn know(&mut self, name: &'static str) {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
    }

    fn field(&self, name: &str) -> Option<&'p Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn text_of(&self, node: &'p Node, path: impl FnOnce() -> String) -> Option<&'p str> {
        match &node.value {
            Value::Scalar(text) => Some(text),
            Value::Refused => None,
            other => {
                self.problems.report(
                    node.line,
                    &path(),
                    format!("is {}, where a single value is expected", name_of(other)),
                );
                None
            }
        }
    }
}

/// Parses a duration and holds it to `bounds`; the error names them.
pub(crate) fn duration_within(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if bounds.contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = (duration_text(*bounds.start()), duration_text(*bounds.end()));
    Err(format!("{} is not within the bounds {least} to {most}", quoted(text)))
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Scalar(_) => "a single value",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Refused => "refused",
    }
}

#[cfg(test)]
mod tests;
