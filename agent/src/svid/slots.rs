//! Which slot belongs to which grant, bounded in instances and in tokens per instance.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_common::svid::jwt::JwtSvid;

use crate::peer::ProcessInstance;
use crate::policy::Grant;

/// How many processes are remembered at once; beyond it the one that came first is forgotten.
pub const MAX_INSTANCES: usize = 16_384;

/// How many tokens one process may have remembered; beyond it its oldest is forgotten.
/// A process that asks for ever new audiences pays with its own tokens only.
pub const MAX_TOKENS_PER_INSTANCE: usize = 64;

/// One token or none yet; locked while it is being issued.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Arc<JwtSvid>>>>;

#[derive(Default)]
pub(super) struct Slots {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tokens: HashMap<ProcessInstance, Tokens>,
    /// Instances in the order in which they came; may still name forgotten ones.
    arrivals: VecDeque<ProcessInstance>,
}

/// What is remembered of one process.
#[derive(Default)]
struct Tokens {
    /// Oldest first. So few that a scan beats a map.
    slots: VecDeque<(Grant, Slot)>,
    /// Whether somebody waits for the exit of the process.
    watched: bool,
}

impl Slots {
    /// The slot of `grant`, made if it is new.
    pub(super) fn of(&self, grant: &Grant) -> Slot {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let tokens = match inner.tokens.get_mut(grant.instance()) {
            Some(tokens) => tokens,
            None => {
                make_room(inner);
                inner.arrivals.push_back(grant.instance().clone());
                inner.tokens.entry(grant.instance().clone()).or_default()
            }
        };
        if let Some((_, slot)) = tokens.slots.iter().find(|(known, _)| known == grant) {
            return Arc::clone(slot);
        }
        if tokens.slots.len() == MAX_TOKENS_PER_INSTANCE {
            tokens.slots.pop_front();
        }
        let slot = Slot::default();
        tokens.slots.push_back((grant.clone(), Arc::clone(&slot)));
        slot
    }

    pub(super) fn begin_watch(&self, instance: &ProcessInstance) -> bool {
        self.lock().tokens.get_mut(instance).is_some_and(|tokens| !std::mem::replace(&mut tokens.watched, true))
    }

    pub(super) fn forget(&self, instance: &ProcessInstance) {
        self.lock().tokens.remove(instance);
    }

    /// A panic elsewhere leaves the map whole: each change of it is one call.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps both the map and the queue of arrivals within their bounds.
fn make_room(inner: &mut Inner) {
    while inner.tokens.len() >= MAX_INSTANCES {
        let Some(first) = inner.arrivals.pop_front() else { break };
        inner.tokens.remove(&first);
    }
    if inner.arrivals.len() >= 2 * MAX_INSTANCES {
        inner.arrivals.retain(|instance| inner.tokens.contains_key(instance));
    }
}
