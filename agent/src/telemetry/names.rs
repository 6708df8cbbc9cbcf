//! The names that appear in the log, in one place: what an operator may filter by and what a
//! collector may index. A room logs under its own module path, which is its target.

/// Targets: one per room.
pub mod target {
    /// Operators' requests.
    pub const ADMIN_API: &str = "countersign_agent::admin_api";
    /// Who was refused a place.
    pub const ADMISSION: &str = "countersign_agent::admission";
    /// Start, wiring, stop.
    pub const APP: &str = "countersign_agent::app";
    /// Evidence to selectors.
    pub const ATTEST: &str = "countersign_agent::attest";
    /// Failures of the audit sink.
    pub const AUDIT: &str = "countersign_agent::audit";
    /// Signing keys and their life.
    pub const AUTHORITY: &str = "countersign_agent::authority";
    /// Sockets, connections, admission.
    pub const ENDPOINT: &str = "countersign_agent::endpoint";
    /// Readiness and watchdog.
    pub const HEALTH: &str = "countersign_agent::health";
    /// From a peer to its SVIDs.
    pub const IDENTITY: &str = "countersign_agent::identity";
    /// What the kernel says about a process.
    pub const PEER: &str = "countersign_agent::peer";
    /// What an entry allows.
    pub const POLICY: &str = "countersign_agent::policy";
    /// Snapshots of the entries.
    pub const REGISTRY: &str = "countersign_agent::registry";
    /// Records at rest.
    pub const STORE: &str = "countersign_agent::store";
    /// Reuse and renewal of SVIDs.
    pub const SVID: &str = "countersign_agent::svid";
    /// Requests of workloads.
    pub const WORKLOAD_API: &str = "countersign_agent::workload_api";

    /// All of them.
    pub const ALL: [&str; 15] = [
        ADMIN_API,
        ADMISSION,
        APP,
        ATTEST,
        AUDIT,
        AUTHORITY,
        ENDPOINT,
        HEALTH,
        IDENTITY,
        PEER,
        POLICY,
        REGISTRY,
        STORE,
        SVID,
        WORKLOAD_API,
    ];
}

/// Fields of events. The audit record uses the same names for the same things.
pub mod field {
    /// Id of the signing key that signs.
    pub const ACTIVE: &str = "active";
    /// Name of a workload attestor.
    pub const ATTESTOR: &str = "attestor";
    /// Audience of a JWT-SVID.
    pub const AUDIENCE: &str = "audience";
    /// Subject key id of an X.509 authority.
    pub const AUTHORITY: &str = "authority";
    /// Id of a registration entry.
    pub const ENTRY: &str = "entry";
    /// What went wrong.
    pub const ERROR: &str = "error";
    /// A file or socket.
    pub const FILE: &str = "file";
    /// Name of a JWT-SVID.
    pub const JTI: &str = "jti";
    /// How many signing keys are published.
    pub const KEYS: &str = "keys";
    /// `CKA_ID` of a key in a PKCS#11 token.
    pub const CKA_ID: &str = "cka_id";
    /// Id of a signing key.
    pub const KID: &str = "kid";
    /// A bound that was met.
    pub const LIMIT: &str = "limit";
    /// Process id in the agent's pid namespace.
    pub const PID: &str = "pid";
    /// Process id of whoever sent bytes on the connection of another process.
    pub const SENDER: &str = "sender";
    /// Why a caller gets nothing.
    pub const REFUSAL: &str = "refusal";
    /// Revision of the entries.
    pub const REVISION: &str = "revision";
    /// Sequence number of the trust bundle.
    pub const SEQUENCE: &str = "sequence";
    /// Serial number of an X509-SVID.
    pub const SERIAL: &str = "serial";
    /// A SPIFFE ID.
    pub const SPIFFE_ID: &str = "spiffe_id";
    /// Effective user id of a caller.
    pub const UID: &str = "uid";
}
