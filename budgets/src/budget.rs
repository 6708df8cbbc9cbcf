//! The budget as a file that people read, and what a new count says about it.

use std::fmt::{self, Display, Formatter, Write};
use std::str::FromStr;

use crate::BudgetError;
use crate::paths::Count;

/// What opens the file.
const HEADER: &str = "\
# Instructions in user space that one call costs the agent, counted by callgrind in a release build.
# What is counted, and how far two counts differ: docs/release.md.
#
#   budgets/run               compares
#   budgets/run --update      counts anew and writes this file
";
const COMPILER: &str = "compiler";
const COUNTER: &str = "counter";
const MACHINE: &str = "machine";

/// What each path may cost, and what the counts were taken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) taken_with: TakenWith,
    pub(crate) counts: Vec<Count>,
}

/// What else a count depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenWith {
    /// As `rustc --version` says.
    pub(crate) compiler: String,
    /// As `valgrind --version` says.
    pub(crate) counter: String,
    /// The instruction set.
    pub(crate) machine: String,
}

/// What a count is beside its budget.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    count: Count,
    /// None for a path that the file does not name.
    budget: Option<u64>,
    percent: f64,
}

impl Display for Budget {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let TakenWith { compiler, counter, machine } = &self.taken_with;
        writeln!(out, "{HEADER}\n{COMPILER} {compiler}\n{COUNTER} {counter}\n{MACHINE} {machine}\n")?;
        self.counts.iter().try_for_each(|Count { path, instructions }| writeln!(out, "{path} {instructions}"))
    }
}

impl Display for TakenWith {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{} and {} for {}", self.compiler, self.counter, self.machine)
    }
}

impl FromStr for Budget {
    type Err = BudgetError;

    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let (mut compiler, mut counter, mut machine, mut counts) = (None, None, None, Vec::new());
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').ok_or_else(|| BudgetError::Line(line.to_owned()))?;
            match word {
                COMPILER => compiler = Some(rest.to_owned()),
                COUNTER => counter = Some(rest.to_owned()),
                MACHINE => machine = Some(rest.to_owned()),
                path => {
                    let instructions = rest.parse().map_err(|_| BudgetError::Line(line.to_owned()))?;
                    counts.push(Count { path: path.to_owned(), instructions });
                }
            }
        }
        let (Some(compiler), Some(counter), Some(machine)) = (compiler, counter, machine) else {
            return Err(BudgetError::Line(format!("there is no `{COMPILER}`, `{COUNTER}` or `{MACHINE}`")));
        };
        Ok(Self { taken_with: TakenWith { compiler, counter, machine }, counts })
    }
}

impl Budget {
    /// Every new count beside its budget.
    pub(crate) fn judge(&self, counts: &[Count]) -> Vec<Verdict> {
        counts.iter().map(|count| self.verdict(count)).collect()
    }

    pub(crate) fn verdict(&self, count: &Count) -> Verdict {
        let budget = self.counts.iter().find(|kept| kept.path == count.path).map(|kept| kept.instructions);
        // As it is shown: what says 5.0 keeps to 5.
        let tenths = |budget| ((count.instructions as f64 / budget as f64 - 1.0) * 1000.0).round() / 10.0;
        let percent = budget.map_or(0.0, tenths);
        Verdict { count: count.clone(), budget, percent }
    }

    /// Why the new counts do not keep to this budget, and what to do; None if they do.
    pub(crate) fn broken_by(&self, counts: &[Count], now: &TakenWith, tolerance: f64) -> Option<String> {
        let verdicts = self.judge(counts);
        let mut why = String::new();
        let mut add = |verdicts: &mut dyn Iterator<Item = &Verdict>, what: &str| {
            let paths: Vec<&str> = verdicts.map(|verdict| verdict.count.path.as_str()).collect();
            if !paths.is_empty() {
                // No error of formatting: the text only grows.
                let _ = writeln!(why, "{}: {what}", paths.join(", "));
            }
        };
        add(
            &mut verdicts.iter().filter(|verdict| verdict.percent > tolerance),
            "more than the budget allows. Find what was added (docs/performance.md says how), or, if it is worth \
             its price, raise the budget with --update and say why in the commit",
        );
        add(
            &mut verdicts.iter().filter(|verdict| verdict.percent < -tolerance),
            "less than the budget. Lower it with --update, so that what was gained is not lost unseen",
        );
        add(&mut verdicts.iter().filter(|verdict| verdict.budget.is_none()), "no budget yet. Set it with --update");
        let gone = self.counts.iter().filter(|kept| !counts.iter().any(|count| count.path == kept.path));
        let gone: Vec<Verdict> = gone.map(|kept| self.verdict(kept)).collect();
        add(&mut gone.iter(), "has a budget and is not counted. Take it out with --update");
        if !why.is_empty() && self.taken_with != *now {
            let _ = writeln!(
                why,
                "The budget was taken with {}, and this is {now}: that alone may be the difference",
                self.taken_with
            );
        }
        (!why.is_empty()).then(|| why.trim_end().to_owned())
    }
}

impl Display for Verdict {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Count { path, instructions } = &self.count;
        write!(out, "{path:<30}{instructions:>10}")?;
        match self.budget {
            Some(budget) => write!(out, "  budget {budget:>10}  {:+.1} %", self.percent),
            None => write!(out, "  no budget"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(path: &str, instructions: u64) -> Count {
        Count { path: path.to_owned(), instructions }
    }

    fn taken_with(compiler: &str) -> TakenWith {
        TakenWith { compiler: compiler.to_owned(), counter: "valgrind-3".to_owned(), machine: "x86_64".to_owned() }
    }

    fn broken(counts: &[Count], compiler: &str) -> Option<String> {
        let kept = Budget { taken_with: taken_with("rustc 1"), counts: vec![count("a", 1000), count("b", 1000)] };
        kept.broken_by(counts, &taken_with(compiler), 5.0)
    }

    #[test]
    fn a_count_within_the_tolerance_keeps_to_the_budget() {
        assert_eq!(broken(&[count("a", 1050), count("b", 950)], "rustc 1"), None);
        // Another compiler is no fault as long as the counts are the same.
        assert_eq!(broken(&[count("a", 1000), count("b", 1000)], "rustc 2"), None);
    }

    #[test]
    fn what_costs_more_or_less_is_told_apart() {
        let said = broken(&[count("a", 1051), count("b", 1000)], "rustc 1").unwrap();
        assert!(said.starts_with("a: more than the budget"), "{said}");
        let said = broken(&[count("a", 1000), count("b", 949)], "rustc 1").unwrap();
        assert!(said.starts_with("b: less than the budget"), "{said}");
        assert!(!said.contains("that alone"), "{said}");
        assert!(broken(&[count("a", 1051), count("b", 1000)], "rustc 2").unwrap().contains("that alone"));
    }

    #[test]
    fn a_path_without_budget_and_a_budget_without_path_are_told() {
        let said = broken(&[count("a", 1000), count("c", 1000)], "rustc 1").unwrap();
        assert!(said.contains("c: no budget yet") && said.contains("b: has a budget and is not counted"), "{said}");
    }

    #[test]
    fn a_line_that_is_none_is_shown() {
        assert!("compiler rustc 1\ncounter valgrind-3\nmachine x86_64\na many\n".parse::<Budget>().is_err());
        assert!("a 1000\n".parse::<Budget>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            compiler in "[a-z0-9.()]( ?[a-z0-9.()]){0,12}",
            counts in proptest::collection::vec(("[d-l-]{1,12}", any::<u64>()), 0..5),
        ) {
            let counts = counts.iter().map(|(path, instructions)| count(path, *instructions)).collect();
            let budget = Budget { taken_with: taken_with(&compiler), counts };
            prop_assert_eq!(budget.to_string().parse::<Budget>().unwrap(), budget);
        }
    }
}
