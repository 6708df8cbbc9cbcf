//! Tables and transactions.
//!
//! Three tables: `meta` (format, trust domain, revision), `entries` (id to record) and
//! `authority` (one sealed blob).

use std::path::PathBuf;
use std::sync::Arc;

use countersign_common::entry::{Entry, EntrySet};
use countersign_common::spiffe_id::TrustDomain;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::{Change, StoreError, record};

const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<'_, &str, &str> = TableDefinition::new("entries");
const AUTHORITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("authority");

const FORMAT_KEY: &str = "format";
const TRUST_DOMAIN_KEY: &str = "trust_domain";
const REVISION_KEY: &str = "revision";
const STATE_KEY: &str = "state";

/// The format that this release writes: the tables above and the records in them.
const FORMAT: u32 = 1;

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
            Ok(())
        })
    }

    /// Everything that is stored, checked on the way.
    pub(super) fn load(&self, trust_domain: &TrustDomain) -> Result<EntrySet, StoreError> {
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
        let found = u32::try_from(format).unwrap_or(u32::MAX);
        if found > FORMAT {
            return Err(StoreError::NewerFormat { path: self.path.clone(), found, known: FORMAT });
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
        Ok(EntrySet { revision, entries: self.load_entries(&table, trust_domain)? })
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
            copy_table(&read, transaction, AUTHORITY)
        };
        let mut transaction = copy.inner.begin_write().map_err(|error| failed(error.into()))?;
        transaction.set_two_phase_commit(true);
        copied(&transaction).map_err(failed)?;
        transaction.commit().map_err(|error| failed(error.into()))
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
    fn commit(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), StoreError> {
        let commit = || -> Result<(), redb::Error> {
            let mut transaction = self.inner.begin_write()?;
            transaction.set_two_phase_commit(true);
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        commit().map_err(|error| StoreError::Write { path: self.path.clone(), reason: error.to_string() })
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
