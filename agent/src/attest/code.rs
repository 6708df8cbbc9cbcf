//! What is mapped as code beside the image: libraries, and what somebody put in their place.
//!
//! Seen is what is mapped while the agent looks, file by file. Code that came and hid is not: a
//! library that the loader was told to load runs before the program does, may copy itself into
//! memory that is no file, as just-in-time compilers do, and take its file out of the mappings.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_common::selector::{Selector, SelectorKind};

use super::image_rules::shown;
use super::mounts::Mounts;
use super::slots::Slots;
use super::unix::ANSWER_LIMIT;
use super::writer::Writer;
use super::{AttestorError, Cost, WorkloadAttestor, selector};
use crate::peer::{Evidence, HeldFile, Patience};

/// Writable by the group or by others. The group's bit is also that of every access control list.
const WRITABLE: u16 = 0o022;

/// Why a file that is mapped as code is foreign: not root's, or the process's to write, or such
/// that this cannot be told. The image itself is not asked: who may write it has a rule of its own.
pub(super) fn foreign(evidence: &Evidence) -> Result<Option<String>, AttestorError> {
    let (writer, mut mounts) = (Writer::of(evidence), Mounts::of(evidence));
    for mapped in evidence.mapped_code()? {
        let why = match &mapped.file {
            None => Some("is not where the mapping says, so the agent cannot tell whose it is".to_owned()),
            Some(file) if file.is_same(evidence.executable().identity()) => None,
            Some(file) => why_foreign(file, &writer, &mut mounts)?,
        };
        if let Some(why) = why {
            return Ok(Some(format!("the file {}, which is mapped as code, {why}", shown(&mapped.path))));
        }
    }
    Ok(None)
}

fn why_foreign(file: &HeldFile, writer: &Writer, mounts: &mut Mounts<'_>) -> Result<Option<String>, AttestorError> {
    match mounts.check(file) {
        Err(AttestorError::ForeignFileSystem(which)) => return Ok(Some(format!("lies on {which}"))),
        checked => checked?,
    }
    match file.ownership().uid {
        0 => {
            let unreadable = |source| AttestorError::Unreadable { what: "who may write a library", source };
            writer.may_write(file, Patience::Endless).map_err(unreadable)
        }
        uid => Ok(Some(format!("belongs to uid {uid}, not to root"))),
    }
}

/// `process:libraries:trusted`: every file that is mapped as code, the image among them, is root's
/// and nobody else's to write.
#[derive(Debug)]
pub(super) struct Libraries {
    pub(super) slots: Arc<Slots>,
}

#[async_trait]
impl WorkloadAttestor for Libraries {
    fn name(&self) -> &'static str {
        "libraries"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[SelectorKind::ProcessLibraries]
    }

    fn cost(&self) -> Cost {
        Cost::Question
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        _wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let looked_at = Arc::clone(evidence);
        let trusted = self.slots.run(evidence.credentials().uid, ANSWER_LIMIT, move || all_trusted(&looked_at));
        let trusted = trusted.await?.then(|| selector(SelectorKind::ProcessLibraries, "trusted"));
        Ok(trusted.flatten().into_iter().collect())
    }
}

fn all_trusted(evidence: &Evidence) -> Result<bool, AttestorError> {
    let mut mounts = Mounts::of(evidence);
    for mapped in evidence.mapped_code()? {
        let Some(file) = mapped.file else { return Ok(false) };
        let ownership = file.ownership();
        if ownership.uid != 0 || ownership.mode & WRITABLE != 0 {
            return Ok(false);
        }
        match mounts.check(&file) {
            Err(AttestorError::ForeignFileSystem(_)) => return Ok(false),
            checked => checked?,
        }
    }
    Ok(true)
}
