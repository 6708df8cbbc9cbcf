//! Entries from YAML: the fields of one entry, and what must hold between entries.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Date, Entry, EntryId, ImageRule};
use super::{jwt_terms, x509_terms};
use crate::document::{MAX_PROBLEMS, Node, Problem, Problems, Reader};
use crate::document::{duration_within, near_miss, quoted, read_documents};
use crate::selector::{Selector, SelectorSet};
use crate::spiffe_id::{SpiffeId, TrustDomain};

/// How many selectors an entry may have.
const MAX_SELECTORS: usize = 100;

/// How many other trust domains an entry may federate with.
const MAX_FEDERATES_WITH: usize = 100;

/// The longest hint and the longest owner, in bytes (for the hint: `SPIFFE_Workload_API.md`, section 6.2.1).
const MAX_WORDS_BYTES: usize = 1024;

/// What is said of words that this format has and this version does not serve.
pub(super) const UNSERVED: &str = "this version issues unbound JWT-SVIDs only: remove the line";

/// Reads all entries of a YAML text, one or many documents. A text without any is a
/// legal set of no entries. With `trust_domain`, every SPIFFE ID must be of it.
///
/// # Errors
/// Every problem of the text, in the order of its lines.
pub fn parse_entries(file: &str, text: &str, trust_domain: Option<&TrustDomain>) -> Result<Vec<Entry>, Vec<Problem>> {
    parse_sources(&[(file, text)], trust_domain)
}

/// Reads the entries of several texts, each with its file's name, as one set: no id may
/// stand twice in all of them.
///
/// # Errors
/// Every problem of every text, in the order of the texts and of their lines.
pub fn parse_sources(sources: &[(&str, &str)], trust_domain: Option<&TrustDomain>) -> Result<Vec<Entry>, Vec<Problem>> {
    let mut entries = Vec::new();
    let mut found = Vec::new();
    let mut ids = HashMap::new();
    for (file, text) in sources {
        let (documents, syntax) = read_documents(file, text);
        let problems = Problems::with(file, syntax);
        for document in &documents {
            entries.extend(entry(document, trust_domain, &problems, |id, line| unique(&mut ids, id, file, line)));
        }
        found.extend(problems.into_sorted());
    }
    found.truncate(MAX_PROBLEMS);
    if found.is_empty() { Ok(entries) } else { Err(found) }
}

/// Notes where `id` stands; says so if it stood somewhere before.
fn unique(ids: &mut HashMap<EntryId, String>, id: &EntryId, file: &str, line: usize) -> Result<(), String> {
    match ids.get(id) {
        Some(first) => Err(format!("{} is the id of another entry, at {first}", quoted(id.as_str()))),
        None => {
            ids.insert(id.clone(), format!("{file}:{line}"));
            Ok(())
        }
    }
}

/// Reads one document; `None` if something without which there is no entry is missing or wrong.
fn entry(
    document: &Node,
    trust_domain: Option<&TrustDomain>,
    problems: &Problems,
    unique: impl FnOnce(&EntryId, usize) -> Result<(), String>,
) -> Option<Entry> {
    let mut reader = Reader::of_document(document, problems)?;
    for name in ["id", "spiffe_id", "selectors"] {
        reader.require(name);
    }
    let id = reader.parsed("id", entry_id);
    if let Some(Err(reason)) = id.as_ref().map(|id| unique(id, reader.line_of("id"))) {
        reader.report("id", reason);
    }
    let spiffe_id = reader.parsed("spiffe_id", |text| workload_id(text, trust_domain));
    let selectors = selectors(&mut reader);
    let allow = allow(&mut reader);
    let jwt = reader.mapping("jwt").map(jwt_terms::read).unwrap_or_default();
    let x509 = reader.mapping("x509").map(x509_terms::read).unwrap_or_default();
    let own = spiffe_id.as_ref().map(SpiffeId::trust_domain).or(trust_domain.cloned());
    let federates_with = federates_with(&mut reader, own.as_ref());
    let hint = reader.parsed("hint", words);
    let owner = reader.parsed("owner", words);
    let review_by = reader.parsed("review_by", date);
    let expires = reader.parsed("expires", date);
    reader.finish();
    let (id, spiffe_id, selectors) = (id?, spiffe_id?, selectors?);
    Some(Entry { id, spiffe_id, selectors, allow, jwt, x509, federates_with, hint, owner, review_by, expires })
}

fn selectors(reader: &mut Reader<'_>) -> Option<SelectorSet> {
    let name = "selectors";
    let mut selectors = BTreeSet::new();
    let listed = reader.list(name, MAX_SELECTORS, |text| {
        let selector: Selector = text.parse().map_err(|error: crate::selector::SelectorError| error.to_string())?;
        if selectors.insert(selector) { Ok(()) } else { Err(format!("{} stands twice", quoted(text))) }
    })?;
    // Without a condition the entry would be anybody's. A list whose every item was refused
    // has its problems already.
    if listed.is_empty() && reader.item_count(name) == 0 {
        reader.report(name, "is empty: an entry without selectors would be any process's");
    }
    Some(selectors.into())
}

/// The rules about the image that the entry lifts.
fn allow(reader: &mut Reader<'_>) -> Box<[ImageRule]> {
    let mut lifted = BTreeSet::new();
    reader.list("allow", ImageRule::ALL.len(), |text| {
        let rule = ImageRule::parse(text).ok_or_else(|| unknown_rule(text))?;
        if lifted.insert(rule) { Ok(()) } else { Err(format!("{} stands twice", quoted(text))) }
    });
    lifted.into_iter().collect()
}

/// The other trust domains of the entry. The own one is nobody's to federate with: every workload
/// is given its bundle.
fn federates_with(reader: &mut Reader<'_>, own: Option<&TrustDomain>) -> Box<[TrustDomain]> {
    let mut domains = BTreeSet::new();
    reader.list("federates_with", MAX_FEDERATES_WITH, |text| {
        let domain = other_trust_domain(text)?;
        if own == Some(&domain) {
            return Err(format!("{} is the entry's own trust domain, whose bundle it has anyway", quoted(text)));
        }
        if domains.insert(domain) { Ok(()) } else { Err(format!("{} stands twice", quoted(text))) }
    });
    domains.into_iter().collect()
}

fn other_trust_domain(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::parse(text).map_err(|error| {
        // Lists of trust domains are written with and without the scheme elsewhere.
        let bare = text.strip_prefix("spiffe://").map(|rest| rest.trim_end_matches('/'));
        match bare.filter(|bare| TrustDomain::parse(bare).is_ok()) {
            Some(bare) => format!("{} is not a bare trust domain name, did you mean {}?", quoted(text), quoted(bare)),
            None => format!("{} {error}", quoted(text)),
        }
    })
}

fn unknown_rule(text: &str) -> String {
    let words = ImageRule::ALL.map(ImageRule::word);
    match near_miss(text, words) {
        Some(meant) => format!("unknown rule {}, did you mean {}?", quoted(text), quoted(meant)),
        None => format!("unknown rule {}; known are {}", quoted(text), words.join(", ")),
    }
}

fn entry_id(text: &str) -> Result<EntryId, String> {
    EntryId::parse(text).ok_or_else(|| format!("{} is not 1 to 128 bytes of a-z A-Z 0-9 . - _ /", quoted(text)))
}

/// A SPIFFE ID that a workload can have: of our trust domain, with a path.
fn workload_id(text: &str, trust_domain: Option<&TrustDomain>) -> Result<SpiffeId, String> {
    let id = SpiffeId::parse(text).map_err(|error| format!("{} {error}", quoted(text)))?;
    match trust_domain {
        Some(domain) if !id.is_of(domain) => {
            Err(format!("{} is of another trust domain than this agent's, {domain}", quoted(text)))
        }
        _ if id.path().is_empty() => {
            Err(format!("{} is the ID of the trust domain itself; a workload's ID has a path", quoted(text)))
        }
        _ => Ok(id),
    }
}

fn words(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() {
        Err("is empty: give a value, or remove the line".to_owned())
    } else if text.len() > MAX_WORDS_BYTES {
        Err(format!("has {} bytes; at most {MAX_WORDS_BYTES} are allowed", text.len()))
    } else if text.contains(char::is_control) {
        Err("has a control character".to_owned())
    } else {
        Ok(text.into())
    }
}

/// A life within `bounds`. The times of documents are whole seconds (RFC 7519, section 2, `NumericDate`, as
/// issued here; RFC 5280, section 4.1.2.5).
pub(super) fn life_within(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let life = duration_within(text, bounds)?;
    if life.subsec_nanos() == 0 { Ok(life) } else { Err(format!("{} is not a whole number of seconds", quoted(text))) }
}

fn date(text: &str) -> Result<Date, String> {
    Date::parse(text).ok_or_else(|| format!("{} is not a day such as 2027-09-01", quoted(text)))
}

#[cfg(test)]
mod tests;
