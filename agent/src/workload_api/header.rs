//! The security header of the Workload Endpoint.
//!
//! `SPIFFE_Workload_Endpoint.md`, section 3: every request carries the metadata
//! `workload.spiffe.io: true`, which a browser or a confused proxy (server-side request
//! forgery) cannot be made to send. Exactly one value, compared by case.

use tonic::{Request, Status};

/// Name of the header.
const NAME: &str = "workload.spiffe.io";

/// Lets a request through only with the header.
pub(super) fn require(request: Request<()>) -> Result<Request<()>, Status> {
    let mut values = request.metadata().get_all(NAME).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value.as_bytes() == b"true" => Ok(request),
        _ => Err(Status::invalid_argument("security header missing from request")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[&'static str]) -> Request<()> {
        let mut request = Request::new(());
        for value in values {
            request.metadata_mut().append(NAME, tonic::metadata::MetadataValue::from_static(value));
        }
        request
    }

    #[test]
    fn ep_3_only_one_true_in_lower_case_passes() {
        assert!(require(with(&["true"])).is_ok());
        for refused in [
            &[][..],
            &["True"],
            &["TRUE"],
            &["1"],
            &["true,true"],
            &["true", "true"],
            &["true", "x"],
            &[" true"],
            &[""],
        ] {
            let status = require(with(refused)).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{refused:?}");
        }
    }
}
