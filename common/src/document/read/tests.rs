//! Each getter: what it gives, and what it says when it cannot.

use super::*;
use crate::document::{Node, parse_yaml};

/// Reads `text` with `read`; the answer and all problems as the operator sees them.
fn reading<T>(text: &str, read: impl FnOnce(&mut Reader<'_>) -> T) -> (T, Vec<String>) {
    let documents: Vec<Node> = parse_yaml("a.yaml", text).unwrap();
    let problems = Problems::new("a.yaml");
    let mut reader = Reader::of_document(&documents[0], &problems).unwrap();
    let answer = read(&mut reader);
    reader.finish();
    (answer, problems.into_sorted().iter().map(ToString::to_string).collect())
}

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn values_of_every_kind_are_read() {
    let text = "t: x\nd: 5m\nb: true\nu: 7\nl: [1, 2]\no: red\nm: {k: v}\n";
    let (answer, problems) = reading(text, |reader| {
        let mut inner = reader.mapping("m")?;
        let inner_text = inner.text("k")?;
        inner.finish();
        Some(
            (
                reader.text("t")?,
                reader.duration("d", SECONDS(1)..=SECONDS(600))?,
                reader.boolean("b")?,
                reader.unsigned("u", 0..=9)?,
                reader.list("l", 2, str::parse::<u32>)?,
                reader.one_of("o", &[("red", 'r'), ("blue", 'b')])?,
                inner_text,
            ) == ("x", SECONDS(300), true, 7, vec![(5, 1), (5, 2)], 'r', "v"),
        )
    });
    assert_eq!((answer, problems), (Some(true), vec![]));
}

#[test]
fn absent_keys_are_a_problem_only_where_they_are_required() {
    let (answer, problems) = reading("\nt: x\n", |reader| {
        reader.require("t");
        reader.require("id");
        let mut empty = reader.mapping_or_empty("m");
        let inner = empty.text("k").is_none();
        empty.finish();
        inner && reader.text("t").is_some() && reader.text("id").is_none()
    });
    assert_eq!((answer, problems), (true, vec!["a.yaml:2: id: is missing".to_owned()]));
}

#[test]
fn all_problems_are_told_in_the_order_of_their_lines() {
    let text =
        "d: 5 minute s\nl: [1, x, [y]]\nn:\nu: 11\no: redd\nd2: 1s\nm: [a]\nt: {a: b}\nselctors: 1\nl2: [1, 2]\n";
    let (_, problems) = reading(text, |reader| {
        reader.text("t");
        reader.mapping("m");
        reader.duration("d2", SECONDS(10)..=SECONDS(3600));
        reader.one_of("o", &[("red", 'r'), ("blue", 'b')]);
        reader.unsigned("u", 0..=9);
        reader.text("n");
        reader.list("l", 9, |text| text.parse::<u32>().map_err(|_| format!("{} is no number", quoted(text))));
        reader.list("l2", 1, |text| Ok::<_, String>(text.to_owned()));
        reader.duration("d", SECONDS(10)..=SECONDS(3600));
        reader.text("selectors");
    });
    assert_eq!(
        problems,
        [
            "a.yaml:1: d: \"5 minute s\" is not a duration such as 30s, 5m or 1h 30m",
            "a.yaml:2: l[1]: \"x\" is no number",
            "a.yaml:2: l[2]: is a list, where a single value is expected",
            "a.yaml:3: n: has no value: give one, or remove the line",
            "a.yaml:4: u: \"11\" is not a whole number from 0 to 9",
            "a.yaml:5: o: unknown value \"redd\", did you mean \"red\"?",
            "a.yaml:6: d2: \"1s\" is not within the bounds 10s to 1h",
            "a.yaml:7: m: is a list, where keys with values are expected",
            "a.yaml:8: t: is a mapping, where a single value is expected",
            "a.yaml:9: unknown key \"selctors\", did you mean \"selectors\"?",
            "a.yaml:10: l2: has 2 items; at most 1 are allowed",
        ]
    );
}

#[test]
fn an_unknown_key_in_a_mapping_names_the_keys_that_are_known_there() {
    let (_, problems) = reading("m:\n  colour: red\n", |reader| {
        let mut inner = reader.mapping("m").unwrap();
        inner.text("ttl");
        inner.text("bind");
        inner.finish();
    });
    assert_eq!(problems, ["a.yaml:2: m: unknown key \"colour\"; known here are ttl and bind"]);
}

#[test]
fn what_the_parser_refused_is_passed_over() {
    let (documents, _) = crate::document::read_documents("a.yaml", "t: !tag x\nl: [!tag x]\n");
    let problems = Problems::new("a.yaml");
    let mut reader = Reader::of_document(&documents[0], &problems).unwrap();
    assert_eq!(reader.text("t"), None);
    assert_eq!(reader.list("l", 9, |text| Ok::<_, String>(text.to_owned())), Some(vec![]));
    reader.finish();
    assert!(problems.is_empty());
}
