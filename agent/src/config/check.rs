//! What must hold between the values of a configuration, and the one value with a grammar of its own.

use std::path::Path;
use std::time::Duration;

use countersign_common::document::{Reader, duration_text, quoted};

use super::AdminApi;

/// How many times the longest life of what a key signs, and the refresh hint, fit into its life.
///
/// A key is published before it signs, for at least two refresh hints, so that verifiers
/// know it when its first document arrives; and it stays published for a document's life after it
/// signed last. With less than this between, no time is left to sign.
const FITS: u32 = 4;

/// The longest issuer URL, in bytes.
const MAX_ISSUER_BYTES: usize = 2048;

/// Workloads reach their socket's directory; operators' must be elsewhere, to be closed to them.
pub(super) fn admin_api(reader: &Reader<'_>, admin_api: &AdminApi, workload_socket: &Path) {
    if admin_api.socket.parent() == workload_socket.parent() {
        reader.report("socket", "is in the directory of workload_api.socket, which workloads can enter: use another");
    }
    // A list of which every item was refused has its problems already.
    let named = reader.item_count("uids") + reader.item_count("gids");
    if admin_api.uids.is_empty() && admin_api.gids.is_empty() && named == 0 {
        reader.report("uids", "names nobody, and neither does gids: nobody could register entries");
    }
}

/// A key outlives what depends on it.
pub(super) fn key_life(reader: &Reader<'_>, key: &str, life: Duration, all: [(&str, Duration); 2]) {
    for (name, depends) in all {
        let least = FITS * depends;
        if life < least {
            let (life, depends, least) = (duration_text(life), duration_text(depends), duration_text(least));
            reader.report(key, format!("is {life}; with {name} = {depends} it must be at least {least}"));
        }
    }
}

/// The default is within the limit.
pub(super) fn ttl(reader: &Reader<'_>, default: Duration, most: Duration) {
    if most < default {
        let (most, default) = (duration_text(most), duration_text(default));
        reader.report("max_ttl", format!("is {most}, which is below default_ttl, {default}"));
    }
}

/// A token's label: as the token has it, at most 32 bytes, without the blanks that pad it (PKCS #11
/// Base Specification, version 2.40, section 3.2).
pub(super) fn token_label(text: &str) -> Result<String, String> {
    let fine = (1..=32).contains(&text.len()) && text.trim() == text && !text.chars().any(char::is_control);
    if fine { Ok(text.to_owned()) } else { Err(format!("{} is not a token's label: 1 to 32 bytes", quoted(text))) }
}

/// An issuer identifier: an `https` URL with neither query nor fragment (OpenID Connect
/// Discovery 1.0, section 2; verifiers append to it and compare it byte for byte).
pub(super) fn issuer(text: &str) -> Result<String, String> {
    let authority = text.strip_prefix("https://").and_then(|rest| rest.split('/').next());
    let fine = authority.is_some_and(|authority| !authority.is_empty() && !authority.contains('@'))
        && text.len() <= MAX_ISSUER_BYTES
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'"' | b'\\' | b'<' | b'>'));
    if fine {
        Ok(text.to_owned())
    } else {
        Err(format!("{} is not an https URL without query and fragment", quoted(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_an_https_url_without_query_and_fragment() {
        for text in ["https://id.example.org", "https://id.example.org:8443/a/b", "https://[::1]/x"] {
            assert_eq!(issuer(text), Ok(text.to_owned()));
        }
        let long = format!("https://{}", "a".repeat(MAX_ISSUER_BYTES));
        for text in [
            "",
            "https://",
            "https:///path",
            "http://id.example.org",
            "HTTPS://id.example.org",
            "id.example.org",
            "https://id.example.org?x=1",
            "https://id.example.org/#x",
            "https://user@id.example.org",
            "https://id.example.org/a b",
            "https://id.example.org/\u{e9}",
            &long,
        ] {
            assert!(issuer(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_label_is_what_fits_into_a_token() {
        let longest = "l".repeat(32);
        for text in ["countersign", "my token", "\u{e9}", &longest] {
            assert_eq!(token_label(text), Ok(text.to_owned()));
        }
        for text in ["", " ", "padded ", " padded", "two\nlines", &"l".repeat(33), &"\u{e9}".repeat(17)] {
            assert!(token_label(text).is_err(), "{text:?}");
        }
    }
}
