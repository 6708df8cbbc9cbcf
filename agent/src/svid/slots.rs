//! Which slot belongs to which grant, bounded in processes and in tokens per process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_common::svid::jwt::JwtSvid;
use tokio::task::AbortHandle;

use crate::peer::ProcessInstance;
use crate::policy::Grant;

/// How many processes are remembered at once; beyond it the one that came first is forgotten.
/// Each costs a pidfd for as long as it is remembered, so this is well below the descriptors
/// that the agent has.
pub const MAX_INSTANCES: usize = 4096;

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
    /// By pid: a process runs one program at a time, and what it ran before it cannot ask again.
    tokens: HashMap<i32, Tokens>,
    /// Instances in the order in which they came; may still name forgotten ones.
    arrivals: VecDeque<ProcessInstance>,
}

/// What is remembered of one process.
struct Tokens {
    instance: ProcessInstance,
    /// Oldest first. So few that a scan beats a map.
    slots: VecDeque<(Grant, Slot)>,
    watch: Option<Watch>,
}

/// Somebody who waits for the exit of the process, and stops when there is nothing left to forget:
/// it holds a descriptor, and the process may live for ever.
struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Slots {
    /// The slot of `grant`, made if it is new.
    pub(super) fn of(&self, grant: &Grant) -> Slot {
        let mut inner = self.lock();
        let tokens = inner.tokens_of(grant.instance());
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

    pub(super) fn watch(&self, instance: &ProcessInstance, begin: impl FnOnce() -> AbortHandle) {
        let mut inner = self.lock();
        inner.tokens_of(instance).watch.get_or_insert_with(|| Watch(begin()));
    }

    pub(super) fn forget(&self, instance: &ProcessInstance) {
        let mut inner = self.lock();
        if inner.remembers(instance) {
            inner.tokens.remove(&instance.pid);
        }
    }

    /// A panic elsewhere leaves the map whole: each change of it is one call.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remembers(&self, instance: &ProcessInstance) -> bool {
        self.tokens.get(&instance.pid).is_some_and(|tokens| tokens.instance == *instance)
    }

    /// The tokens of this instance; those of another one with its pid are forgotten.
    fn tokens_of(&mut self, instance: &ProcessInstance) -> &mut Tokens {
        if !self.remembers(instance) {
            self.tokens.remove(&instance.pid);
            self.make_room();
            self.arrivals.push_back(instance.clone());
        }
        let new = || Tokens { instance: instance.clone(), slots: VecDeque::new(), watch: None };
        self.tokens.entry(instance.pid).or_insert_with(new)
    }

    /// Keeps both the map and the queue of arrivals within their bounds.
    fn make_room(&mut self) {
        while self.tokens.len() >= MAX_INSTANCES {
            let Some(first) = self.arrivals.pop_front() else { break };
            if self.remembers(&first) {
                self.tokens.remove(&first.pid);
            }
        }
        if self.arrivals.len() >= 2 * MAX_INSTANCES {
            let tokens = &self.tokens;
            self.arrivals.retain(|came| tokens.get(&came.pid).is_some_and(|tokens| tokens.instance == *came));
        }
    }
}
