//! DNS names that a certificate may carry beside its SPIFFE ID.

/// The longest name in bytes, as it is written (RFC 1035, section 2.3.4).
const MAX_BYTES: usize = 253;

/// The longest label in bytes (RFC 1035, section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;

/// Why a text is not a DNS name for a certificate. Reads well behind the text itself: `"a..b" has an empty label ...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsNameError {
    /// A name names something.
    #[error("is empty")]
    Empty,
    /// Longer than 253 bytes.
    #[error("is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Names are compared without regard to case (RFC 4343); one spelling is taken.
    #[error("has upper case: write it in lower case")]
    UpperCase,
    /// A dot at the end, or two in a row; a certificate's name has no final dot (RFC 5280, section 4.2.1.6).
    #[error("has an empty label: no dot at the beginning or the end, and no two in a row")]
    EmptyLabel,
    /// A label of more than 63 bytes.
    #[error("has a label of more than {MAX_LABEL_BYTES} bytes")]
    LabelTooLong,
    /// RFC 9525, section 6.3: the wildcard is the whole left-most label, and something is to the right of it.
    #[error("has a \"*\" that is not the whole first label, as in \"*.orders.internal\"")]
    Wildcard,
    /// RFC 1123, section 2.1: letters, digits and hyphens. Names beyond ASCII have an `xn--` form (RFC 5890).
    #[error("has other characters than a-z 0-9 . -")]
    Character,
    /// RFC 1123, section 2.1 by way of RFC 952: a label begins and ends with a letter or digit.
    #[error("has a label that begins or ends with \"-\"")]
    Hyphen,
    /// RFC 1123, section 2.1: the last label is not all digits; an address is no DNS name and never matches as one.
    #[error("ends in a number, as an address does and a name does not")]
    Address,
}

/// Checks that `name` is a DNS name as a certificate may carry it: labels of RFC 1123, section 2.1,
/// in lower case, at most 253 bytes; the first label may be `*`, which stands for one label.
///
/// # Errors
/// The rule that it breaks.
pub fn check_dns_name(name: &str) -> Result<(), DnsNameError> {
    if name.is_empty() {
        return Err(DnsNameError::Empty);
    }
    if name.len() > MAX_BYTES {
        return Err(DnsNameError::TooLong);
    }
    let labels = name.strip_prefix("*.").unwrap_or(name);
    if labels.contains('*') {
        return Err(DnsNameError::Wildcard);
    }
    labels.split('.').try_for_each(check_label)?;
    let last = labels.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) { Err(DnsNameError::Address) } else { Ok(()) }
}

fn check_label(label: &str) -> Result<(), DnsNameError> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if label.is_empty() {
        Err(DnsNameError::EmptyLabel)
    } else if label.len() > MAX_LABEL_BYTES {
        Err(DnsNameError::LabelTooLong)
    } else if label.contains(|character: char| character.is_ascii_uppercase()) {
        Err(DnsNameError::UpperCase)
    } else if !label.bytes().all(legal) {
        Err(DnsNameError::Character)
    } else if label.starts_with('-') || label.ends_with('-') {
        Err(DnsNameError::Hyphen)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_hosts_are_taken() {
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(longest.len(), 253);
        for name in
            ["a", "orders", "orders.internal", "3com.example", "a--b.c", "xn--bcher-kva.example", "*.orders.internal"]
        {
            assert_eq!(check_dns_name(name), Ok(()), "{name}");
        }
        for name in ["*.internal", "1.2.3.4a", &longest] {
            assert_eq!(check_dns_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn refusals_name_the_rule() {
        use DnsNameError::{Address, Character, Empty, EmptyLabel, Hyphen, LabelTooLong, TooLong, UpperCase, Wildcard};
        let too_long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(62));
        for (name, error) in [
            ("", Empty),
            (&*too_long, TooLong),
            (&"a".repeat(64), LabelTooLong),
            ("Orders.internal", UpperCase),
            (".internal", EmptyLabel),
            ("orders.", EmptyLabel),
            ("a..b", EmptyLabel),
            ("*.", EmptyLabel),
            ("*", Wildcard),
            ("*a.b", Wildcard),
            ("a.*.b", Wildcard),
            ("*.*.b", Wildcard),
            ("a_b.c", Character),
            ("a b", Character),
            ("b\u{fc}cher.example", Character),
            ("a:443", Character),
            ("a/b", Character),
            ("-a.b", Hyphen),
            ("a.b-", Hyphen),
            ("1.2.3.4", Address),
            ("*.42", Address),
        ] {
            assert_eq!(check_dns_name(name), Err(error), "{name:?}");
        }
    }

    proptest! {
        /// As certificate readers have it, who know no more than these bytes.
        #[test]
        fn what_is_taken_is_short_lower_case_ascii(name in "[a-c0-9.*-]{0,12}|\\PC{0,12}") {
            if check_dns_name(&name).is_ok() {
                let rest = name.strip_prefix("*.").unwrap_or(&name);
                let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
                prop_assert!(rest.bytes().all(legal));
                prop_assert!(rest.split('.').all(|label| !label.is_empty() && label.trim_matches('-') == label));
            }
        }

        #[test]
        fn labels_are_joined_to_names(labels in prop::collection::vec("[a-z]([a-z0-9-]{0,6}[a-z0-9])?", 1..5)) {
            let name = labels.join(".");
            prop_assert_eq!(check_dns_name(&name), Ok(()));
            prop_assert_eq!(check_dns_name(&format!("*.{name}")), Ok(()));
            let rooted = format!("{name}.");
            prop_assert!(check_dns_name(&rooted).is_err());
        }
    }
}
