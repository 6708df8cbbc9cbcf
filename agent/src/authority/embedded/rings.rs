//! Both rings as one state: JWT keys and X.509 authorities, and the sequence number of what they publish.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_common::clock::Timestamp;

use super::life::{Ring, Terms};
use super::record::{KeyRecord, Phase};

/// The shortest part of a name that stands for it, in characters.
const MIN_NAME: usize = 8;

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JWT-SVIDs.
    Jwt,
    /// X509-SVIDs.
    X509,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Jwt, Self::X509];

    /// What operators call such a key.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jwt => "JWT key",
            Self::X509 => "X.509 authority",
        }
    }
}

/// The terms of both rings.
#[derive(Clone, Debug)]
pub(super) struct BothTerms {
    pub(super) jwt: Terms,
    pub(super) x509: Terms,
    pub(super) refresh_hint: Duration,
}

impl BothTerms {
    pub(super) fn of(&self, kind: Kind) -> &Terms {
        match kind {
            Kind::Jwt => &self.jwt,
            Kind::X509 => &self.x509,
        }
    }
}

/// All keys of the authority, and the sequence number of the bundle that they make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rings {
    pub(super) sequence: u64,
    pub(super) refresh_hint: Duration,
    pub(super) jwt: Ring,
    pub(super) x509: Ring,
}

/// Why a name that an operator wrote stands for no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// None is called that.
    #[error("no key or authority is called {0:?}; countersign authority show lists them")]
    Unknown(String),
    /// Several are.
    #[error("{0:?} is how several names begin; write more of it")]
    Ambiguous(String),
    /// Too short to be meant.
    #[error("{0:?} is too short; write {MIN_NAME} characters of the name or more")]
    Short(String),
}

impl Rings {
    pub(super) fn begin(now: Timestamp, refresh_hint: Duration) -> Self {
        Self { sequence: now.seconds(), refresh_hint, jwt: Ring::default(), x509: Ring::default() }
    }

    pub(super) fn of(&self, kind: Kind) -> &Ring {
        match kind {
            Kind::Jwt => &self.jwt,
            Kind::X509 => &self.x509,
        }
    }

    pub(super) fn of_mut(&mut self, kind: Kind) -> &mut Ring {
        match kind {
            Kind::Jwt => &mut self.jwt,
            Kind::X509 => &mut self.x509,
        }
    }

    /// Takes terms over that may differ from those of the last run.
    pub(super) fn adopt(&mut self, terms: &BothTerms) {
        if self.refresh_hint != terms.refresh_hint {
            self.refresh_hint = terms.refresh_hint;
            self.sequence = self.sequence.saturating_add(1);
        }
        for kind in Kind::ALL {
            self.of_mut(kind).adopt(terms.of(kind));
        }
    }

    /// What the bundle holds, by name and in its order: each key or root once.
    pub(super) fn published(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        self.records().filter_map(KeyRecord::published).filter(|name| seen.insert(*name)).collect()
    }

    /// Raises the sequence by one if the bundle holds something else than that of `before`.
    pub(super) fn count_change_since(&mut self, before: &Self) {
        if self.published() != before.published() {
            self.sequence = self.sequence.saturating_add(1);
        }
    }

    /// Names of those whose documents are to be replaced now: tainted, or revoked already.
    pub(super) fn tainted(&self) -> BTreeSet<String> {
        let is_bad = |key: &&KeyRecord| matches!(key.phase, Phase::Tainted { .. } | Phase::Revoked { .. });
        self.records().filter(is_bad).map(|key| key.id.clone()).collect()
    }

    /// Which key an operator means; see [`named`].
    ///
    /// # Errors
    /// None, or more than one.
    pub(super) fn named(&self, given: &str) -> Result<(Kind, String), NameError> {
        let of = |kind| self.of(kind).keys.iter().map(move |key| (kind, key.id.as_str()));
        named(Kind::ALL.into_iter().flat_map(of), given)
    }

    fn records(&self) -> impl Iterator<Item = &KeyRecord> {
        self.jwt.keys.iter().chain(&self.x509.keys)
    }
}

/// Which of `names` an operator means by a name or by how it begins. A subject key id may be
/// written as other programs print it: in capitals, with colons.
///
/// # Errors
/// None, or more than one.
pub(super) fn named<'a>(
    names: impl Iterator<Item = (Kind, &'a str)>,
    given: &str,
) -> Result<(Kind, String), NameError> {
    let key_id = given.replace(':', "").to_ascii_lowercase();
    if key_id.chars().count() < MIN_NAME {
        return Err(NameError::Short(given.to_owned()));
    }
    let mut found = names.filter(|(kind, name)| match kind {
        Kind::Jwt => name.starts_with(given),
        Kind::X509 => name.starts_with(&key_id),
    });
    match (found.next(), found.next()) {
        (Some((kind, name)), None) => Ok((kind, name.to_owned())),
        (Some(_), Some(_)) => Err(NameError::Ambiguous(given.to_owned())),
        (None, _) => Err(NameError::Unknown(given.to_owned())),
    }
}
