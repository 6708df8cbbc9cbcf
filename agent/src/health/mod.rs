//! Telling others how the agent is: the service manager (`notify`, `watchdog`) and whoever asks
//! over gRPC (`serving`).

mod notify;
mod serving;
mod watchdog;

pub use notify::{HealthError, Notifier};
pub use serving::{ServiceHealth, service_health};
pub use watchdog::watchdog;
