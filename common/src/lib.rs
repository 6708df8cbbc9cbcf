//! The vocabulary of Countersign: values and rules of the SPIFFE standards.
//!
//! Nothing here reads a file, a clock or a socket, waits, or logs. A value of a
//! type of this crate is valid by construction: it was parsed once, at a door,
//! and holds the rules of its standard ever after.

pub mod bundle;
pub mod clock;
mod codec;
pub mod document;
pub mod entry;
mod lines;
pub mod proto;
pub mod secret;
pub mod selector;
pub mod spiffe_id;
mod strict_json;
pub mod svid;
pub mod unit_name;
pub mod untrusted;
