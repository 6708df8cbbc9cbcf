//! Claims: JWT-SVID.md, section 3, RFC 7519, section 4.1.

use super::*;

/// The refusal of claims that differ from good ones in one member.
fn refusal(name: &str, value: Value) -> JwtSvidError {
    verdict_on_claims(&with(claims(), name, value).to_string()).unwrap_err()
}

fn is_accepted(name: &str, value: Value) -> bool {
    verdict_on_claims(&with(claims(), name, value).to_string()).is_ok()
}

#[test]
fn jt_6_the_subject_is_the_spiffe_id_of_a_workload() {
    assert_eq!(verdict_on_claims(&without(claims(), "sub").to_string()).unwrap_err(), JwtSvidError::Subject);
    let not_ids = ["", "orders", "https://example.org/a", "SPIFFE://example.org/a", "spiffe://Example.org/a"];
    let broken =
        ["spiffe://example.org/", "spiffe://example.org/a/", "spiffe://example.org/../a", "spiffe://u@example.org/a"];
    let root = ["spiffe://example.org"];
    let long = [format!("spiffe://example.org/{}", "a".repeat(2048))];
    let texts = not_ids.into_iter().chain(broken).chain(root).map(Value::from).chain(long.map(Value::from));
    for sub in texts.chain([json!(null), json!(7), json!([SUBJECT])]) {
        assert_eq!(refusal("sub", sub.clone()), JwtSvidError::Subject, "{sub}");
    }
}

#[test]
fn jt_7_an_audience_that_is_missing_or_malformed_is_refused() {
    assert_eq!(verdict_on_claims(&without(claims(), "aud").to_string()).unwrap_err(), JwtSvidError::AudienceForm);
    for aud in [json!(null), json!(7), json!([]), json!([1, 2]), json!([AUDIENCE, 1]), json!([[AUDIENCE]]), json!({})] {
        assert_eq!(refusal("aud", aud.clone()), JwtSvidError::AudienceForm, "{aud}");
    }
}

#[test]
fn jt_7_a_string_or_a_list_with_the_expected_audience_is_accepted() {
    assert!(is_accepted("aud", json!(AUDIENCE)));
    assert!(is_accepted("aud", json!(["first", AUDIENCE])));
}

#[test]
fn jt_33_audiences_match_exactly_or_not_at_all() {
    let near = [
        "Billing",
        "billing/",
        "billin",
        "billing2",
        " billing",
        "billing ",
        "",
        "*",
        "b\u{0131}lling",
        "billing\u{0}",
    ];
    for aud in near {
        assert_eq!(refusal("aud", json!(aud)), JwtSvidError::Audience, "{aud:?}");
        assert_eq!(refusal("aud", json!([aud, "other"])), JwtSvidError::Audience, "{aud:?}");
    }
}

#[test]
fn jt_33_nobody_validates_without_an_audience_of_their_own() {
    let token =
        forge(Algorithm::Es256, &header(Algorithm::Es256).to_string(), &with(claims(), "aud", json!("")).to_string());
    let bundle = bundle();
    assert_eq!(validate(&token, "", NOW, |_| Some(&bundle)).unwrap_err(), JwtSvidError::NoExpectedAudience);
}

#[test]
fn jt_9_an_expiry_is_demanded() {
    assert_eq!(verdict_on_claims(&without(claims(), "exp").to_string()).unwrap_err(), JwtSvidError::ExpiryForm);
    for exp in [json!(null), json!("4102444800"), json!(true), json!([4_102_444_800_u64]), json!(-1), json!(-1e300)] {
        assert_eq!(refusal("exp", exp.clone()), JwtSvidError::ExpiryForm, "{exp}");
    }
}

#[test]
fn jt_34_a_token_expires_at_the_second_of_its_expiry_without_leeway() {
    let now = NOW.seconds();
    for exp in [json!(now), json!(now - 1), json!(0), json!(0.5)] {
        assert_eq!(refusal("exp", exp.clone()), JwtSvidError::Expired, "{exp}");
    }
    #[allow(clippy::cast_precision_loss, reason = "small enough to be exact")]
    let half_a_second = now as f64 + 0.5;
    for exp in [json!(now + 1), json!(half_a_second), json!(u64::MAX), json!(1e300), json!(4_102_444_800.5)] {
        assert!(is_accepted("exp", exp.clone()), "{exp}");
    }
    let beyond_64_bits = claims().to_string().replace(&(now + 300).to_string(), "184467440737095516160");
    assert!(verdict_on_claims(&beyond_64_bits).is_ok());
    let beyond_floats = claims().to_string().replace(&(now + 300).to_string(), "1e999");
    assert_eq!(verdict_on_claims(&beyond_floats).unwrap_err(), JwtSvidError::Claims);
}

#[test]
fn jt_10_a_token_is_not_valid_before_its_time() {
    let now = NOW.seconds();
    assert!(verdict_on_claims(&without(claims(), "nbf").to_string()).is_ok());
    for nbf in [json!(now), json!(0), json!(0.5)] {
        assert!(is_accepted("nbf", nbf.clone()), "{nbf}");
    }
    #[allow(clippy::cast_precision_loss, reason = "small enough to be exact")]
    let half_a_second = now as f64 + 0.5;
    for nbf in [json!(now + 1), json!(half_a_second), json!(u64::MAX), json!(1e300)] {
        assert_eq!(refusal("nbf", nbf.clone()), JwtSvidError::NotYetValid, "{nbf}");
    }
    assert_eq!(refusal("nbf", json!("0")), JwtSvidError::NotBeforeForm);
    assert_eq!(refusal("nbf", json!(null)), JwtSvidError::NotBeforeForm);
    assert_eq!(refusal("nbf", json!(-1)), JwtSvidError::NotBeforeForm);
}

#[test]
fn jt_10_a_time_of_issue_in_the_future_is_no_reason_to_refuse() {
    assert!(is_accepted("iat", json!(u64::MAX)));
    assert!(verdict_on_claims(&without(claims(), "iat").to_string()).is_ok());
    assert_eq!(refusal("iat", json!("now")), JwtSvidError::IssuedAtForm);
}

#[test]
fn jt_11_other_claims_are_kept() {
    let valid = verdict_on_claims(&with(claims(), "https://example.org/x", json!({ "a": [1] })).to_string()).unwrap();
    assert_eq!(valid.claims["https://example.org/x"], json!({ "a": [1] }));
}

#[test]
fn jt_35_claims_that_are_not_one_object_with_unique_members_are_refused() {
    let good = claims().to_string();
    let repeat = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    let doubled = [
        r#""sub":"spiffe://example.org/admin""#,
        r#""aud":"other""#,
        r#""exp":1"#,
        r#""jti":"two""#,
        r#""\u0073ub":"x""#,
    ];
    for member in doubled {
        assert_eq!(verdict_on_claims(&repeat(member)).unwrap_err(), JwtSvidError::Claims, "{member}");
    }
    for claims in ["[]", "null", "\"\"", "{", &format!("{good}{good}"), &format!("{good}\u{0}")] {
        assert_eq!(verdict_on_claims(claims).unwrap_err(), JwtSvidError::Claims, "{claims}");
    }
}
