//! Whether a run ends as it went: medians of parts of it, held against each other. A median does not see
//! who happened to be there at one moment, and sees what stays.

use serde::Serialize;

use super::samples::Sample;

/// A life with fewer samples tells nothing about growth.
const FEWEST: usize = 40;

/// Something that has to stay as it is.
#[derive(Clone, Copy, Debug)]
struct Quantity {
    name: &'static str,
    of: fn(&Sample) -> f64,
    /// It may grow by this part of itself, and by so much beside.
    part: f64,
    more: f64,
}

const QUANTITIES: [Quantity; 4] = [
    Quantity { name: "resident KiB", of: |sample| sample.resident_kib as f64, part: 0.15, more: 3072.0 },
    Quantity { name: "descriptors", of: |sample| sample.descriptors as f64, part: 0.15, more: 16.0 },
    Quantity { name: "threads", of: |sample| sample.threads as f64, part: 0.5, more: 4.0 },
    Quantity { name: "store KiB", of: |sample| sample.store_bytes as f64 / 1024.0, part: 0.25, more: 1024.0 },
];

/// One quantity in one stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) quantity: &'static str,
    /// The whole run, or which life of the agent.
    pub(super) stretch: String,
    /// Median of its second quarter: the first is for what is filled once.
    pub(super) earlier: f64,
    /// Median of its last quarter.
    pub(super) later: f64,
    /// What the later one may be at most.
    pub(super) at_most: f64,
    pub(super) flat: bool,
}

/// Looks at the whole run and at each life that is long enough.
pub(super) fn of(samples: &[Sample], lives: &[&[Sample]]) -> Vec<Finding> {
    let whole = std::iter::once(("the whole run".to_owned(), samples));
    let lives = lives.iter().enumerate().filter(|(_, life)| life.len() >= FEWEST);
    let stretches = whole.chain(lives.map(|(number, life)| (format!("life {}", number + 1), *life)));
    let findings = stretches
        .flat_map(|(stretch, samples)| QUANTITIES.iter().map(move |quantity| found(*quantity, &stretch, samples)));
    findings.flatten().collect()
}

fn found(quantity: Quantity, stretch: &str, samples: &[Sample]) -> Option<Finding> {
    let quarter = samples.len().div_ceil(4);
    let median = |part: &[Sample]| crate::spread::Spread::of(part.iter().map(quantity.of)).map(|spread| spread.median);
    let earlier = median(samples.get(quarter..2 * quarter)?)?;
    let later = median(samples.get(samples.len() - quarter..)?)?;
    let at_most = earlier * (1.0 + quantity.part) + quantity.more;
    let (quantity, stretch) = (quantity.name, stretch.to_owned());
    Some(Finding { quantity, stretch, earlier, later, at_most, flat: later <= at_most })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(resident_kib: impl Fn(u64) -> u64) -> Vec<Sample> {
        let sample = |at: u64| Sample { at: at as f64, resident_kib: resident_kib(at), ..Sample::default() };
        (0..400).map(sample).collect()
    }

    fn is_flat(samples: &[Sample], lives: &[&[Sample]]) -> bool {
        of(samples, lives).iter().all(|finding| finding.flat)
    }

    #[test]
    fn what_is_filled_once_or_comes_and_goes_is_flat() {
        let filled = run(|at| if at < 80 { at * 500 } else { 40_000 });
        let waves = run(|at| 20_000 + 10_000 * (at % 10));
        assert!(is_flat(&filled, &[]) && is_flat(&waves, &[]));
    }

    #[test]
    fn what_grows_on_is_not() {
        assert!(!is_flat(&run(|at| 20_000 + at * 100), &[]));
    }

    #[test]
    fn what_grows_in_each_life_is_seen_though_the_run_is_flat() {
        let samples = run(|at| 20_000 + (at % 100) * 200);
        assert!(is_flat(&samples, &[]));
        let lives: Vec<&[Sample]> = samples.chunks(100).collect();
        assert!(!is_flat(&samples, &lives));
        // Too short to say so.
        let short: Vec<&[Sample]> = samples.chunks(20).collect();
        assert!(is_flat(&samples, &short));
    }

    #[test]
    fn nothing_is_found_of_nothing() {
        assert_eq!(of(&[], &[]), vec![]);
    }
}
