//! The harness of the suites: the built agent, real workload processes, and nothing faked.

mod agent;
mod binary;
mod cgroup;
mod clock;
mod disk;
mod privilege;
mod raw;
mod softhsm;
mod wait;
mod workload;
mod x509;

pub use agent::{Agent, AgentSettings};
pub use binary::{countersign, suite_program, weakened_countersign, workload_program};
pub use cgroup::Cgroup;
pub use clock::FakeClock;
pub use disk::{Disk, own_mounts};
pub use privilege::{allow_own_programs, root_or_skip, skip};
pub use raw::{
    DATA, Ended, HEADERS, Manners, PING, RST_STREAM, RawConnection, SETTINGS, frame, grpc_message, preface,
    request_headers,
};
pub use softhsm::{PIN as SOFTHSM_PIN, SoftHsm};
pub use wait::{LIMIT, until};
pub use workload::{Answer, Workload, WorkloadSpec};
pub use x509::GivenX509;
