//! Figures in words: as many digits as they are worth.

use crate::findings::Line;
use crate::reading::Aim;
use crate::spread::Spread;

/// Three digits that count, and the thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut apart = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && whole.len() > 4 {
            apart.push(' ');
        }
        apart.push(digit);
    }
    rest.map_or_else(|| format!("{sign}{apart}"), |rest| format!("{sign}{apart}.{rest}"))
}

/// The middle, and the smallest and largest in parentheses.
pub(crate) fn spread(of: Spread) -> String {
    let Spread { median, min, max } = of;
    if min == max { number(median) } else { format!("{} ({}-{})", number(median), number(min), number(max)) }
}

/// The same of a ratio: two digits behind the point.
pub(crate) fn ratio(Spread { median, min, max }: Spread) -> String {
    if min == max { format!("{median:.2}") } else { format!("{median:.2} ({min:.2}-{max:.2})") }
}

/// Ours beside the floor, as the aim of the line looks at it: how far it is above, or in parts.
pub(crate) fn beside(line: &Line) -> Option<String> {
    if matches!(line.aim, Some(Aim::AboveAtMost(_))) {
        return Some(format!("{} above", spread(line.above?)));
    }
    line.ratio.map(ratio)
}

/// What is to be reached, in the unit of its line.
pub(crate) fn aim(aim: Aim, unit: &str) -> String {
    match aim {
        Aim::RatioAtLeast(least) => format!(">= {least:.2}"),
        Aim::RatioAtMost(most) => format!("<= {most:.2}"),
        Aim::AboveAtMost(most) => format!("<= {} {unit} above", number(most)),
        Aim::AtMost(most) => format!("<= {} {unit}", number(most)),
    }
}

/// Whether it was reached.
pub(crate) fn met(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "NOT MET",
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_they_are_worth() {
        let words = [0.0, 0.1234, 1.234, 12.34, 123.4, 1234.0, 12345.6, -1_234_567.0].map(number);
        assert_eq!(words, ["0", "0.123", "1.23", "12.3", "123", "1234", "12 346", "-1 234 567"]);
    }

    #[test]
    fn a_spread_of_one_value_is_that_value() {
        assert_eq!(spread(Spread { median: 2.0, min: 2.0, max: 2.0 }), "2.00");
        assert_eq!(spread(Spread { median: 2.0, min: 1.0, max: 250.0 }), "2.00 (1.00-250)");
        assert_eq!(ratio(Spread { median: 0.5, min: 0.25, max: 12.0 }), "0.50 (0.25-12.00)");
    }
}
