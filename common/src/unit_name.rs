//! Names of systemd units (systemd.unit(5)): which texts can be one.

/// The longest name of a unit in bytes, type included.
const MAX_BYTES: usize = 255;

/// The types of units that have processes of their own.
const TYPES: [&str; 5] = ["service", "scope", "mount", "socket", "swap"];

/// Whether `text` can name a unit that has processes: a service, scope, mount, socket or swap
/// that is no template.
pub fn is_unit(text: &str) -> bool {
    text.rsplit_once('.').is_some_and(|(name, suffix)| TYPES.contains(&suffix) && is_name(text, name))
}

/// Whether `text` can name a slice (systemd.slice(5)); `-.slice` is the root of all.
pub fn is_slice(text: &str) -> bool {
    text.strip_suffix(".slice").is_some_and(|name| !name.contains('@') && is_name(text, name))
}

/// Whether `name`, the `text` without its type, is a plain name or `PREFIX@INSTANCE`.
fn is_name(text: &str, name: &str) -> bool {
    let allowed =
        |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'-' | b'_' | b'.' | b'\\' | b'@');
    let complete = match name.split_once('@') {
        Some((prefix, instance)) => !prefix.is_empty() && !instance.is_empty(),
        None => !name.is_empty(),
    };
    text.len() <= MAX_BYTES && complete && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_slices_are_told_from_other_texts() {
        let long = format!("{}.service", "a".repeat(247));
        for unit in
            ["a.service", "getty@tty1.service", "a@b@c.scope", r"dev-sda\x2d1.swap", "a.b.mount", "_.socket", &long]
        {
            assert!(is_unit(unit), "{unit}");
        }
        let longer = format!("a{long}");
        for text in ["", "service", ".service", "@a.service", "a@.service", "a/b.service", "é.service", "a.slice"] {
            assert!(!is_unit(text), "{text}");
        }
        for text in ["a.target", "a.timer", "a.service ", "a b.service", "a.Service", &longer] {
            assert!(!is_unit(text), "{text}");
        }
        for slice in ["-.slice", "system.slice", "user-1000.slice", r"system-a\x2db.slice"] {
            assert!(is_slice(slice) && !is_unit(slice), "{slice}");
        }
        for text in ["", ".slice", "a@b.slice", "a/b.slice", "a.slice ", "a.service"] {
            assert!(!is_slice(text), "{text}");
        }
    }
}
