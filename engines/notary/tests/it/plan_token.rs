//! Plan tokens: the attack table, under fresh keys and as kept vectors.

use crate::plan_token_cases::{Forge, ISSUED_AT, expected, plan, to_json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use notary::{Expected, KeySet, PlanRefusal, SignedPlan, verify_plan};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use terms::{Unverified, Verified};
use wire::jwks::Jwks;
use wire::plan::PlanBytes;
use wire::plan_token::PlanToken;

const CASES: &str = include_str!("../../../../ground/wire/vectors/plan-token/cases.json");
const CONTEXT: &str = include_str!("../../../../ground/wire/vectors/plan-token/context.json");

#[test]
fn every_row_of_the_attack_table_gets_its_own_answer() {
    let forge = Forge::new();
    let keys = KeySet::from_jwks(&forge.jwks()).0;
    for case in forge.into_cases() {
        assert_eq!(answer(&case.token, &case.plan, &keys, &expected()), case.expect, "{}", case.name);
    }
}

#[test]
fn every_kept_vector_gets_its_own_answer() {
    let context: Value = serde_json::from_str(CONTEXT).unwrap();
    let jwks: Jwks = serde_json::from_value(context["jwks"].clone()).unwrap();
    let (keys, refused) = KeySet::from_jwks(&jwks);
    assert_eq!(refused, []);
    let expected = Expected {
        issuer: context["issuer"].as_str().unwrap().to_owned(),
        audience: context["audience"].as_str().unwrap().to_owned(),
        tenant: context["tenant"].as_str().unwrap().parse().unwrap(),
    };
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    for case in &cases {
        let text = |member: &str| case[member].as_str().unwrap();
        let plan = STANDARD.decode(text("plan_base64")).unwrap();
        assert_eq!(answer(text("token"), &plan, &keys, &expected), text("expect"), "{}", text("name"));
    }
    let kept: BTreeSet<&str> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    let forged = Forge::new().into_cases();
    assert_eq!(kept, forged.iter().map(|case| case.name).collect(), "the vectors hold the whole table");
    assert_eq!(kept.len(), forged.len(), "each name stands once");
}

#[test]
fn what_comes_out_is_the_plan_and_the_very_bytes_that_were_signed() {
    let forge = Forge::new();
    let keys = KeySet::from_jwks(&forge.jwks()).0;
    let valid = forge.into_cases().into_iter().next().unwrap();
    let signed = verify(&valid.token, &valid.plan, &keys, &expected()).unwrap().into_inner();
    assert_eq!(signed.bytes.as_slice(), plan());
    assert_eq!((signed.claims.iat, signed.claims.exp), (ISSUED_AT, ISSUED_AT + 300));
    assert_eq!(signed.plan.plan_id, signed.claims.jti);
}

#[test]
fn any_flipped_bit_of_a_token_is_refused() {
    let forge = Forge::new();
    let keys = KeySet::from_jwks(&forge.jwks()).0;
    let valid = forge.into_cases().into_iter().next().unwrap();
    for at in 0..valid.token.len() {
        for bit in 0..7 {
            let mut bytes = valid.token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let token = String::from_utf8(bytes).unwrap();
            assert_ne!(answer(&token, &valid.plan, &keys, &expected()), "ok", "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_key_that_is_found_under_another_id_than_its_own_is_not_used() {
    let (one, other) = (Forge::new(), Forge::new());
    let keys = KeySet::from_jwks(&other.jwks()).0;
    let wrong = keys.find(&other.jwks().keys[0].kid);
    let valid = one.into_cases().into_iter().next().unwrap();
    let token = Unverified::new(PlanToken::split(&valid.token).unwrap());
    let bytes = Unverified::new(PlanBytes::new(valid.plan));
    let refusal = verify_plan(token, bytes, |_| wrong, &expected()).unwrap_err();
    assert_eq!(refusal.code(), "plan.unknown_key");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "UPDATE_GOLDENS=1 writes the vectors anew, under a key nobody keeps"
)]
fn the_vectors_are_written_anew_only_on_request() {
    if std::env::var("UPDATE_GOLDENS").as_deref() != Ok("1") {
        return;
    }
    let forge = Forge::new();
    let expected = expected();
    let context = json!({
        "note": "TEST key: its private half was thrown away when the vectors were written",
        "issuer": expected.issuer,
        "audience": expected.audience,
        "tenant": expected.tenant,
        "jwks": forge.jwks(),
    });
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ground/wire/vectors/plan-token");
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap() + "\n";
    std::fs::write(format!("{folder}/context.json"), text(&context)).unwrap();
    std::fs::write(format!("{folder}/cases.json"), text(&to_json(&forge.into_cases()))).unwrap();
}

fn answer(token: &str, plan: &[u8], keys: &KeySet, expected: &Expected) -> &'static str {
    match verify(token, plan, keys, expected) {
        Ok(_) => "ok",
        Err(refusal) => refusal.code(),
    }
}

/// The gate's order: split the token, then verify token and plan together.
fn verify(
    token: &str,
    plan: &[u8],
    keys: &KeySet,
    expected: &Expected,
) -> Result<Verified<SignedPlan>, PlanRefusal> {
    let token = PlanToken::split(token)?;
    let bytes = PlanBytes::new(plan.to_vec());
    verify_plan(Unverified::new(token), Unverified::new(bytes), |kid| keys.find(kid), expected)
}
