//! The grammar of SPIFFE IDs, byte by byte; one error a rule of the standard.

use super::{MAX_SPIFFE_ID_BYTES, MAX_TRUST_DOMAIN_BYTES, SCHEME};

/// Which rule of SPIFFE-ID.md a text breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// Section 2: the scheme is `spiffe`, in lower case.
    #[error("does not begin with spiffe://")]
    Scheme,
    /// Section 2.1: the trust domain is not empty.
    #[error("has no trust domain")]
    EmptyTrustDomain,
    /// Section 2.1: only these characters, in lower case; so no port, no userinfo, no `%`.
    #[error("has a trust domain with other characters than a-z 0-9 . - _")]
    TrustDomainCharacter,
    /// Section 2.3.
    #[error("has a trust domain of more than 255 bytes")]
    TrustDomainTooLong,
    /// Section 2.2: no trailing slash, no `//`.
    #[error("has an empty path segment or ends with /")]
    EmptySegment,
    /// Section 2.2.
    #[error("has a path segment . or ..")]
    DotSegment,
    /// Section 2.2; a query or a fragment is refused by the same rule (section 2).
    #[error("has a path with other characters than a-z A-Z 0-9 . - _ /")]
    PathCharacter,
    /// Section 2.3.
    #[error("is longer than 2048 bytes")]
    TooLong,
}

/// Checks a bare trust domain name.
pub(super) fn trust_domain(name: &str) -> Result<(), SpiffeIdError> {
    if name.is_empty() {
        return Err(SpiffeIdError::EmptyTrustDomain);
    }
    if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
        return Err(SpiffeIdError::TrustDomainCharacter);
    }
    if name.len() > MAX_TRUST_DOMAIN_BYTES {
        return Err(SpiffeIdError::TrustDomainTooLong);
    }
    Ok(())
}

/// Checks a whole ID.
pub(super) fn spiffe_id(uri: &str) -> Result<(), SpiffeIdError> {
    let rest = uri.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
    if uri.len() > MAX_SPIFFE_ID_BYTES {
        return Err(SpiffeIdError::TooLong);
    }
    let host = rest.find('/').unwrap_or(rest.len());
    trust_domain(&rest[..host])?;
    path(&rest[host..])
}

fn path(path: &str) -> Result<(), SpiffeIdError> {
    let Some(segments) = path.strip_prefix('/') else { return Ok(()) };
    for segment in segments.split('/') {
        match segment {
            "" => return Err(SpiffeIdError::EmptySegment),
            "." | ".." => return Err(SpiffeIdError::DotSegment),
            _ => {}
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if !segment.bytes().all(legal) {
            return Err(SpiffeIdError::PathCharacter);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
