//! What a caller is told when it is refused: a bare code.
//!
//! Why it was refused is in the audit record. The same words for every reason, so that
//! nothing about entries, selectors or the agent can be learned by asking.

use tonic::Status;

use super::wire::Malformed;
use crate::identity::{Fault, Refusal, ValidationError};

/// The code table of `SPIFFE_Workload_Endpoint.md`, appendix A.
pub(super) fn of(refusal: &Refusal) -> Status {
    match refusal.fault() {
        Fault::Caller => denied(),
        Fault::Agent => Status::unavailable("the agent cannot serve this request now"),
    }
}

pub(super) fn denied() -> Status {
    Status::permission_denied("no identity issued")
}

/// An invalid token is an invalid argument. The failed check is named: it is a fact about
/// the token, which the caller holds anyway.
pub(super) fn of_validation(error: &ValidationError) -> Status {
    match error {
        ValidationError::Token(error) => Status::invalid_argument(error.to_string()),
        ValidationError::Agent(refusal) => of(refusal),
    }
}

/// `SPIFFE_Workload_API.md`, section 4.5.
pub(super) fn malformed(malformed: &Malformed) -> Status {
    Status::invalid_argument(malformed.to_string())
}
