//! `countersign x509` as programs use it: against a Workload API that does what a test says, since an
//! agent ends no stream on demand.

mod bed;
mod fetch;
mod validate;
mod watch;
mod workload_api;
