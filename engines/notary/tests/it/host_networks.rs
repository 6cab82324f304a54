//! Hosts' networks: the attack table of their envelopes, under fresh keys and as kept vectors.

use crate::plan_token_cases::{GROUP_ORDER, subtract};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use notary::{Expected, KeySet, NetworksRefusal, PlanSigner, SidecarKey, SignError, verify_networks};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use terms::{PlanId, TenantId, Timestamp, Unverified, Verified};
use wire::dsse::{Envelope, pre_authentication_encoding};
use wire::jwks::{Jwk, Jwks};
use wire::networks::{ENVELOPE_BOUNDS, HostNetworks, PAYLOAD_TYPE, SignedNetworks};
use wire::plan::PlanBytes;
use wire::plan_token::{Claims, PlanToken};

const CASES: &str = include_str!("../../../../ground/wire/vectors/networks/cases.json");
const CONTEXT: &str = include_str!("../../../../ground/wire/vectors/networks/context.json");

const PAYLOAD: &str = concat!(
    r#"{"node":"0190a000-0000-7000-8000-000000000001","issuer":"https://localhost:8443","version":1795507200000,"#,
    r#""issued_at":"2026-11-24T08:00:00.000Z","control_addresses":["192.0.2.7"],"#,
    r#""data_planes_elsewhere":["192.0.2.8:20001"],"tenants":[{"tenant":"0190a000-0000-7000-8000-000000000002","#,
    r#""number":3,"live":true,"quota":{"memory_bytes":536870912,"cpu_millicores":1000,"pids":256,"#,
    r#""connections":1024}}]}"#
);

#[test]
fn what_was_signed_comes_out_also_after_the_key_was_kept() {
    let (signer, pkcs8) = PlanSigner::generate().unwrap();
    let kept = PlanSigner::from_pkcs8(&pkcs8).unwrap();
    let networks = HostNetworks::read(PAYLOAD.as_bytes()).unwrap();
    let envelope = kept.sign_networks(&networks).unwrap();
    let keys = KeySet::from_jwks(&Jwks { keys: vec![signer.jwk()] }).0;
    assert_eq!(verify(&envelope, &keys).unwrap().into_inner(), networks);
    assert_eq!(SignedNetworks::read(&envelope).unwrap().kid(), signer.kid());
}

#[test]
fn every_row_of_the_attack_table_gets_its_own_answer() {
    let forge = Forge::new();
    let keys = KeySet::from_jwks(&forge.jwks()).0;
    for case in forge.cases() {
        assert_eq!(answer(case.envelope.as_bytes(), &keys), case.expect, "{}", case.name);
    }
}

#[test]
fn every_kept_vector_gets_its_own_answer() {
    let context: Value = serde_json::from_str(CONTEXT).unwrap();
    let (keys, refused) = KeySet::from_jwks(&serde_json::from_value(context["jwks"].clone()).unwrap());
    assert_eq!(refused, []);
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    for case in &cases {
        let text = |member: &str| case[member].as_str().unwrap();
        assert_eq!(answer(text("envelope").as_bytes(), &keys), text("expect"), "{}", text("name"));
    }
    let kept: BTreeSet<&str> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    let forged = Forge::new().cases();
    assert_eq!(kept, forged.iter().map(|case| case.name).collect(), "the vectors hold the whole table");
    assert_eq!(kept.len(), forged.len(), "each name stands once");
}

#[test]
fn any_flipped_bit_of_payload_or_signature_is_refused() {
    let forge = Forge::new();
    let keys = KeySet::from_jwks(&forge.jwks()).0;
    let good = forge.good();
    let decoded = good.decode(PAYLOAD_TYPE).unwrap();
    let kid = forge.jwk.kid.as_str();
    for bit in 0..decoded.payload.len() * 8 {
        let mut payload = decoded.payload.clone();
        payload[bit / 8] ^= 1 << (bit % 8);
        let envelope = text(&Envelope::new(PAYLOAD_TYPE, &payload, kid, &decoded.signature));
        assert_eq!(answer(envelope.as_bytes(), &keys), "networks.bad_signature", "payload bit {bit}");
    }
    for bit in 0..decoded.signature.len() * 8 {
        let mut signature = decoded.signature;
        signature[bit / 8] ^= 1 << (bit % 8);
        let envelope = text(&Envelope::new(PAYLOAD_TYPE, &decoded.payload, kid, &signature));
        assert_eq!(answer(envelope.as_bytes(), &keys), "networks.bad_signature", "signature bit {bit}");
    }
}

#[test]
fn an_oversized_envelope_is_refused_before_it_is_read() {
    let (forge, long) = (Forge::new(), "a".repeat(ENVELOPE_BOUNDS.bytes + 1));
    let keys = KeySet::from_jwks(&forge.jwks()).0;
    assert_eq!(answer(long.as_bytes(), &keys), "networks.too_large");
    let padded = format!("{}{}", text(&forge.good()), " ".repeat(ENVELOPE_BOUNDS.bytes));
    assert_eq!(answer(padded.as_bytes(), &keys), "networks.too_large");
}

#[test]
fn a_plan_tokens_signature_never_passes_as_an_envelopes_nor_an_envelopes_as_a_tokens() {
    let forge = Forge::new();
    let keys = KeySet::from_jwks(&forge.jwks()).0;
    let signer = PlanSigner::from_pkcs8(&forge.pkcs8).unwrap();
    let compact = signer.sign(&claims()).unwrap();
    let token = PlanToken::split(&compact).unwrap();
    assert!(token_passes(&compact, &keys), "the token itself is good");
    for payload in [token.signing_input(), PAYLOAD.as_bytes()] {
        let envelope = Envelope::new(PAYLOAD_TYPE, payload, forge.jwk.kid.as_str(), token.signature());
        assert_eq!(answer(text(&envelope).as_bytes(), &keys), "networks.bad_signature");
    }
    let decoded = forge.good().decode(PAYLOAD_TYPE).unwrap();
    let (input, _) = compact.rsplit_once('.').unwrap();
    let forged = format!("{input}.{}", URL_SAFE_NO_PAD.encode(decoded.signature));
    assert!(!token_passes(&forged, &keys));
    // No token can even have the bytes that an envelope's signature covers: they hold blanks.
    let covered = pre_authentication_encoding(PAYLOAD_TYPE, PAYLOAD.as_bytes());
    let as_token = format!("{}.{}", String::from_utf8(covered).unwrap(), URL_SAFE_NO_PAD.encode([1; 64]));
    assert!(PlanToken::split(&as_token).is_err());
}

#[test]
fn a_key_that_is_found_under_another_id_than_its_own_is_not_used() {
    let (one, other) = (Forge::new(), Forge::new());
    let wrong = KeySet::from_jwks(&other.jwks()).0.find(&other.jwk.kid);
    let signed = SignedNetworks::read(text(&one.good()).as_bytes()).unwrap();
    let refusal = verify_networks(Unverified::new(signed), |_| wrong).unwrap_err();
    assert_eq!(refusal.code(), "networks.unknown_key");
}

#[test]
fn networks_that_no_host_could_read_are_never_signed() {
    let (signer, _) = PlanSigner::generate().unwrap();
    let networks = HostNetworks::read(PAYLOAD.as_bytes()).unwrap();
    let elsewhere = vec![networks.data_planes_elsewhere[0]; 20_000];
    let too_many = HostNetworks { data_planes_elsewhere: elsewhere, ..networks };
    assert_eq!(signer.sign_networks(&too_many), Err(SignError::Write));
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
    let context = json!({
        "note": "TEST key: its private half was thrown away when the vectors were written",
        "jwks": forge.jwks(),
    });
    let case = |case: Case| json!({ "name": case.name, "envelope": case.envelope, "expect": case.expect });
    let cases: Value = forge.cases().into_iter().map(case).collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ground/wire/vectors/networks");
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap() + "\n";
    std::fs::write(format!("{folder}/context.json"), text(&context)).unwrap();
    std::fs::write(format!("{folder}/cases.json"), text(&cases)).unwrap();
}

/// One envelope, and what must come of it.
struct Case {
    name: &'static str,
    envelope: String,
    expect: &'static str,
}

/// Makes envelopes under one known key, and under keys that are not known.
struct Forge {
    pkcs8: notary::Pkcs8,
    jwk: Jwk,
}

impl Forge {
    fn new() -> Self {
        let (signer, pkcs8) = PlanSigner::generate().unwrap();
        Self { pkcs8, jwk: signer.jwk() }
    }

    fn jwks(&self) -> Jwks {
        Jwks { keys: vec![self.jwk.clone()] }
    }

    fn good(&self) -> Envelope {
        self.signed(PAYLOAD_TYPE, PAYLOAD)
    }

    fn signed(&self, payload_type: &str, payload: &str) -> Envelope {
        let signature = sign(&self.pkcs8, &pre_authentication_encoding(payload_type, payload.as_bytes()));
        Envelope::new(payload_type, payload.as_bytes(), self.jwk.kid.as_str(), &signature)
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = self.signatures();
        cases.extend(self.shapes());
        cases.extend(self.keys());
        cases.extend(self.payloads());
        cases
    }

    fn signatures(&self) -> Vec<Case> {
        let good = self.good();
        let decoded = good.decode(PAYLOAD_TYPE).unwrap();
        let (r, s) = decoded.signature.split_at(32);
        let order = hex::decode(GROUP_ORDER).unwrap();
        let with = |signature: Vec<u8>| {
            let mut envelope = good.clone();
            envelope.signatures[0].sig = STANDARD.encode(signature);
            envelope
        };
        let bare = sign(&self.pkcs8, PAYLOAD.as_bytes());
        let heartbeat = self.signed(wire::heartbeat::PAYLOAD_TYPE, PAYLOAD);
        let retyped = Envelope { payload_type: PAYLOAD_TYPE.into(), ..heartbeat.clone() };
        vec![
            case("valid", "ok", &good),
            // Valid ECDSA: so nothing is keyed by the signature.
            case("s replaced by n - s", "ok", &with([r.to_vec(), subtract(&order, s)].concat())),
            case("r and s swapped", "networks.bad_signature", &with([s, r].concat())),
            case("all zero", "networks.bad_signature", &with(vec![0; 64])),
            case("r of the group's order", "networks.bad_signature", &with([&order, s].concat())),
            case("over the payload alone", "networks.bad_signature", &with(bare.to_vec())),
            case("63 bytes", "networks.envelope", &with(decoded.signature[..63].to_vec())),
            case("65 bytes", "networks.envelope", &with([&decoded.signature[..], &[0]].concat())),
            case("no bytes", "networks.envelope", &with(Vec::new())),
            case("the type of a heartbeat", "networks.wrong_type", &heartbeat),
            case("signed as a heartbeat, sent as networks", "networks.bad_signature", &retyped),
        ]
    }

    fn shapes(&self) -> Vec<Case> {
        let good = self.good();
        let sent = text(&good);
        let signature = &good.signatures[0];
        let signatures = |list: &[&wire::dsse::Signature]| Envelope {
            signatures: list.iter().copied().cloned().collect(),
            ..good.clone()
        };
        let of_type = |payload_type: &str| Envelope { payload_type: payload_type.into(), ..good.clone() };
        let of_payload = |payload: String| Envelope { payload, ..good.clone() };
        let mut url_signed = good.clone();
        url_signed.signatures[0].sig = "_".repeat(85) + "w==";
        let raw = |name, envelope: String| Case { name, envelope, expect: "networks.envelope" };
        vec![
            case("no signature", "networks.envelope", &signatures(&[])),
            case("the same signature twice", "networks.envelope", &signatures(&[signature, signature])),
            case("another version", "networks.wrong_type", &of_type(&PAYLOAD_TYPE.replace("v=1", "v=2"))),
            case("the type in capitals", "networks.wrong_type", &of_type(&PAYLOAD_TYPE.to_uppercase())),
            case("a blank in the type", "networks.wrong_type", &of_type(&PAYLOAD_TYPE.replace(';', "; "))),
            case("no type", "networks.wrong_type", &of_type("")),
            case("payload without padding", "networks.envelope", &{
                of_payload(STANDARD.encode("{}").trim_end_matches('=').to_owned())
            }),
            case("payload with trailing bits", "networks.envelope", &of_payload("e31=".into())),
            case("payload with a line break", "networks.envelope", &of_payload(good.payload.clone() + "\n")),
            case("payload in base64url", "networks.envelope", &of_payload("_w==".into())),
            case("signature in base64url", "networks.envelope", &url_signed),
            raw("empty", String::new()),
            raw("no JSON", "not json".into()),
            raw("a list", "[]".into()),
            raw("something after it", format!("{sent}x")),
            raw("a member more", sent.replacen('{', "{\"odd\":1,", 1)),
            raw("a member twice", sent.replacen('{', &format!("{{\"payload\":\"{}\",", good.payload), 1)),
            raw("payload missing", sent.replacen("\"payload\"", "\"pay\"", 1)),
            raw("payload null", sent.replacen(&format!("\"{}\"", good.payload), "null", 1)),
            raw("nested too deeply", format!("{}{}", "[".repeat(64), "]".repeat(64))),
        ]
    }

    fn keys(&self) -> Vec<Case> {
        let good = self.good();
        let with_keyid = |keyid: &str| {
            let mut envelope = good.clone();
            keyid.clone_into(&mut envelope.signatures[0].keyid);
            envelope
        };
        let (foreign, claimed, retired) = (Self::new(), Self::new(), Self::new());
        let mut foreign_as_ours = foreign.good();
        foreign_as_ours.signatures[0].keyid = self.jwk.kid.as_str().to_owned();
        let (sidecar, _) = SidecarKey::generate().unwrap();
        let mut ed25519 = sidecar.sign(PAYLOAD_TYPE, PAYLOAD.as_bytes()).unwrap();
        ed25519.signatures[0].keyid = self.jwk.kid.as_str().to_owned();
        vec![
            case("a foreign key", "networks.unknown_key", &foreign.good()),
            case("a key that is served no more", "networks.unknown_key", &retired.good()),
            case(
                "ours, under a foreign key id",
                "networks.unknown_key",
                &with_keyid(claimed.jwk.kid.as_str()),
            ),
            case("a foreign key under our key id", "networks.bad_signature", &foreign_as_ours),
            case("Ed25519 under our key id", "networks.bad_signature", &ed25519),
            case("no key id", "networks.envelope", &with_keyid("")),
            case("a key id that is an address", "networks.envelope", &with_keyid("https://evil.example/k")),
        ]
    }

    fn payloads(&self) -> Vec<Case> {
        let row = |name, payload: &str| case(name, "networks.malformed", &self.signed(PAYLOAD_TYPE, payload));
        let changed = |from: &str, to: &str| {
            let payload = PAYLOAD.replacen(from, to, 1);
            assert_ne!(payload, PAYLOAD, "{from}");
            payload
        };
        vec![
            row("signed, but empty", ""),
            row("signed, but no networks", "{}"),
            row("signed, a member more", &changed("{\"node\"", "{\"odd\":1,\"node\"")),
            row("signed, a member twice", &changed("\"version\":1", "\"version\":2,\"version\":1")),
            row("signed, a member less", &changed("\"live\":true,", "")),
            row("signed, a number over 255", &changed("\"number\":3", "\"number\":256")),
            row("signed, a version below zero", &changed("\"version\":1", "\"version\":-1")),
            row("signed, a version in quotes", &changed("1795507200000", "\"1795507200000\"")),
            row("signed, an IPv6 address", &changed("192.0.2.7", "2001:db8::7")),
            row("signed, something after it", &format!("{PAYLOAD}x")),
        ]
    }
}

fn case(name: &'static str, expect: &'static str, envelope: &Envelope) -> Case {
    Case { name, envelope: text(envelope), expect }
}

fn text(envelope: &Envelope) -> String {
    serde_json::to_string(envelope).unwrap()
}

fn answer(envelope: &[u8], keys: &KeySet) -> &'static str {
    match verify(envelope, keys) {
        Ok(_) => "ok",
        Err(refusal) => refusal.code(),
    }
}

fn verify(envelope: &[u8], keys: &KeySet) -> Result<Verified<HostNetworks>, NetworksRefusal> {
    verify_networks(Unverified::new(SignedNetworks::read(envelope)?), |kid| keys.find(kid))
}

/// Whether the signature of a token holds, whatever its plan.
fn token_passes(compact: &str, keys: &KeySet) -> bool {
    let claims = claims();
    let expected = Expected { issuer: claims.iss, audience: claims.aud, tenant: claims.sub };
    let token = Unverified::new(PlanToken::split(compact).unwrap());
    let plan = Unverified::new(PlanBytes::new(b"{}".to_vec()));
    let refusal = notary::verify_plan(token, plan, |kid| keys.find(kid), &expected).unwrap_err();
    refusal.code() != "plan.bad_signature"
}

fn claims() -> Claims {
    Claims {
        iss: "https://localhost:8443".into(),
        sub: TenantId::from_bytes([2; 16]),
        aud: "spiffe://palisade.internal/tenant/x/data-plane".into(),
        iat: 1_795_507_200,
        nbf: 1_795_507_200,
        exp: 1_795_507_500,
        jti: PlanId::mint(Timestamp::from_unix_s(1_795_507_200), [7; 10]),
        plan_hash: terms::Digest::sha256(b"{}"),
        plan_len: 2,
    }
}

fn sign(pkcs8: &[u8], message: &[u8]) -> [u8; 64] {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap();
    pair.sign(&SystemRandom::new(), message).unwrap().as_ref().try_into().unwrap()
}
