//! YAML to nodes.

mod budget;

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use self::budget::Budget;
use super::{Field, MAX_PROBLEMS, Node, Problem, Value, quoted};

/// How deep lists and mappings may be nested.
const MAX_DEPTH: usize = 32;

/// How many values a text may hold, names not counted.
const MAX_NODES: usize = 500_000;

/// Parses all documents of a YAML text; empty documents are left out.
///
/// Anchors, aliases and tags are refused: an alias can make a small file a huge
/// tree, and no entry needs one. Duplicate names in a mapping are refused. Scalars are
/// text whatever they look like (`yes`, `1001`); only a plain `null`, `~` or nothing at
/// all is [`Value::Null`].
///
/// # Errors
/// Everything that is wrong with the text, in the order of its lines.
pub fn parse_yaml(file: &str, text: &str) -> Result<Vec<Node>, Vec<Problem>> {
    let (documents, problems) = read_documents(file, text);
    if problems.is_empty() { Ok(documents) } else { Err(problems) }
}

/// As [`parse_yaml`], for a reader that goes on after a problem: the documents that could
/// be read, with [`Value::Refused`] where something was refused, and the problems.
pub fn read_documents(file: &str, text: &str) -> (Vec<Node>, Vec<Problem>) {
    if let Some(problem) = Problem::too_long(file, text) {
        return (Vec::new(), vec![problem]);
    }
    let mut builder =
        Builder { file, documents: Vec::new(), open: Vec::new(), nodes: 0, line: 1, problems: Vec::new() };
    let budget = Budget::default();
    // Every event is taken as it comes: the parser's own loader recurses without a bound.
    for event in Parser::new_from_iter(budget.metered(text)) {
        let step = match event {
            _ if budget.is_exhausted() => Err(builder.problem(builder.line, budget::EXCEEDED.to_owned())),
            Ok((event, span)) => builder.take(event, span.start.line()),
            Err(error) => Err(builder.not_yaml(&error)),
        };
        budget.renew();
        if let Err(last) = step {
            builder.problems.push(last);
            break;
        }
        if builder.problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    let mut problems = builder.problems;
    problems.sort_by_key(|problem| problem.line);
    (builder.documents, problems)
}

/// A list or mapping whose end has not come yet.
enum Open {
    Sequence { line: usize, items: Vec<Node> },
    Mapping { line: usize, fields: Vec<Field>, lines: HashMap<String, usize>, name: Name },
}

/// What a mapping waits for.
enum Name {
    /// The next name.
    Awaited,
    /// The value of this name.
    Read(String, usize),
    /// The value of a name that was refused; it is thrown away.
    Refused(usize),
}

/// Makes documents of events.
struct Builder<'f> {
    file: &'f str,
    documents: Vec<Node>,
    open: Vec<Open>,
    nodes: usize,
    /// Where the latest event began.
    line: usize,
    problems: Vec<Problem>,
}

impl Builder<'_> {
    /// Takes one event; an error ends the text.
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Problem> {
        self.line = line;
        match event {
            Event::Alias(_) => {
                self.report(line, "is an alias (*name); write the value out".to_owned());
                self.put(Node { line, value: Value::Refused })
            }
            Event::Scalar(text, style, anchor, tag) => {
                let line = if text.is_empty() { self.line_of_name().unwrap_or(line) } else { line };
                let refused = self.refuse_properties(line, anchor, tag.is_some());
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = match (refused, null) {
                    (true, _) => Value::Refused,
                    (false, true) => Value::Null,
                    (false, false) => Value::Scalar(text.into_owned()),
                };
                self.put(Node { line, value })
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_properties(line, anchor, tag.is_some());
                self.begin(line, Open::Sequence { line, items: Vec::new() })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_properties(line, anchor, tag.is_some());
                let (fields, lines) = (Vec::new(), HashMap::new());
                self.begin(line, Open::Mapping { line, fields, lines, name: Name::Awaited })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence { line, items }) => self.put(Node { line, value: Value::Sequence(items) }),
                Some(Open::Mapping { line, fields, .. }) => self.put(Node { line, value: Value::Mapping(fields) }),
                None => Ok(()),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn begin(&mut self, line: usize, open: Open) -> Result<(), Problem> {
        if self.open.len() == MAX_DEPTH {
            return Err(self.problem(line, format!("is nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(open);
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.problem(node.line, format!("is the value after {MAX_NODES}; split the file")));
        }
        match self.open.last_mut() {
            None if node.value == Value::Null => {}
            None => self.documents.push(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { fields, name, .. }) => match std::mem::replace(name, Name::Awaited) {
                Name::Awaited => self.name(node),
                Name::Read(name, line) => fields.push(Field { name, line, node }),
                Name::Refused(_) => {}
            },
        }
        Ok(())
    }

    /// Takes a node that stands where the innermost mapping has a name.
    fn name(&mut self, node: Node) {
        let line = node.line;
        let (taken, objection) = match (node.value, self.open.last_mut()) {
            (Value::Scalar(text), Some(Open::Mapping { lines, .. })) => match lines.get(&text) {
                Some(first) => {
                    (Name::Refused(line), Some(format!("{} stands twice, first on line {first}", quoted(&text))))
                }
                None => {
                    lines.insert(text.clone(), line);
                    (Name::Read(text, line), None)
                }
            },
            // An alias, anchor or tag was reported where it was met.
            (Value::Refused, _) => (Name::Refused(line), None),
            _ => (Name::Refused(line), Some("has a name that is not plain text".to_owned())),
        };
        if let Some(objection) = objection {
            self.report(line, objection);
        }
        if let Some(Open::Mapping { name, .. }) = self.open.last_mut() {
            *name = taken;
        }
    }

    /// Reports an anchor or a tag; whether there was one.
    fn refuse_properties(&mut self, line: usize, anchor: usize, tagged: bool) -> bool {
        if anchor > 0 {
            self.report(line, "has an anchor (&name); write the value out where it is needed".to_owned());
        }
        if tagged {
            self.report(line, "has a tag (!name); remove it".to_owned());
        }
        anchor > 0 || tagged
    }

    /// The line of the name whose value is awaited: an empty value has no line of its own.
    fn line_of_name(&self) -> Option<usize> {
        match self.open.last() {
            Some(Open::Mapping { name: Name::Read(_, line) | Name::Refused(line), .. }) => Some(*line),
            _ => None,
        }
    }

    fn report(&mut self, line: usize, reason: String) {
        let problem = self.problem(line, reason);
        self.problems.push(problem);
    }

    fn not_yaml(&self, error: &ScanError) -> Problem {
        let (file, line) = (self.file.to_owned(), error.marker().line());
        Problem { file, line, field: String::new(), reason: format!("is not YAML: {}", error.info()) }
    }

    fn problem(&self, line: usize, reason: String) -> Problem {
        Problem { file: self.file.to_owned(), line, field: self.path(), reason }
    }

    /// Where in the document the builder stands.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::Sequence { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Open::Mapping { name: Name::Read(name, _), .. } => {
                    let dot = if path.is_empty() { "" } else { "." };
                    path.push_str(&format!("{dot}{}", name.escape_debug()));
                }
                Open::Mapping { .. } => {}
            }
        }
        path
    }
}

#[cfg(test)]
mod tests;
