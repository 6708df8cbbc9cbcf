//! TOML to nodes.

use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::{Field, Node, Problem, Value};

/// Parses a TOML text into one mapping. Scalars keep their text, numbers in decimal.
///
/// # Errors
/// Everything that is wrong with the text, in the order of its lines.
pub fn parse_toml(file: &str, text: &str) -> Result<Node, Vec<Problem>> {
    if let Some(problem) = Problem::too_long(file, text) {
        return Err(vec![problem]);
    }
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node { line: 1, value: mapping(table.get_ref(), &lines) });
    }
    let mut problems: Vec<_> = errors
        .into_iter()
        .map(|error| Problem {
            file: file.to_owned(),
            line: error.span().map_or(1, |span| lines.at(span.start)),
            field: String::new(),
            reason: format!("is not TOML: {}", error.message()),
        })
        .collect();
    problems.sort();
    problems.dedup();
    Err(problems)
}

/// Where each line of a text begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1).collect())
    }

    /// The line of the byte at `offset`, the first line being 1.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset) + 1
    }
}

fn mapping(table: &DeTable<'_>, lines: &Lines) -> Value {
    let mut fields: Vec<_> = table
        .iter()
        .map(|(name, value)| {
            let line = lines.at(name.span().start);
            let node = Node { line: lines.at(value.span().start), value: node_value(value.get_ref(), lines) };
            (name.span().start, Field { name: name.get_ref().clone().into_owned(), line, node })
        })
        .collect();
    // The table sorts by name; a file is read from the top.
    fields.sort_by_key(|(at, _)| *at);
    Value::Mapping(fields.into_iter().map(|(_, field)| field).collect())
}

fn sequence(array: &DeArray<'_>, lines: &Lines) -> Value {
    let item = |item: &toml::Spanned<DeValue<'_>>| Node {
        line: lines.at(item.span().start),
        value: node_value(item.get_ref(), lines),
    };
    Value::Sequence(array.iter().map(item).collect())
}

/// Recursion ends: the parser refuses nesting beyond its own bound (80 levels).
fn node_value(value: &DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Scalar(text.clone().into_owned()),
        DeValue::Integer(number) => Value::Scalar(decimal(number)),
        DeValue::Float(number) => Value::Scalar(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Value::Scalar(truth.to_string()),
        DeValue::Datetime(time) => Value::Scalar(time.to_string()),
        DeValue::Array(array) => sequence(array, lines),
        DeValue::Table(table) => mapping(table, lines),
    }
}

/// The number in decimal where it has a size that anything here can mean, else as written.
fn decimal(number: &DeInteger<'_>) -> String {
    i128::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| number.to_string(), |n| n.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse_toml("a.toml", text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_node_knows_its_line_and_fields_keep_their_order() {
        let node = parse_toml("a.toml", "zone = \"x\"\n[table]\nn = 0x1_0\nlist = [\n  1,\n  true,\n]\n").unwrap();
        let scalar = |line, text: &str| Node { line, value: Value::Scalar(text.to_owned()) };
        let field = |name: &str, line, node| Field { name: name.to_owned(), line, node };
        let list = Node { line: 4, value: Value::Sequence(vec![scalar(5, "1"), scalar(6, "true")]) };
        let table = Value::Mapping(vec![field("n", 3, scalar(3, "16")), field("list", 4, list)]);
        let Value::Mapping(fields) = node.value else { panic!("a table is a mapping") };
        assert_eq!(fields[0], field("zone", 1, scalar(1, "x")));
        assert_eq!((fields[1].name.as_str(), &fields[1].node.value), ("table", &table));
    }

    #[test]
    fn all_errors_are_reported_with_their_lines() {
        let said = problems("a = 1\na = 2\nb = \nc = \"open\n");
        let lines: Vec<_> = said.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
        assert_eq!(lines, ["a.toml:2", "a.toml:3", "a.toml:4"], "{said:?}");
        assert_eq!(said[0], "a.toml:2: is not TOML: duplicate key");
    }

    #[test]
    fn nesting_and_length_are_bounded() {
        assert!(!problems(&format!("a = {}", "[".repeat(100_000))).is_empty());
        let long = "#".repeat(crate::document::MAX_TEXT_BYTES + 1);
        assert_eq!(problems(&long), ["a.toml:1: has 4194305 bytes; more than 4 MiB are not read: split the file"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(\\PC|[\\[\\]{}=.\"'#\n\r\t a-c0-9_-]){0,60}") {
            let _ = parse_toml("a.toml", &text);
        }
    }
}
