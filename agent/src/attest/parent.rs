//! `process:parent:path` and `process:parent:sha256`: the image of whoever is the parent now.
//!
//! Most often the parent started the process, and not always: when a parent exits, its children
//! become those of the next subreaper above, at the end those of the first process. So these tell
//! who stands above the process, and a process can choose to come below the first one.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_common::selector::{Selector, SelectorKind};

use super::image_hash::ImageHash;
use super::slots::Slots;
use super::{AttestorError, Cost, WorkloadAttestor, selector, unix};
use crate::peer::Evidence;

/// Tells the path of the parent's image, on the terms of `unix:path`.
#[derive(Debug)]
pub(super) struct ParentPath {
    pub(super) slots: Arc<Slots>,
}

#[async_trait]
impl WorkloadAttestor for ParentPath {
    fn name(&self) -> &'static str {
        "parent path"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[SelectorKind::ProcessParentPath]
    }

    fn cost(&self) -> Cost {
        Cost::Question
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        _wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let Some(parent) = evidence.parent()? else { return Ok(Vec::new()) };
        let path = unix::path_at_agent(&self.slots, evidence.credentials().uid, &parent).await?;
        evidence.check_child_of(&parent)?;
        Ok(path.and_then(|path| selector(SelectorKind::ProcessParentPath, &path)).into_iter().collect())
    }
}

/// Tells the digest of the parent's image, on the terms of `unix:sha256`.
pub(super) struct ParentHash {
    pub(super) hash: Arc<ImageHash>,
}

#[async_trait]
impl WorkloadAttestor for ParentHash {
    fn name(&self) -> &'static str {
        "parent hash"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[SelectorKind::ProcessParentSha256]
    }

    fn cost(&self) -> Cost {
        Cost::WholeFile
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        _wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let Some(parent) = evidence.parent()? else { return Ok(Vec::new()) };
        // Whoever asks waits among the work of its own user, whosever its parent is.
        let digest = self.hash.hexadecimal_digest(evidence.credentials().uid, &parent).await?;
        evidence.check_child_of(&parent)?;
        Ok(selector(SelectorKind::ProcessParentSha256, &digest).into_iter().collect())
    }
}
