//! Selectors of the `process` type that need no file but the kernel's own.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_common::selector::{CAPABILITIES, Selector, SelectorKind};

use super::slots::Slots;
use super::unix::ANSWER_LIMIT;
use super::{AttestorError, Cost, WorkloadAttestor, selector};
use crate::peer::{Evidence, Privileges};

/// Tells what `status` and the link to the image say. Only on demand: root has some forty
/// capabilities, which would fill every audit record.
#[derive(Debug)]
pub(super) struct ProcessFacts {
    pub(super) slots: Arc<Slots>,
}

#[async_trait]
impl WorkloadAttestor for ProcessFacts {
    fn name(&self) -> &'static str {
        "process facts"
    }

    fn kinds(&self) -> &'static [SelectorKind] {
        &[
            SelectorKind::ProcessPathInNamespace,
            SelectorKind::ProcessTraced,
            SelectorKind::ProcessExeDeleted,
            SelectorKind::ProcessNoNewPrivs,
            SelectorKind::ProcessSeccomp,
            SelectorKind::ProcessCap,
        ]
    }

    fn cost(&self) -> Cost {
        Cost::Question
    }

    async fn attest(
        &self,
        evidence: &Arc<Evidence>,
        wanted: &BTreeSet<SelectorKind>,
    ) -> Result<Vec<Selector>, AttestorError> {
        let (looked_at, wanted) = (Arc::clone(evidence), wanted.clone());
        let look = move || {
            let mut told = facts(&looked_at);
            if wanted.contains(&SelectorKind::ProcessTraced) {
                // There may be thousands of threads to ask about.
                let traced = looked_at.tracer_of_any_thread()?.is_some();
                told.extend(selector(SelectorKind::ProcessTraced, truth(traced)));
            }
            // Asked after the capabilities were read. In a user namespace of its own everybody has
            // all of them, over what is its own; and nobody comes back from there to keep them.
            if wanted.contains(&SelectorKind::ProcessCap) && looked_at.is_in_agents_user_namespace()? {
                told.extend(capabilities(looked_at.privileges()));
            }
            Ok(told)
        };
        self.slots.run(evidence.credentials().uid, ANSWER_LIMIT, look).await
    }
}

fn facts(evidence: &Evidence) -> Vec<Selector> {
    let privileges = evidence.privileges();
    let seccomp = match privileges.seccomp {
        0 => "disabled",
        1 => "strict",
        _ => "filter",
    };
    let path = evidence.executable().path().to_str();
    [
        path.and_then(|path| selector(SelectorKind::ProcessPathInNamespace, path)),
        selector(SelectorKind::ProcessExeDeleted, truth(evidence.executable().deleted())),
        selector(SelectorKind::ProcessNoNewPrivs, truth(privileges.no_new_privs)),
        selector(SelectorKind::ProcessSeccomp, seccomp),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those that have a name. A kernel that is newer than the names has more.
fn capabilities(privileges: Privileges) -> impl Iterator<Item = Selector> {
    let held = CAPABILITIES.into_iter().enumerate().filter(move |(n, _)| privileges.capabilities >> n & 1 == 1);
    held.filter_map(|(_, name)| selector(SelectorKind::ProcessCap, name))
}

fn truth(holds: bool) -> &'static str {
    if holds { "true" } else { "false" }
}
