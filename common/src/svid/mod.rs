//! SVIDs: documents that carry a SPIFFE ID under the signature of its trust domain.

pub mod jwt;
pub mod x509;
