//! Tokens of our own: what is written, and the last check before they leave.

use super::*;
use crate::secret::BearerToken;

fn meant() -> Claims {
    Claims {
        sub: SpiffeId::parse(SUBJECT).unwrap(),
        aud: vec![AUDIENCE.into()],
        iat: NOW,
        nbf: NOW,
        exp: NOW.after(Duration::from_secs(300)),
        jti: "one".into(),
        iss: None,
    }
}

/// Signs `written` and says that it is `meant`.
fn issue(written: &Claims, meant: Claims) -> JwtSvid {
    let input = written.signing_input(Algorithm::Es256, "p256");
    let token = format!("{input}.{}", BASE64URL.encode(sign(Algorithm::Es256, &input)));
    JwtSvid { token: BearerToken::new(token), claims: meant, kid: "p256".into() }
}

#[test]
fn jt_2_jt_7_header_and_claims_are_exactly_those_of_the_profile() {
    let input = meant().signing_input(Algorithm::Es256, "p256");
    let (header, claims) = input.split_once('.').unwrap();
    assert_eq!(BASE64URL.decode(header).unwrap(), br#"{"alg":"ES256","kid":"p256","typ":"JWT"}"#);
    let expected = r#"{"aud":["billing"],"exp":1800000300,"iat":1800000000,"jti":"one","nbf":1800000000,"sub":"spiffe://example.org/orders/api"}"#;
    assert_eq!(String::from_utf8(BASE64URL.decode(claims).unwrap()).unwrap(), expected);

    let with_issuer = Claims { iss: Some("https://example.org".into()), ..meant() };
    let valid = verdict(issue(&with_issuer, with_issuer.clone()).token.expose()).unwrap();
    assert_eq!(valid.claims["iss"], "https://example.org");
}

#[test]
fn what_we_issue_passes_our_own_check() {
    let svid = issue(&meant(), meant());
    assert_eq!(check_issued(&svid, Algorithm::Es256), Ok(()));
    assert!(verdict(svid.token.expose()).is_ok());
}

#[test]
fn a_product_that_says_something_else_than_was_meant_does_not_leave() {
    let later = NOW.after(Duration::from_secs(301));
    let written = [
        Claims { sub: SpiffeId::parse("spiffe://example.org/admin").unwrap(), ..meant() },
        Claims { aud: vec![AUDIENCE.into(), "other".into()], ..meant() },
        Claims { exp: later, ..meant() },
        Claims { nbf: Timestamp::from_seconds(0), ..meant() },
        Claims { iat: Timestamp::from_seconds(0), ..meant() },
        Claims { jti: "two".into(), ..meant() },
        Claims { iss: Some("https://example.org".into()), ..meant() },
    ];
    for written in written {
        assert_eq!(
            check_issued(&issue(&written, meant()), Algorithm::Es256),
            Err(JwtSvidError::NotAsMeant),
            "{written:?}"
        );
    }
    assert_eq!(check_issued(&issue(&meant(), meant()), Algorithm::Rs256), Err(JwtSvidError::NotAsMeant));
    let other_key = JwtSvid { kid: "p384".into(), ..issue(&meant(), meant()) };
    assert_eq!(check_issued(&other_key, Algorithm::Es256), Err(JwtSvidError::NotAsMeant));
}

#[test]
fn a_product_that_breaks_a_rule_does_not_leave_even_if_it_was_meant() {
    let cases = [
        (Claims { aud: vec![], ..meant() }, JwtSvidError::AudienceForm),
        (Claims { aud: vec![String::new()], ..meant() }, JwtSvidError::AudienceForm),
        (Claims { sub: TrustDomain::parse("example.org").unwrap().id(), ..meant() }, JwtSvidError::Subject),
        (Claims { exp: NOW, ..meant() }, JwtSvidError::Expired),
        (Claims { jti: String::new(), ..meant() }, JwtSvidError::Claims),
        (Claims { aud: vec!["a".repeat(MAX_TOKEN_BYTES)], ..meant() }, JwtSvidError::TooLong),
    ];
    for (claims, expected) in cases {
        assert_eq!(check_issued(&issue(&claims, claims.clone()), Algorithm::Es256), Err(expected));
    }
}
