//! What the YAML reader takes, refuses, and survives.

use proptest::prelude::*;

use super::*;

fn problems(text: &str) -> Vec<String> {
    parse_yaml("a.yaml", text).unwrap_err().iter().map(ToString::to_string).collect()
}

fn scalar(line: usize, text: &str) -> Node {
    Node { line, value: Value::Scalar(text.to_owned()) }
}

fn field(name: &str, line: usize, node: Node) -> Field {
    Field { name: name.to_owned(), line, node }
}

#[test]
fn every_node_knows_its_line() {
    let text = "# an entry\nid: orders\nselectors:\n  - unix:uid:1001\n  - \"null\"\nttl:\nlast: ~\n";
    let list = Value::Sequence(vec![scalar(4, "unix:uid:1001"), scalar(5, "null")]);
    let fields = vec![
        field("id", 2, scalar(2, "orders")),
        field("selectors", 3, Node { line: 4, value: list }),
        field("ttl", 6, Node { line: 6, value: Value::Null }),
        field("last", 7, Node { line: 7, value: Value::Null }),
    ];
    assert_eq!(parse_yaml("a.yaml", text), Ok(vec![Node { line: 2, value: Value::Mapping(fields) }]));
}

#[test]
fn documents_are_told_apart_and_empty_ones_left_out() {
    let documents = parse_yaml("a.yaml", "---\n# nothing\n---\na: 1\n---\n---\nb: yes\n").unwrap();
    let lines: Vec<_> = documents.iter().map(|node| node.line).collect();
    assert_eq!(lines, [4, 7]);
    for empty in ["", "\n\n", "# a comment\n", "---\n", "---\n...\n"] {
        assert_eq!(parse_yaml("a.yaml", empty), Ok(vec![]), "{empty:?}");
    }
}

#[test]
fn json_is_yaml() {
    let documents = parse_yaml("a.json", "{\n  \"a\": [\"x\", null],\n  \"b\": {\"c\": 5}\n}\n").unwrap();
    let list = Value::Sequence(vec![scalar(2, "x"), Node { line: 2, value: Value::Null }]);
    let inner = Value::Mapping(vec![field("c", 3, scalar(3, "5"))]);
    let fields = vec![field("a", 2, Node { line: 2, value: list }), field("b", 3, Node { line: 3, value: inner })];
    assert_eq!(documents, [Node { line: 1, value: Value::Mapping(fields) }]);
}

#[test]
fn what_an_entry_does_not_need_is_refused() {
    let said = problems("a: &x [1]\nb: *x\nc: !!str 5\nd: 1\nd: 2\n? [1, 2]\n: 3\n");
    assert_eq!(
        said,
        [
            "a.yaml:1: a: has an anchor (&name); write the value out where it is needed",
            "a.yaml:2: b: is an alias (*name); write the value out",
            "a.yaml:3: c: has a tag (!name); remove it",
            "a.yaml:5: \"d\" stands twice, first on line 4",
            "a.yaml:6: has a name that is not plain text",
        ]
    );
}

#[test]
fn documents_before_the_first_error_of_syntax_are_kept() {
    let (documents, problems) = read_documents("a.yaml", "a: 1\n---\nb: [\n");
    assert_eq!(documents.len(), 1);
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn depth_is_bounded() {
    let nested = |depth| format!("{}x{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse_yaml("a.yaml", &nested(MAX_DEPTH)).is_ok());
    assert_eq!(problems(&nested(MAX_DEPTH + 1)).len(), 1);
    assert_eq!(problems(&"[".repeat(1_000_000)).len(), 1);
    assert_eq!(problems(&"- ".repeat(100_000)).len(), 1);
}

#[test]
fn the_number_of_values_is_bounded() {
    let said = problems(&"- x\n".repeat(MAX_NODES + 1));
    assert_eq!(said, ["a.yaml:500001: [500000]: is the value after 500000; split the file"]);
}

#[test]
fn what_the_parser_must_keep_in_mind_is_bounded() {
    let reason = "is followed by more than 256 KiB in one piece: write long lists as lines, without brackets";
    let flow = format!("a: 1\n---\n[{}]\n", "x,".repeat(1 << 18));
    assert_eq!(problems(&flow), [format!("a.yaml:2: {reason}")]);
    let comment = format!("a: 1\n{}\nb: 2\n", "# x\n".repeat(1 << 18));
    assert_eq!(problems(&comment), [format!("a.yaml:1: {reason}")]);
    let block = format!("a:\n{}", "  - x\n".repeat(1 << 18));
    assert!(parse_yaml("a.yaml", &block).is_ok());
}

#[test]
fn length_is_bounded() {
    let long = "#".repeat(crate::document::MAX_TEXT_BYTES + 1);
    assert_eq!(problems(&long), ["a.yaml:1: has 4194305 bytes; more than 4 MiB are not read: split the file"]);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(\\PC|[\\[\\]{}:,&*!|>%@`?\"'#\n\r\t a-c0-9_.-]){0,80}") {
        let _ = parse_yaml("a.yaml", &text);
    }
}
