//! What went wrong, as gRPC says it. Operators are told everything.

use countersign_common::document::Problem;
use tonic::Status;

use crate::authority::AuthorityError;
use crate::authority::embedded::NameError;
use crate::store::{BundleRefusal, StoreError};

/// The longest message in bytes: it travels percent-encoded in a trailer, and clients take
/// header blocks of 16 KiB.
const MAX_STATUS_BYTES: usize = 4 * 1024;

/// The store's refusal.
pub(super) fn of_store(error: &StoreError) -> Status {
    let text = error.to_string();
    match error {
        StoreError::NoSuchEntry(_) => Status::not_found(text),
        StoreError::DuplicateEntry(_) => Status::invalid_argument(text),
        StoreError::NothingKept => Status::failed_precondition(text),
        StoreError::TooManyEntries { .. } | StoreError::Bundle(BundleRefusal::TooMany) => {
            Status::resource_exhausted(text)
        }
        StoreError::Bundle(BundleRefusal::NoSuchBundle(_)) => Status::not_found(text),
        StoreError::Bundle(BundleRefusal::Own(_) | BundleRefusal::NotABundle { .. }) => Status::invalid_argument(text),
        // Older than what is set, or at odds with it.
        StoreError::Bundle(_) => Status::failed_precondition(text),
        // The next request opens the database anew, so asking again may help.
        _ => Status::unavailable(text),
    }
}

/// The authority's refusal.
pub(super) fn of_authority(error: &AuthorityError) -> Status {
    match error {
        AuthorityError::AlreadyPrepared { .. }
        | AuthorityError::NothingPrepared(_)
        | AuthorityError::TooManyKeys { .. }
        | AuthorityError::NotToTaint { .. }
        | AuthorityError::RevokeActive { .. }
        | AuthorityError::RevokedAlready { .. }
        | AuthorityError::RootInUse { .. }
        | AuthorityError::UpstreamOver { .. } => Status::failed_precondition(error.to_string()),
        AuthorityError::Name(name @ NameError::Unknown(_)) => Status::not_found(name.to_string()),
        AuthorityError::Name(name) => Status::invalid_argument(name.to_string()),
        _ => Status::unavailable(error.to_string()),
    }
}

/// Everything that is wrong with what was sent, a line each, as far as a message goes.
pub(super) fn of_problems(problems: &[Problem]) -> Status {
    let mut text = String::new();
    for (told, problem) in problems.iter().enumerate() {
        let line = problem.to_string();
        if text.len() + line.len() > MAX_STATUS_BYTES {
            text.push_str(&format!("and {} more", problems.len() - told));
            break;
        }
        text.push_str(&line);
        text.push('\n');
    }
    Status::invalid_argument(text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_a_line_each_as_far_as_a_message_goes() {
        let problem = |line| Problem {
            file: "entries.yaml".to_owned(),
            line,
            field: "jwt.ttl".to_owned(),
            reason: "\"5 minute\" is not a duration such as 5m".to_owned(),
        };
        let two = of_problems(&[problem(3), problem(9)]);
        assert_eq!(
            two.message(),
            "entries.yaml:3: jwt.ttl: \"5 minute\" is not a duration such as 5m\n\
             entries.yaml:9: jwt.ttl: \"5 minute\" is not a duration such as 5m"
        );
        let many = of_problems(&(1..=1000).map(problem).collect::<Vec<_>>());
        let told = many.message().lines().count() - 1;
        assert!(many.message().ends_with(&format!("\nand {} more", 1000 - told)));
        assert!(many.message().len() <= MAX_STATUS_BYTES + 20);
    }
}
