//! Entries to YAML, in the shape in which operators write them.

use std::fmt::Display;
use std::time::Duration;

use super::jwt_terms::REST;
use super::{AudiencePattern, Entry, JwtTerms, X509Terms};
use crate::document::duration_text;
use crate::spiffe_id::TrustDomain;

/// One YAML document (without `---`), ending in a newline; `parse_entries` reads it back to the same entry.
pub fn to_yaml(entry: &Entry) -> String {
    let mut yaml = String::new();
    line(&mut yaml, "id", scalar(entry.id.as_str()));
    line(&mut yaml, "spiffe_id", scalar(entry.spiffe_id.as_str()));
    yaml.push_str("selectors:\n");
    for selector in entry.selectors.iter() {
        yaml.push_str(&format!("  - {}\n", scalar(&selector.to_string())));
    }
    if !entry.allow.is_empty() {
        let words: Vec<_> = entry.allow.iter().map(|rule| rule.word()).collect();
        line(&mut yaml, "allow", format!("[{}]", words.join(", ")));
    }
    jwt(&mut yaml, &entry.jwt);
    x509(&mut yaml, &entry.x509);
    if !entry.federates_with.is_empty() {
        line(&mut yaml, "federates_with", list(entry.federates_with.iter().map(TrustDomain::as_str)));
    }
    for (name, words) in [("hint", &entry.hint), ("owner", &entry.owner)] {
        if let Some(words) = words {
            line(&mut yaml, name, scalar(words));
        }
    }
    for (name, day) in [("review_by", entry.review_by), ("expires", entry.expires)] {
        if let Some(day) = day {
            line(&mut yaml, name, day);
        }
    }
    yaml
}

fn jwt(yaml: &mut String, terms: &JwtTerms) {
    if *terms == JwtTerms::default() {
        return;
    }
    yaml.push_str("jwt:\n");
    line(yaml, "  audiences", list(terms.audiences.iter()));
    line(yaml, "  max_audiences", terms.max_audiences);
    match (&terms.ttl, &*terms.audience_ttl) {
        (None, []) => {}
        (Some(all), []) => line(yaml, "  ttl", duration_text(*all)),
        (rest, single) => line(yaml, "  ttl", lives(*rest, single)),
    }
}

fn x509(yaml: &mut String, terms: &X509Terms) {
    if *terms == X509Terms::default() {
        return;
    }
    yaml.push_str("x509:\n");
    if let Some(ttl) = terms.ttl {
        line(yaml, "  ttl", duration_text(ttl));
    }
    if !terms.dns_names.is_empty() {
        line(yaml, "  dns_names", list(terms.dns_names.iter().map(String::as_str)));
    }
}

/// `[billing, stock/*]`
fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let scalars: Vec<_> = texts.map(flow_scalar).collect();
    format!("[{}]", scalars.join(", "))
}

/// `{stock/*: 30s, default: 5m}`
fn lives(rest: Option<Duration>, single: &[(AudiencePattern, Duration)]) -> String {
    let single = single.iter().map(|(pattern, life)| (flow_scalar(pattern.as_str()), *life));
    let rest = rest.map(|life| (REST.to_owned(), life));
    let lives: Vec<_> = single.chain(rest).map(|(name, life)| format!("{name}: {}", duration_text(life))).collect();
    format!("{{{}}}", lives.join(", "))
}

fn line(yaml: &mut String, name: &str, value: impl Display) {
    yaml.push_str(&format!("{name}: {value}\n"));
}

/// A text as a YAML scalar inside `[]` or `{}`, where a colon may end a name.
fn flow_scalar(text: &str) -> String {
    if text.contains(':') { double_quoted(text) } else { scalar(text) }
}

/// A text as a YAML scalar: plain where no reader of YAML 1.1 or 1.2 could take it for
/// anything else, double-quoted otherwise.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_/:*@+".contains(c))
        && !text.ends_with(':')
        && !is_a_word_of_yaml(text);
    if plain { text.to_owned() } else { double_quoted(text) }
}

/// What YAML 1.1 or 1.2 readers take for a truth value or nothing.
fn is_a_word_of_yaml(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// YAML 1.2.2, section 7.3.1: characters that are not printable (section 5.1) are escaped.
fn double_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ if character.is_alphanumeric() => quoted.push(character),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(character))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
