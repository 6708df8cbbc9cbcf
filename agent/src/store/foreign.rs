//! Bundles of other trust domains: what setting or deleting one would change, decided before
//! anything is written, and what stands in the database. Pure.

use std::sync::Arc;

use countersign_common::bundle::{Bundle, BundleError};
use countersign_common::spiffe_id::TrustDomain;
use serde_json::{Map, Value};

use super::{Change, ForeignBundles};

/// The most bundles of other trust domains that a store holds.
const MAX_BUNDLES: usize = 1000;

/// Why the bundle of another trust domain is not set, shown or deleted. What was set before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleRefusal {
    /// The agent's own trust domain.
    #[error("{0} is this agent's own trust domain: its bundle is made of its own keys, and is neither set nor deleted")]
    Own(TrustDomain),
    /// None is set.
    #[error("no bundle of {0} is set; see: countersign bundle list")]
    NoSuchBundle(TrustDomain),
    /// More than a store holds.
    #[error(
        "an agent holds at most {MAX_BUNDLES} bundles of other trust domains; delete one that no entry federates with"
    )]
    TooMany,
    /// A document that is no bundle.
    #[error("this is no bundle of {trust_domain}: {reason}; what was set before stays")]
    NotABundle {
        /// Whose it was to be.
        trust_domain: TrustDomain,
        /// What is wrong with the document.
        reason: BundleError,
    },
    /// A document from before the one that is set (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4.1.1).
    #[error(
        "the bundle of {trust_domain} that is set has sequence {set}, and this document has {given}: it is older; \
         to go back to it, use --force"
    )]
    Older {
        /// Whose it is.
        trust_domain: TrustDomain,
        /// Sequence of the bundle that is set.
        set: u64,
        /// Sequence of the refused document.
        given: u64,
    },
    /// A document of which nobody can tell whether it is from before or after.
    #[error(
        "the bundle of {trust_domain} that is set has sequence {set}, and this document has none: it may be older; \
         if it is not, use --force"
    )]
    Unordered {
        /// Whose it is.
        trust_domain: TrustDomain,
        /// Sequence of the bundle that is set.
        set: u64,
    },
    /// Two contents, one sequence: the standard has the sequence rise with each change.
    #[error(
        "this document has sequence {sequence}, as the bundle of {trust_domain} that is set, and other content: one of \
         the two is not what {trust_domain} published; fetch it again, and if it is right, use --force"
    )]
    SameSequence {
        /// Whose it is.
        trust_domain: TrustDomain,
        /// Of both.
        sequence: u64,
    },
}

/// A bundle as an operator gives it.
#[derive(Debug)]
pub(super) struct NewBundle {
    /// Whose keys these are.
    pub(super) trust_domain: TrustDomain,
    /// The bundle document.
    pub(super) document: String,
    /// Whether it may be older than the one that is set, or at odds with it.
    pub(super) force: bool,
}

/// What setting `new` would change, where `stored` is the document that is set now, if any.
///
/// # Errors
/// It is refused; nothing changes.
pub(super) fn set(
    current: &ForeignBundles,
    stored: Option<&str>,
    new: &NewBundle,
    own: &TrustDomain,
) -> Result<Change<Bundle>, BundleRefusal> {
    let trust_domain = &new.trust_domain;
    if trust_domain == own {
        return Err(BundleRefusal::Own(own.clone()));
    }
    let after = Arc::new(read(trust_domain, &new.document)?);
    let Some((before, stored)) = current.get(trust_domain).zip(stored) else {
        return if current.len() < MAX_BUNDLES { Ok(Change::Created(after)) } else { Err(BundleRefusal::TooMany) };
    };
    let (old, given) = (Content::of(trust_domain, stored)?, Content::of(trust_domain, &new.document)?);
    if old == given {
        return Ok(Change::Unchanged(Arc::clone(before)));
    }
    if !new.force {
        check_order(trust_domain, old.sequence, given.sequence)?;
    }
    Ok(Change::Updated { before: Arc::clone(before), after })
}

/// What deleting the bundle of `trust_domain` would change.
///
/// # Errors
/// There is none, or it is the agent's own.
pub(super) fn delete(
    current: &ForeignBundles,
    trust_domain: &TrustDomain,
    own: &TrustDomain,
) -> Result<Change<Bundle>, BundleRefusal> {
    if trust_domain == own {
        return Err(BundleRefusal::Own(own.clone()));
    }
    let bundle = current.get(trust_domain).ok_or_else(|| BundleRefusal::NoSuchBundle(trust_domain.clone()))?;
    Ok(Change::Deleted(Arc::clone(bundle)))
}

/// The bundles as `change` leaves them.
pub(super) fn after(current: &ForeignBundles, change: &Change<Bundle>) -> ForeignBundles {
    let mut bundles = current.clone();
    match change {
        Change::Created(bundle) | Change::Updated { after: bundle, .. } => {
            bundles.insert(bundle.trust_domain.clone(), Arc::clone(bundle));
        }
        Change::Deleted(bundle) => {
            bundles.remove(&bundle.trust_domain);
        }
        Change::Unchanged(_) => {}
    }
    bundles
}

/// The bundle that stands in the database under `name`.
///
/// # Errors
/// What is wrong with it; whoever wrote it was not this program, or the disk lost it.
pub(super) fn decode(name: &str, document: &str, own: &TrustDomain) -> Result<Bundle, String> {
    let trust_domain = TrustDomain::parse(name).map_err(|error| error.to_string())?;
    if trust_domain == *own {
        return Err("it is of the agent's own trust domain".to_owned());
    }
    Bundle::parse(trust_domain, document).map_err(|error| error.to_string())
}

fn read(trust_domain: &TrustDomain, document: &str) -> Result<Bundle, BundleRefusal> {
    let refused = |reason| BundleRefusal::NotABundle { trust_domain: trust_domain.clone(), reason };
    Bundle::parse(trust_domain.clone(), document).map_err(refused)
}

/// Documents are ordered by their sequence; of those that have none the latest given counts
/// (`SPIFFE_Federation.md`, section 4.2).
fn check_order(trust_domain: &TrustDomain, set: Option<u64>, given: Option<u64>) -> Result<(), BundleRefusal> {
    let trust_domain = trust_domain.clone();
    match (set, given) {
        (Some(set), None) => Err(BundleRefusal::Unordered { trust_domain, set }),
        (Some(set), Some(given)) if given < set => Err(BundleRefusal::Older { trust_domain, set, given }),
        (Some(set), Some(given)) if given == set => Err(BundleRefusal::SameSequence { trust_domain, sequence: set }),
        _ => Ok(()),
    }
}

/// What a document says, whatever its spelling and the order of its keys. All of it: also keys that
/// this agent does not use are a part of what the other trust domain published.
#[derive(PartialEq)]
struct Content {
    sequence: Option<u64>,
    members: Map<String, Value>,
}

impl Content {
    fn of(trust_domain: &TrustDomain, document: &str) -> Result<Self, BundleRefusal> {
        let mut members: Map<String, Value> = serde_json::from_str(document).map_err(|error| {
            let reason = BundleError::NotAKeySet(error.to_string());
            BundleRefusal::NotABundle { trust_domain: trust_domain.clone(), reason }
        })?;
        if let Some(Value::Array(keys)) = members.get_mut("keys") {
            keys.sort_by_cached_key(Value::to_string);
        }
        Ok(Self { sequence: members.get("spiffe_sequence").and_then(Value::as_u64), members })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{bundle_document, trust_domain};
    use super::*;

    fn partner() -> TrustDomain {
        TrustDomain::parse("partner.example").unwrap()
    }

    fn new(document: &str) -> NewBundle {
        NewBundle { trust_domain: partner(), document: document.to_owned(), force: false }
    }

    fn holding(document: &str) -> ForeignBundles {
        [(partner(), Arc::new(Bundle::parse(partner(), document).unwrap()))].into()
    }

    /// What comes of setting `given` where `stored` is set.
    fn replaced(stored: &str, given: &str, force: bool) -> Result<Change<Bundle>, BundleRefusal> {
        set(&holding(stored), Some(stored), &NewBundle { force, ..new(given) }, &trust_domain())
    }

    fn is_updated(change: Result<Change<Bundle>, BundleRefusal>) -> bool {
        matches!(change.unwrap(), Change::Updated { .. })
    }

    const NONE: &str = r#"{"keys": []}"#;

    #[test]
    fn the_first_bundle_is_taken_whatever_its_sequence() {
        for document in [NONE, &bundle_document(0, "a"), &bundle_document(u64::MAX, "a")] {
            let created = set(&ForeignBundles::new(), None, &new(document), &trust_domain()).unwrap();
            assert_eq!(created, Change::Created(Arc::new(Bundle::parse(partner(), document).unwrap())));
        }
    }

    #[test]
    fn a_bundle_is_replaced_by_a_later_one_only() {
        let set = bundle_document(5, "a");
        assert!(is_updated(replaced(&set, &bundle_document(6, "a"), false)));
        let told = |given: &str| replaced(&set, given, false).unwrap_err().to_string();
        assert_eq!(
            told(&bundle_document(4, "a")),
            "the bundle of partner.example that is set has sequence 5, and this document has 4: it is older; to go back \
             to it, use --force"
        );
        assert_eq!(
            told(&bundle_document(5, "b")),
            "this document has sequence 5, as the bundle of partner.example that is set, and other content: one of the \
             two is not what partner.example published; fetch it again, and if it is right, use --force"
        );
        assert_eq!(
            told(NONE),
            "the bundle of partner.example that is set has sequence 5, and this document has none: it may be older; if \
             it is not, use --force"
        );
        for given in [&bundle_document(4, "a"), &bundle_document(5, "b"), NONE] {
            assert!(is_updated(replaced(&set, given, true)));
        }
    }

    #[test]
    fn where_no_document_has_a_sequence_the_latest_counts() {
        let plain = r#"{"keys": [{"kty": "oct", "kid": "later"}]}"#;
        assert!(is_updated(replaced(NONE, plain, false)));
        assert!(is_updated(replaced(plain, NONE, false)));
        assert!(is_updated(replaced(plain, &bundle_document(0, "a"), false)));
    }

    #[test]
    fn the_same_content_in_another_spelling_is_no_change() {
        let stored = r#"{"keys": [{"kid": "a", "kty": "x"}, {"kid": "b"}], "spiffe_sequence": 5, "note": 1}"#;
        let same = "{\"note\": 1,\n\"spiffe_sequence\":5,\"keys\":[{\"kid\":\"b\"},{\"kty\":\"x\",\"kid\":\"a\"}]}";
        for force in [false, true] {
            assert!(matches!(replaced(stored, same, force), Ok(Change::Unchanged(_))));
        }
        // Of keys that are not used here, too: they are published all the same.
        let other = same.replace("\"b\"", "\"c\"");
        assert!(matches!(replaced(stored, &other, false), Err(BundleRefusal::SameSequence { sequence: 5, .. })));
    }

    #[test]
    fn what_is_no_bundle_is_refused_even_by_force() {
        let long = format!("{{\"keys\": [], \"note\": \"{}\"}}", "x".repeat(1 << 20));
        for (document, reason) in [
            ("", "not a JSON Web Key Set"),
            ("<html>502 Bad Gateway</html>", "not a JSON Web Key Set"),
            ("{}", "it has no list \"keys\""),
            ("[]", "not a JSON object"),
            (r#"{"keys": [], "keys": []}"#, "not a JSON Web Key Set"),
            (r#"{"keys": [], "spiffe_sequence": -1}"#, "spiffe_sequence is not an integer"),
            (&long, "a bundle of more than 1048576 bytes is not read"),
        ] {
            let told = replaced(&bundle_document(5, "a"), document, true).unwrap_err().to_string();
            assert!(told.starts_with("this is no bundle of partner.example: ") && told.contains(reason), "{told}");
        }
    }

    #[test]
    fn the_own_bundle_is_neither_set_nor_deleted() {
        let own = trust_domain();
        let refused = BundleRefusal::Own(own.clone());
        let new = NewBundle { trust_domain: own.clone(), document: NONE.to_owned(), force: true };
        assert_eq!(set(&ForeignBundles::new(), None, &new, &own), Err(refused.clone()));
        assert_eq!(delete(&ForeignBundles::new(), &own, &own), Err(refused));
        assert!(decode("example.org", NONE, &own).is_err());
    }

    #[test]
    fn there_is_an_end_to_bundles() {
        let bundle = Arc::new(Bundle::parse(partner(), NONE).unwrap());
        let named = |n: usize| TrustDomain::parse(&format!("d{n}")).unwrap();
        let mut full: ForeignBundles = (0..MAX_BUNDLES).map(|n| (named(n), Arc::clone(&bundle))).collect();
        assert_eq!(set(&full, None, &new(NONE), &trust_domain()), Err(BundleRefusal::TooMany));
        let again = NewBundle { trust_domain: named(0), ..new(&bundle_document(1, "a")) };
        assert!(is_updated(set(&full, Some(NONE), &again, &trust_domain())));
        full.remove(&named(0));
        assert!(set(&full, None, &new(NONE), &trust_domain()).is_ok());
    }

    proptest! {
        /// Whatever is set in whatever order without force: the sequence never falls.
        #[test]
        fn the_sequence_never_falls(given in prop::collection::vec((0_u64..4, "[ab]"), 1..12)) {
            let (mut bundles, mut stored) = (ForeignBundles::new(), None::<String>);
            for (sequence, kid) in given {
                let document = bundle_document(sequence, &kid);
                let before = bundles.get(&partner()).map(Arc::clone);
                let Ok(change) = set(&bundles, stored.as_deref(), &new(&document), &trust_domain()) else {
                    prop_assert!(before.is_some_and(|before| sequence <= before.sequence));
                    continue;
                };
                bundles = after(&bundles, &change);
                stored = Some(document);
                let now = &bundles[&partner()];
                prop_assert!(before.is_none_or(|before| before.sequence < now.sequence || before == *now));
                prop_assert_eq!(now.sequence, sequence);
            }
        }
    }
}
