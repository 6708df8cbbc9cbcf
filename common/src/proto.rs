//! Generated protobuf types and services of the Workload API and the admin API.
//!
//! They stop at the rooms that speak on a wire; everything else uses the types
//! of this crate.

/// The SPIFFE Workload API (`SPIFFE_Workload_API.md`).
pub mod workload {
    #![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, clippy::wildcard_imports)]
    tonic::include_proto!("_");

    /// The compiled definition, for gRPC reflection.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/workload.bin"));
}

/// What operators ask of an agent.
pub mod admin {
    #![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, clippy::wildcard_imports)]
    tonic::include_proto!("countersign.admin.v1");

    /// The compiled definition, for gRPC reflection.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/admin.bin"));
}
