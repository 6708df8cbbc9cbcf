//! Which check a token failed: one variant for each.

/// Which check a token failed. The texts are for operators and for the holder of the
/// token; they quote nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JwtSvidError {
    /// The caller's fault, not the token's: without an audience of its own nobody can
    /// tell a token for them from a token for somebody else (JWT-SVID.md, section 4).
    #[error("no audience to expect was given")]
    NoExpectedAudience,
    /// Longer than [`MAX_TOKEN_BYTES`](super::MAX_TOKEN_BYTES).
    #[error("the token is too long")]
    TooLong,
    /// Not three parts (JWT-SVID.md, section 1: no JWS JSON serialization, no JWE).
    #[error("the token is not a JWS in compact serialization")]
    Form,
    /// A part is not unpadded, canonical base64url (RFC 7515, section 2).
    #[error("a part of the token is not base64url without padding")]
    Encoding,
    /// The header is not one JSON object with unique members (RFC 7515, section 4).
    #[error("its header is not a JSON object with unique members")]
    Header,
    /// `alg` is missing or none of the nine (JWT-SVID.md, section 2.1).
    #[error("its algorithm is not one of the nine of JWT-SVIDs")]
    Algorithm,
    /// A header parameter besides `alg`, `kid` and `typ` (JWT-SVID.md, section 2).
    /// This covers `crit`, `b64`, `jwk`, `jku`, `x5c` and `x5u`.
    #[error("its header has a parameter besides alg, kid and typ")]
    HeaderParameter,
    /// `typ` is neither absent nor `JWT` nor `JOSE` (JWT-SVID.md, section 2.3).
    #[error("its typ is neither JWT nor JOSE")]
    Type,
    /// `kid` is missing, empty or not a string.
    #[error("its header names no key (kid)")]
    KeyId,
    /// The claims are not one JSON object with unique members (RFC 7519, section 4).
    #[error("its claims are not a JSON object with unique members")]
    Claims,
    /// `sub` is missing or not a SPIFFE ID with a path (JWT-SVID.md, section 3.1).
    #[error("its subject is not the SPIFFE ID of a workload")]
    Subject,
    /// `aud` is missing, empty, or neither a string nor a list of strings (JWT-SVID.md, section 3.2).
    #[error("its audience is missing or malformed")]
    AudienceForm,
    /// `exp` is missing or not a number (JWT-SVID.md, section 3.3).
    #[error("its expiry is missing or malformed")]
    ExpiryForm,
    /// `nbf` is there and not a number (RFC 7519, section 4.1.5).
    #[error("its not-before time is malformed")]
    NotBeforeForm,
    /// `iat` is there and not a number (RFC 7519, section 4.1.6).
    #[error("its time of issue is malformed")]
    IssuedAtForm,
    /// No bundle of the subject's trust domain is known (SPIFFE_Workload_API.md, section 6.3).
    #[error("its trust domain is not trusted here")]
    TrustDomain,
    /// No key of the bundle has the `kid` of the header.
    #[error("its key is not in the bundle of its trust domain")]
    Key,
    /// The key of that name is of another type or curve, or is for another algorithm.
    #[error("its algorithm does not fit its key")]
    KeyAlgorithm,
    /// The signature is not the key's over these bytes.
    #[error("its signature is wrong")]
    Signature,
    /// The time of `exp` has come or gone.
    #[error("the token has expired")]
    Expired,
    /// The time of `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The expected audience is none of its audiences.
    #[error("its audience does not include the one expected")]
    Audience,
    /// Of a product of our own: it says something else than was to be signed.
    #[error("the token says something else than was to be signed")]
    NotAsMeant,
}
