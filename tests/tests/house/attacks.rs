//! Each row of the threat model is a test, and is seen to be an attack: a second test runs the same
//! with the protection taken out, and the attacker gets what the row forbids.

use std::collections::BTreeSet;

use super::language::tokens;
use super::source::Source;

/// The rows of posing as another process, and of wearing the agent down.
const ROWS: [(char, u32); 2] = [('p', 15), ('d', 7)];

/// Rows whose attack is not shown to work, each with the reason why it cannot be. None: where one
/// protection is a library's, as with some floods of D4, another attack of the row is shown.
const NOT_SHOWN: [(&str, &str); 0] = [];

/// What is missing: a test of a row, or its pair.
pub(super) fn missing(sources: &[Source]) -> Vec<String> {
    let tests: BTreeSet<String> = sources.iter().flat_map(tests).collect();
    let has = |begin: &str| tests.iter().any(|test| test.starts_with(begin));
    let mut missing = Vec::new();
    for row in ROWS.iter().flat_map(|(letter, last)| (1..=*last).map(move |number| format!("{letter}{number}"))) {
        let shown = ["works", "hurts"].map(|word| format!("{row}_{word}_"));
        if !tests.iter().any(|test| test.starts_with(&format!("{row}_")) && !shown.iter().any(|s| test.starts_with(s)))
        {
            missing.push(format!("{row}: no test that the attack fails"));
        }
        let excepted = NOT_SHOWN.iter().any(|(named, _)| *named == row);
        if shown.iter().any(|begin| has(begin)) == excepted {
            missing
                .push(format!("{row}: no test that it succeeds without the protection, or an exception for nothing"));
        }
    }
    missing
}

/// Names of the tests in the suites that run a real agent.
fn tests(source: &Source) -> Vec<String> {
    if !source.path.starts_with("tests/tests/") {
        return Vec::new();
    }
    let tokens = tokens(&source.text);
    let names = tokens.windows(2).filter(|pair| pair[0].text == "fn").map(|pair| pair[1].text.clone());
    names.collect()
}
