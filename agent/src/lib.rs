//! Countersign, a SPIFFE workload identity agent.
//!
//! **Data path.** *accept* a connection (`endpoint`), *identify* the peer (`peer`),
//! *attest* it to selectors (`attest`), *match* the selectors to registration entries
//! (`registry`), *authorize* the request (`policy`), *issue* or reuse the SVID (`svid`,
//! `authority`), *reply* (`workload_api`); and again when something changes (`identity`).
//!
//! **Control path.** An operator *applies* entries through the admin socket
//! (`admin_api`), the store *commits* them as one revision (`store`), the registry
//! *publishes* a snapshot (`registry`), each open stream *recomputes* its whole answer
//! and *pushes* it if it differs (`identity`).

pub mod app;
pub mod cli;
pub mod config;

pub mod admin_api;
pub mod endpoint;
pub mod workload_api;

pub mod identity;

pub mod svid;

pub mod authority;

pub mod policy;

pub mod attest;
pub mod registry;

pub mod store;

pub mod admission;

pub mod peer;
pub mod trusted_path;

pub mod audit;
pub mod drain;
pub mod health;
pub mod telemetry;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod weakened;
