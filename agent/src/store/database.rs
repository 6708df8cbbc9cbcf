//! Tables and transactions.
//!
//! Four tables: `meta` (format, trust domain, revision), `entries` (id to record), `authority` (one
//! sealed blob) and, since format 2, `bundles` (another trust domain to its bundle document).

use std::path::PathBuf;
use std::sync::Arc;

use countersign_common::bundle::Bundle;
use countersign_common::entry::{Entry, EntrySet};
use countersign_common::spiffe_id::TrustDomain;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::{Change, ForeignBundles, StoreError, foreign, record};

const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<'_, &str, &str> = TableDefinition::new("entries");
const AUTHORITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("authority");
const BUNDLES: TableDefinition<'_, &str, &str> = TableDefinition::new("bundles");

const FORMAT_KEY: &str = "format";
const TRUST_DOMAIN_KEY: &str = "trust_domain";
const REVISION_KEY: &str = "revision";
const STATE_KEY: &str = "state";

/// The format that this release writes: the tables above and the records in them. Format 1 had no bundles
/// and no entries with `x509_ttl`, `dns_names` or `federates_with`: a release that knows only that one would
/// take the new entries for damage, and federate with nobody.
const FORMAT: u32 = 2;

/// Everything that is stored, but for the authority's state.
pub(super) struct Contents {
    pub(super) entries: EntrySet,
    pub(super) bundles: ForeignBundles,
}

/// An open database.
pub(super) struct Database {
    inner: redb::Database,
    path: PathBuf,
}

impl Database {
    /// Takes over an open database; `path` is for messages.
    pub(super) fn new(inner: redb::Database, path: PathBuf) -> Self {
        Self { inner, path }
    }

    /// Makes the tables of a new database.
    pub(super) fn initialise(&self, trust_domain: &TrustDomain) -> Result<(), StoreError> {
        self.commit(|transaction| {
            let mut meta = transaction.open_table(META)?;
            meta.insert(FORMAT_KEY, FORMAT.to_string().as_str())?;
            meta.insert(TRUST_DOMAIN_KEY, trust_domain.as_str())?;
            meta.insert(REVISION_KEY, "0")?;
            transaction.open_table(ENTRIES)?;
            transaction.open_table(AUTHORITY)?;
            transaction.open_table(BUNDLES)?;
            Ok(())
        })
    }

    /// Makes a database of format 1 one of this format: the new table, and what has been there stays.
    fn upgrade(&self, found: u32) -> Result<(), StoreError> {
        self.commit(|transaction| {
            transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT.to_string().as_str())?;
            transaction.open_table(BUNDLES)?;
            Ok(())
        })?;
        let file = self.path.display();
        tracing::info!(%file, "the database had format {found} and has {FORMAT} now: earlier releases refuse it");
        Ok(())
    }

    /// Everything that is stored, checked on the way. A database of an earlier format is brought to this
    /// one, if nothing is wrong with it.
    pub(super) fn load(&self, trust_domain: &TrustDomain) -> Result<Contents, StoreError> {
        let transaction = self.inner.begin_read().map_err(|error| self.damaged(&error))?;
        let meta = transaction.open_table(META).map_err(|error| match error {
            redb::TableError::TableDoesNotExist(_) => StoreError::NotADatabase { path: self.path.clone() },
            other => self.damaged(&other),
        })?;
        let field = |key| match meta.get(key) {
            Ok(Some(value)) => Ok(value.value().to_owned()),
            Ok(None) => Err(self.damaged(&format!("the field {key} is missing"))),
            Err(error) => Err(self.damaged(&error)),
        };
        let number = |key, text: String| {
            text.parse::<u64>().map_err(|_| self.damaged(&format!("the field {key} is not a number")))
        };
        let format = number(FORMAT_KEY, field(FORMAT_KEY)?)?;
        let format = u32::try_from(format).unwrap_or(u32::MAX);
        if format > FORMAT {
            return Err(StoreError::NewerFormat { path: self.path.clone(), found: format, known: FORMAT });
        }
        let found = field(TRUST_DOMAIN_KEY)?;
        if found != trust_domain.as_str() {
            let wanted = trust_domain.clone();
            return Err(StoreError::OtherTrustDomain { path: self.path.clone(), found, wanted });
        }
        let revision = number(REVISION_KEY, field(REVISION_KEY)?)?;
        // Opened to be sure that it is there: a missing table must not read as "no keys yet".
        transaction.open_table(AUTHORITY).map_err(|error| self.damaged(&error))?;
        let table = transaction.open_table(ENTRIES).map_err(|error| self.damaged(&error))?;
        let entries = EntrySet { revision, entries: self.load_entries(&table, trust_domain)? };
        if format < FORMAT {
            self.upgrade(format)?;
            return Ok(Contents { entries, bundles: ForeignBundles::new() });
        }
        let table = transaction.open_table(BUNDLES).map_err(|error| self.damaged(&error))?;
        Ok(Contents { entries, bundles: self.load_bundles(&table, trust_domain)? })
    }

    fn load_bundles(
        &self,
        table: &impl ReadableTable<&'static str, &'static str>,
        own: &TrustDomain,
    ) -> Result<ForeignBundles, StoreError> {
        let mut bundles = ForeignBundles::new();
        for row in table.iter().map_err(|error| self.damaged(&error))? {
            let (name, document) = row.map_err(|error| self.damaged(&error))?;
            let bundle = foreign::decode(name.value(), document.value(), own)
                .map_err(|reason| self.damaged(&format!("the bundle of {:?}: {reason}", name.value())))?;
            bundles.insert(bundle.trust_domain.clone(), Arc::new(bundle));
        }
        Ok(bundles)
    }

    fn load_entries(
        &self,
        table: &impl ReadableTable<&'static str, &'static str>,
        trust_domain: &TrustDomain,
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        let mut entries = Vec::new();
        for row in table.iter().map_err(|error| self.damaged(&error))? {
            let (id, json) = row.map_err(|error| self.damaged(&error))?;
            let entry = record::decode(id.value(), json.value())
                .map_err(|reason| self.damaged(&format!("the entry {:?}: {reason}", id.value())))?;
            if !entry.spiffe_id.is_of(trust_domain) {
                return Err(self.damaged(&format!("the entry {} is of another trust domain", entry.id)));
            }
            entries.push(Arc::new(entry));
        }
        entries.shrink_to_fit();
        // The table's order is that of the ids' bytes, which is that of the ids.
        Ok(entries)
    }

    /// Writes changed entries and the revision that they make.
    pub(super) fn write_entries(&self, revision: u64, changes: &[Change]) -> Result<(), StoreError> {
        self.commit(|transaction| {
            transaction.open_table(META)?.insert(REVISION_KEY, revision.to_string().as_str())?;
            let mut entries = transaction.open_table(ENTRIES)?;
            for change in changes {
                match change {
                    Change::Created(entry) | Change::Updated { after: entry, .. } => {
                        let json = record::encode(entry).map_err(std::io::Error::from)?;
                        entries.insert(entry.id.as_str(), json.as_str())?;
                    }
                    Change::Deleted(entry) => {
                        entries.remove(entry.id.as_str())?;
                    }
                    Change::Unchanged(_) => {}
                }
            }
            Ok(())
        })
    }

    /// Writes everything that is stored into an empty database, as one transaction.
    pub(super) fn copy_into(&self, copy: &Self) -> Result<(), StoreError> {
        let read = self.inner.begin_read().map_err(|error| self.damaged(&error))?;
        let failed = |error: redb::Error| StoreError::Write { path: self.path.clone(), reason: error.to_string() };
        let copied = |transaction: &WriteTransaction| -> Result<(), redb::Error> {
            copy_table(&read, transaction, META)?;
            copy_table(&read, transaction, ENTRIES)?;
            copy_table(&read, transaction, AUTHORITY)?;
            copy_table(&read, transaction, BUNDLES)
        };
        let mut transaction = copy.inner.begin_write().map_err(|error| failed(error.into()))?;
        transaction.set_two_phase_commit(true);
        copied(&transaction).map_err(failed)?;
        transaction.commit().map_err(|error| failed(error.into()))
    }

    /// The document that is set as the bundle of `trust_domain`.
    pub(super) fn bundle_document(&self, trust_domain: &TrustDomain) -> Result<Option<String>, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.inner.begin_read()?.open_table(BUNDLES)?;
            Ok(table.get(trust_domain.as_str())?.map(|document| document.value().to_owned()))
        };
        read().map_err(|error| self.damaged(&error))
    }

    /// Writes a changed bundle, which `document` is the text of.
    pub(super) fn write_bundle(&self, change: &Change<Bundle>, document: &str) -> Result<(), StoreError> {
        self.commit(|transaction| {
            let mut bundles = transaction.open_table(BUNDLES)?;
            match change {
                Change::Created(bundle) | Change::Updated { after: bundle, .. } => {
                    bundles.insert(bundle.trust_domain.as_str(), document)?;
                }
                Change::Deleted(bundle) => {
                    bundles.remove(bundle.trust_domain.as_str())?;
                }
                Change::Unchanged(_) => {}
            }
            Ok(())
        })
    }

    /// The authority's state, if one was saved.
    pub(super) fn authority_state(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.inner.begin_read()?.open_table(AUTHORITY)?;
            Ok(table.get(STATE_KEY)?.map(|sealed| sealed.value().to_vec()))
        };
        read().map_err(|error| self.damaged(&error))
    }

    /// Writes the authority's state.
    pub(super) fn save_authority_state(&self, sealed: &[u8]) -> Result<(), StoreError> {
        self.commit(|transaction| {
            transaction.open_table(AUTHORITY)?.insert(STATE_KEY, sealed)?;
            Ok(())
        })
    }

    /// One transaction, on disk when this returns.
    ///
    /// In two phases: the slot that names the current state is switched only after all its pages
    /// are on disk. In one phase a crash is told from a commit by checksums alone, which are not
    /// cryptographic.
    ///
    /// Then one more that changes nothing: no checksum covers the bit that says which of the two slots
    /// counts, and both of them name this state from then on. Otherwise a flip of that bit would take
    /// the change back in silence.
    fn commit(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), StoreError> {
        let commit = || -> Result<(), redb::Error> {
            let transaction = self.begin()?;
            change(&transaction)?;
            transaction.commit()?;
            Ok(self.begin()?.commit()?)
        };
        commit().map_err(|error| StoreError::Write { path: self.path.clone(), reason: error.to_string() })
    }

    fn begin(&self) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.inner.begin_write()?;
        transaction.set_two_phase_commit(true);
        Ok(transaction)
    }

    fn damaged(&self, damage: &impl ToString) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), damage: damage.to_string() }
    }
}

fn copy_table<K: redb::Key + 'static, V: redb::Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    definition: TableDefinition<'static, K, V>,
) -> Result<(), redb::Error> {
    let mut copy = to.open_table(definition)?;
    for row in from.open_table(definition)?.iter()? {
        let (key, value) = row?;
        copy.insert(key.value(), value.value())?;
    }
    Ok(())
}
