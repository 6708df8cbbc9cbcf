//! Durations as operators write them: `30s`, `5m`, `1h 30m`.

use std::time::Duration;

use super::quoted;

/// The longest number in a duration, in digits. Far beyond any use, and far below the
/// end of 64-bit seconds, where the parser's sums would overflow.
const MAX_DIGITS: usize = 9;

/// The longest duration that is read, in bytes.
const MAX_BYTES: usize = 64;

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a duration such as 30s, 5m or 1h 30m", quoted(.0))]
pub struct NotADuration(String);

/// Parses a duration: numbers with units (`ms`, `s`, `m`, `h`, `d` and their longer names), added up.
///
/// # Errors
/// The text is something else; a number without a unit is, unless it is `0`.
pub fn parse_duration(text: &str) -> Result<Duration, NotADuration> {
    let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    if longest > MAX_DIGITS || text.len() > MAX_BYTES {
        return Err(NotADuration(text.to_owned()));
    }
    humantime::parse_duration(text).map_err(|_| NotADuration(text.to_owned()))
}

/// Writes a duration in hours, minutes, seconds and milliseconds, as [`parse_duration`] reads it;
/// what is below a millisecond is left out.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
    ];
    let written: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if written.is_empty() { "0s".to_owned() } else { written.join(" ") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("0", 0), ("30s", 30), ("5m", 300), ("1h 30m", 5400), ("2 hours", 7200), ("1d", 86400)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "m", "-5m", "5 minute s", "1e3s", "five minutes"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sum_beyond_64_bits_is_refused_and_does_not_panic() {
        for text in ["18446744073709551615s1000ms", "18446744073709551616s", &"999999999y".repeat(100)] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9a-zµ .]{0,80}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn what_is_written_is_read_back(milliseconds in 0_u64..1_000_000_000_000) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
        }
    }
}
