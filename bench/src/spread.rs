//! One figure over several rounds.

use serde::{Deserialize, Serialize};

use crate::BenchError;

/// The middle of the rounds and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The middle one; of an even number, between the two in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// None of no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (lower, upper) = ((values.len() - 1) / 2, values.len() / 2);
        Some(Self { median: f64::midpoint(*values.get(lower)?, *values.get(upper)?), min, max })
    }

    /// Whether a value lies between the smallest and the largest.
    pub(crate) fn has(self, value: f64) -> bool {
        (self.min..=self.max).contains(&value)
    }

    /// Whether there is a value that lies in both.
    pub(crate) fn meets(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// The middle of several values.
///
/// # Errors
/// There are none.
pub(crate) fn middle(values: Vec<f64>) -> Result<f64, BenchError> {
    Spread::of(values).map(|spread| spread.median).ok_or(BenchError::Nothing("one of the rounds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }
}
