use serde_json::json;

use super::*;

const NOW_S: u64 = 1_800_000_000;
const NOW_MS: u64 = NOW_S * 1_000;

fn parse(claims: Value) -> Result<Claims, ClaimsError> {
    Claims::try_from(claims)
}

fn ada() -> Claims {
    parse(json!({ "sub": "ada", "exp": NOW_S, "documents": { "notes/*": "write" } })).expect("valid claims")
}

#[test]
fn a1_claims_are_read_and_written_in_their_shape() {
    let whole = json!({
        "sub": "ada", "exp": NOW_S, "nbf": 1, "iat": 2, "jti": "t1", "iss": "wiki", "aud": "cowrite", "name": "Ada", "color": "#12abEF",
        "documents": { "notes/*": "write", "*": "read" },
        "share": { "documents": { "notes/*": "read" }, "seconds": 60, "again": true },
    });

    let claims: Claims = serde_json::from_value(whole.clone()).expect("valid claims");

    let documents = [("notes/*".to_owned(), Access::Write), ("*".to_owned(), Access::Read)];
    let expected = Claims {
        sub: "ada".into(),
        exp: NOW_S,
        nbf: Some(1),
        iat: Some(2),
        jti: Some("t1".into()),
        iss: Some("wiki".to_owned()),
        aud: vec!["cowrite".to_owned()],
        name: Some("Ada".into()),
        color: Some("#12abEF".into()),
        documents: Grants::new(documents).expect("valid grants"),
        share: Some(Share {
            documents: Some(Grants::new([("notes/*".to_owned(), Access::Read)]).expect("valid grants")),
            seconds: Some(60),
            again: true,
        }),
    };
    assert_eq!(claims, expected);
    assert_eq!(serde_json::to_value(claims).expect("serializable"), whole);
}

#[test]
fn a1_only_sub_and_exp_are_required_and_unknown_claims_are_ignored() {
    let least = parse(json!({ "sub": "ada", "exp": 1, "name": null, "admin": true })).expect("valid claims");

    let expected = Claims {
        exp: 1,
        documents: Grants::default(),
        ..ada()
    };
    assert_eq!(least, expected);
    assert_eq!(parse(json!({ "exp": 1 })), Err(ClaimsError::Missing("sub")));
    assert_eq!(parse(json!({ "sub": "ada" })), Err(ClaimsError::Missing("exp")));
    assert_eq!(
        parse(json!({ "sub": "ada", "exp": null })),
        Err(ClaimsError::Missing("exp"))
    );
}

#[test]
fn a1_a_claim_of_another_form_is_refused_by_name() {
    let claim_of = |claim: &str, value: Value| {
        let mut claims = json!({ "sub": "ada", "exp": 1 });
        claims[claim] = value;
        match parse(claims) {
            Err(ClaimsError::Form { claim, .. }) => Some(claim),
            Err(ClaimsError::Grants(_)) => Some("documents"),
            _ => None,
        }
    };
    let long = "x".repeat(CLAIM_TEXT_BYTES_MAX);

    for (claim, value) in [
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("a\nb")),
        ("sub", json!(format!("{long}x"))),
        ("name", json!("a\u{7f}")),
        ("exp", json!("1")),
        ("exp", json!(-1)),
        ("nbf", json!(true)),
        ("aud", json!([])),
        ("jti", json!("")),
        ("iss", json!(["wiki"])),
        ("aud", json!([1])),
        ("color", json!("red")),
        ("color", json!("#12345")),
        ("color", json!("#12345g")),
        ("documents", json!(["*"])),
        ("documents", json!({ "*": "admin" })),
    ] {
        assert_eq!(claim_of(claim, value.clone()), Some(claim), "{value}");
    }
    assert_eq!(claim_of("sub", json!(long)), None);
    assert_eq!(claim_of("exp", json!(1.5)), None);
    assert_eq!(claim_of("exp", json!(1e300)), None);
}

#[test]
fn a2_an_identity_is_for_one_document() {
    let document = |name| DocumentId::parse(name).expect("a valid name");

    let expected = Identity {
        subject: Some("ada".into()),
        name: None,
        color: None,
        access: Access::Write,
        expires_at_ms: Some(NOW_MS + TOKEN_LEEWAY_MS),
        token: None,
        issued_at_ms: None,
        by: None,
    };
    assert_eq!(ada().identity(&document("notes/a"), TOKEN_LEEWAY_MS), Some(expected));
    assert_eq!(ada().identity(&document("todo"), TOKEN_LEEWAY_MS), None);
}

#[test]
fn a3_a_token_ends_at_exp_plus_the_leeway_and_its_session_in_the_same_moment() {
    let end_ms = NOW_MS + TOKEN_LEEWAY_MS;
    let check = |now_ms| ada().check(now_ms, &Expected::default());
    let session = Identity {
        expires_at_ms: Some(ada().expires_at_ms(TOKEN_LEEWAY_MS)),
        ..Identity::anonymous()
    };

    assert_eq!(check(end_ms - 1), Ok(()));
    assert_eq!(check(end_ms), Err(ClaimsError::Expired));
    assert!(!session.is_expired(end_ms - 1));
    assert!(session.is_expired(end_ms));
    assert!(!Identity::anonymous().is_expired(u64::MAX));
}

#[test]
fn a3_an_absurd_exp_never_overflows() {
    let claims = Claims {
        exp: u64::MAX,
        nbf: Some(u64::MAX),
        ..ada()
    };

    assert_eq!(
        claims.check(NOW_MS, &Expected::default()),
        Err(ClaimsError::NotYetValid)
    );
}

#[test]
fn a3_how_far_the_clocks_may_differ_is_a_setting() {
    let exact = Expected {
        leeway_ms: 0,
        ..Expected::default()
    };

    assert_eq!(ada().check(NOW_MS - 1, &exact), Ok(()));
    assert_eq!(ada().check(NOW_MS, &exact), Err(ClaimsError::Expired));
    let session = ada().identity(&DocumentId::parse("notes/a").expect("a name"), 0);
    assert_eq!(session.and_then(|session| session.expires_at_ms), Some(NOW_MS));
}

#[test]
fn a4_a_token_begins_at_nbf_less_the_leeway() {
    let claims = Claims {
        exp: NOW_S + 60,
        nbf: Some(NOW_S),
        ..ada()
    };
    let check = |now_ms| claims.check(now_ms, &Expected::default());

    assert_eq!(check(NOW_MS - TOKEN_LEEWAY_MS - 1), Err(ClaimsError::NotYetValid));
    assert_eq!(check(NOW_MS - TOKEN_LEEWAY_MS), Ok(()));
}

#[test]
fn a5_issuer_and_audience_must_be_there_and_match_when_configured() {
    let expected = Expected {
        issuer: Some("wiki".to_owned()),
        audience: Some("cowrite".to_owned()),
        ..Expected::default()
    };
    let check = |iss: Option<&str>, aud: &[&str]| {
        let aud = aud.iter().map(|&one| one.to_owned()).collect();
        Claims {
            iss: iss.map(str::to_owned),
            aud,
            ..ada()
        }
        .check(0, &expected)
    };

    assert_eq!(check(Some("wiki"), &["cowrite"]), Ok(()));
    assert_eq!(check(Some("wiki"), &["mail", "cowrite"]), Ok(()));
    assert_eq!(check(None, &["cowrite"]), Err(ClaimsError::WrongIssuer));
    assert_eq!(check(Some("evil"), &["cowrite"]), Err(ClaimsError::WrongIssuer));
    assert_eq!(check(Some("wiki"), &[]), Err(ClaimsError::WrongAudience));
    assert_eq!(check(Some("wiki"), &["mail"]), Err(ClaimsError::WrongAudience));
}

#[test]
fn a5_a_token_for_somebody_else_is_refused_where_no_audience_is_configured() {
    let mail = Claims {
        aud: vec!["mail".to_owned()],
        iss: Some("any".to_owned()),
        ..ada()
    };

    assert_eq!(
        mail.check(0, &Expected::default()),
        Err(ClaimsError::UnexpectedAudience)
    );
    assert_eq!(
        Claims {
            aud: Vec::new(),
            ..mail
        }
        .check(0, &Expected::default()),
        Ok(())
    );
}
