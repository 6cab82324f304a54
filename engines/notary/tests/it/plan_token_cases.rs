//! The attack table of plan tokens: every way that we know to be almost right (PLAN-3), with its reason code.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use notary::{Expected, PlanSigner};
use serde_json::{Value, json};
use terms::{Digest, TenantId};
use wire::jwks::{Jwk, Jwks};

pub(crate) const ISSUED_AT: i64 = 1_795_507_200;
const ISSUER: &str = "https://localhost:8443";
const TENANT: &str = "0190a000-0000-7000-8000-000000000001";
const OTHER_TENANT: &str = "0190a000-0000-7000-8000-000000000002";
const PLAN_ID: &str = "0190a000-0000-7000-8000-0000000000aa";
const AUDIENCE: &str = "spiffe://palisade.internal/tenant/0190a000-0000-7000-8000-000000000001/data-plane";

/// The order of the curve's group (FIPS 186-5).
pub(crate) const GROUP_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// One token and the plan beside it, and what must come of them.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) token: String,
    pub(crate) plan: Vec<u8>,
    pub(crate) expect: &'static str,
}

/// Claims to change, with their new values.
type Changes<'a> = &'a [(&'a str, Value)];

/// Makes tokens under one known key, and under one that is not known.
pub(crate) struct Forge {
    pkcs8: notary::Pkcs8,
    jwk: Jwk,
    foreign_pkcs8: notary::Pkcs8,
    foreign: Jwk,
    cases: Vec<Case>,
}

pub(crate) fn expected() -> Expected {
    Expected { issuer: ISSUER.into(), audience: AUDIENCE.into(), tenant: TENANT.parse::<TenantId>().unwrap() }
}

impl Forge {
    pub(crate) fn new() -> Self {
        let (signer, pkcs8) = PlanSigner::generate().unwrap();
        let (foreign, foreign_pkcs8) = PlanSigner::generate().unwrap();
        Self { pkcs8, jwk: signer.jwk(), foreign_pkcs8, foreign: foreign.jwk(), cases: Vec::new() }
    }

    pub(crate) fn jwks(&self) -> Jwks {
        Jwks { keys: vec![self.jwk.clone()] }
    }

    pub(crate) fn into_cases(mut self) -> Vec<Case> {
        self.valid();
        self.shapes();
        self.header_values();
        self.header_members();
        self.keys();
        self.signatures();
        self.claims();
        self.claim_types();
        self.other_plans();
        self.signed_plans();
        self.cases
    }

    fn valid(&mut self) {
        self.case("valid", "ok", self.token());
        let token =
            self.with_signature(|[r, s]| [r, subtract(&hex::decode(GROUP_ORDER).unwrap(), &s)].concat());
        // Valid ECDSA: so nothing is keyed by the token's bytes.
        self.case("s replaced by n - s", "ok", token);
    }

    fn shapes(&mut self) {
        let good = self.token();
        let [header, claims, signature] = parts(&good);
        self.case("empty", "plan.token_parts", String::new());
        self.case("two parts", "plan.token_parts", format!("{header}.{claims}"));
        self.case("four parts", "plan.token_parts", format!("{good}."));
        self.case("five parts, as in JWE", "plan.token_parts", format!("{good}.{claims}.{signature}"));
        self.case("empty signature", "plan.token_parts", format!("{header}.{claims}."));
        self.case("empty claims", "plan.token_parts", format!("{header}..{signature}"));
        self.case("empty header", "plan.token_parts", format!(".{claims}.{signature}"));
        self.case("padded signature", "plan.token_encoding", format!("{good}=="));
        self.case("new line at the end", "plan.token_encoding", format!("{good}\n"));
        self.case("blank before", "plan.token_encoding", format!(" {good}"));
        self.case("bearer before", "plan.token_encoding", format!("Bearer {good}"));
        self.case("trailing bits in the signature", "plan.token_encoding", trailing_bits(&good));
        self.case("standard base64", "plan.token_encoding", format!("{header}.{claims}.{}", "+/".repeat(43)));
        self.case(
            "oversized by one byte",
            "plan.token_too_large",
            "a".repeat(wire::plan_token::BYTES_MAX + 1),
        );
        let long = format!("{header}.{}.{signature}", "A".repeat(wire::plan_token::BYTES_MAX));
        self.case("oversized claims", "plan.token_too_large", long);
        self.case(
            "JWS in JSON form",
            "plan.token_parts",
            json!({ "payload": claims, "signature": signature, "protected": header }).to_string(),
        );
    }

    fn header_values(&mut self) {
        let kid = self.jwk.kid.as_str().to_owned();
        let without = |member: &str| {
            let mut header = header(&kid);
            header.as_object_mut().unwrap().shift_remove(member);
            header.to_string()
        };
        let with = |member: &str, value: Value| header_with(&kid, member, value);
        let rows = [
            ("alg none, signed", "plan.wrong_algorithm", with("alg", json!("none"))),
            ("alg None", "plan.wrong_algorithm", with("alg", json!("None"))),
            ("alg ES384", "plan.wrong_algorithm", with("alg", json!("ES384"))),
            ("alg RS256", "plan.wrong_algorithm", with("alg", json!("RS256"))),
            ("alg EdDSA", "plan.wrong_algorithm", with("alg", json!("EdDSA"))),
            ("alg in lower case", "plan.wrong_algorithm", with("alg", json!("es256"))),
            ("alg null", "plan.token_header", with("alg", Value::Null)),
            ("alg a list", "plan.token_header", with("alg", json!(["ES256"]))),
            ("no alg", "plan.token_header", without("alg")),
            ("typ JWT", "plan.wrong_type", with("typ", json!("JWT"))),
            ("typ of an access token", "plan.wrong_type", with("typ", json!("at+jwt"))),
            (
                "typ as a full media type",
                "plan.wrong_type",
                with("typ", json!("application/palisade-plan+jwt")),
            ),
            ("no typ", "plan.token_header", without("typ")),
            ("no kid", "plan.token_header", without("kid")),
            ("kid empty", "plan.token_header", with("kid", json!(""))),
            ("kid a URL", "plan.token_header", with("kid", json!("https://evil.example/keys/jwks.json"))),
            ("kid a path", "plan.token_header", with("kid", json!("../../../../../../../../../../dev/null"))),
            (
                "kid a path of a thumbprint's length",
                "plan.token_header",
                with("kid", json!("../".repeat(14) + "x")),
            ),
            ("kid a query", "plan.token_header", with("kid", json!("x' UNION SELECT 'AAAA' --"))),
        ];
        self.with_headers(rows);
        let none =
            format!("{}.{}.", encode(&with("alg", json!("none"))), encode(&claims(&plan()).to_string()));
        self.case("alg none, not signed", "plan.token_parts", none);
    }

    fn header_members(&mut self) {
        let kid = self.jwk.kid.as_str().to_owned();
        let with = |member: &str, value: Value| header_with(&kid, member, value);
        let public = serde_json::to_value(&self.jwk).unwrap();
        let rows = [
            ("crit", "plan.token_header", with("crit", json!(["exp"]))),
            ("crit empty", "plan.token_header", with("crit", json!([]))),
            ("jwk embedded", "plan.token_header", with("jwk", public)),
            ("jku", "plan.token_header", with("jku", json!("https://evil.example/jwks.json"))),
            ("x5u", "plan.token_header", with("x5u", json!("https://evil.example/x.pem"))),
            ("x5c", "plan.token_header", with("x5c", json!(["AAAA"]))),
            ("b64 false", "plan.token_header", with("b64", json!(false))),
            ("zip", "plan.token_header", with("zip", json!("DEF"))),
            ("cty", "plan.token_header", with("cty", json!("JWT"))),
            (
                "alg twice, none first",
                "plan.token_header",
                header(&kid).to_string().replacen('{', "{\"alg\":\"none\",", 1),
            ),
            (
                "alg twice, one escaped",
                "plan.token_header",
                header(&kid).to_string().replacen('{', "{\"\\u0061lg\":\"none\",", 1),
            ),
            (
                "kid twice",
                "plan.token_header",
                header(&kid).to_string().replacen('{', &format!("{{\"kid\":\"{kid}\","), 1),
            ),
            ("header with a byte order mark", "plan.token_header", format!("\u{feff}{}", header(&kid))),
            ("header with something after it", "plan.token_header", format!("{}{{}}", header(&kid))),
            ("header a list", "plan.token_header", json!([header(&kid)]).to_string()),
            ("header not JSON", "plan.token_header", "not json".to_owned()),
        ];
        self.with_headers(rows);
    }

    fn with_headers<const N: usize>(&mut self, rows: [(&'static str, &'static str, String); N]) {
        for (name, expect, header) in rows {
            let token = self.signed(&header, &claims(&plan()).to_string());
            self.case(name, expect, token);
        }
    }

    fn keys(&mut self) {
        let claims = claims(&plan()).to_string();
        let (kid, foreign_kid) = (self.jwk.kid.to_string(), self.foreign.kid.to_string());
        let foreign = sign(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &self.foreign_pkcs8,
            &header(&foreign_kid).to_string(),
            &claims,
        );
        self.case("foreign key under its own id", "plan.unknown_key", foreign);
        let foreign =
            sign(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.foreign_pkcs8, &header(&kid).to_string(), &claims);
        self.case("foreign key under a known id", "plan.bad_signature", foreign);
        let known = self.signed(&header(&foreign_kid).to_string(), &claims);
        self.case("known key under a foreign id", "plan.unknown_key", known);
        let p384 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let other_curve =
            sign(&ECDSA_P384_SHA384_FIXED_SIGNING, p384.as_ref(), &header(&kid).to_string(), &claims);
        self.case("signed on another curve", "plan.signature_length", other_curve);
        // Key confusion: the public key, in the forms that a verifier holds it in, as an HMAC secret.
        let jwk_text = serde_json::to_string(&self.jwk).unwrap();
        let point = [&[4], decode(&self.jwk.x).as_slice(), &decode(&self.jwk.y)].concat();
        let rows = [
            (
                "HS256 with the public JWK as secret",
                "HS256",
                hmac::HMAC_SHA256,
                jwk_text.as_bytes(),
                "plan.wrong_algorithm",
            ),
            (
                "HS256 with the public point as secret",
                "HS256",
                hmac::HMAC_SHA256,
                &point,
                "plan.wrong_algorithm",
            ),
            ("HMAC of 32 bytes called ES256", "ES256", hmac::HMAC_SHA256, &point, "plan.signature_length"),
            ("HMAC of 64 bytes called ES256", "ES256", hmac::HMAC_SHA512, &point, "plan.bad_signature"),
        ];
        for (name, alg, algorithm, secret, expect) in rows {
            let mut header = header(&kid);
            header["alg"] = json!(alg);
            let input = format!("{}.{}", encode(&header.to_string()), encode(&claims));
            let tag = hmac::sign(&hmac::Key::new(algorithm, secret), input.as_bytes());
            self.case(name, expect, format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag)));
        }
    }

    fn signatures(&mut self) {
        let order = hex::decode(GROUP_ORDER).unwrap();
        let zero = vec![0; 32];
        let bad = "plan.bad_signature";
        let flip = |mut half: Vec<u8>| {
            half[31] ^= 1;
            half
        };
        let rows: [(&str, &str, String); 12] = [
            ("one bit of r flipped", bad, self.with_signature(|[r, s]| [flip(r), s].concat())),
            ("one bit of s flipped", bad, self.with_signature(|[r, s]| [r, flip(s)].concat())),
            ("r and s swapped", bad, self.with_signature(|[r, s]| [s, r].concat())),
            ("r zero", bad, self.with_signature(|[_, s]| [zero.clone(), s].concat())),
            ("s zero", bad, self.with_signature(|[r, _]| [r, zero.clone()].concat())),
            ("r and s zero", bad, self.with_signature(|_| vec![0; 64])),
            ("r the group's order", bad, self.with_signature(|[_, s]| [order.clone(), s].concat())),
            ("s the group's order", bad, self.with_signature(|[r, _]| [r, order.clone()].concat())),
            ("r and s all ones", bad, self.with_signature(|_| vec![0xff; 64])),
            (
                "one byte short",
                "plan.signature_length",
                self.with_signature(|[r, s]| [r, s[..31].to_vec()].concat()),
            ),
            (
                "one byte long",
                "plan.signature_length",
                self.with_signature(|[r, s]| [r, s, vec![0]].concat()),
            ),
            ("one byte", "plan.signature_length", self.with_signature(|_| vec![0])),
        ];
        for (name, expect, token) in rows {
            self.case(name, expect, token);
        }
        let kid = self.jwk.kid.to_string();
        let claims_text = claims(&plan()).to_string();
        let der = sign(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.pkcs8, &header(&kid).to_string(), &claims_text);
        self.case("signature in DER", "plan.signature_length", der);
        let mut other = claims(&plan());
        other["jti"] = json!(TENANT);
        let [header_part, claims_part, _] = parts(&self.token()).map(str::to_owned);
        let other = self.signed(&header(&kid).to_string(), &other.to_string());
        let [_, _, signature] = parts(&other);
        self.case("signature of another token", bad, format!("{header_part}.{claims_part}.{signature}"));
        let mut flipped = claims(&plan());
        flipped["exp"] = json!(ISSUED_AT + 301);
        let [_, _, signature] = parts(&self.token()).map(str::to_owned);
        self.case(
            "one byte of the claims changed",
            bad,
            format!("{header_part}.{}.{signature}", encode(&flipped.to_string())),
        );
        let reordered = header(&kid).to_string().replace(",\"kid\"", ", \"kid\"");
        self.case(
            "one byte added to the header",
            bad,
            format!("{}.{claims_part}.{signature}", encode(&reordered)),
        );
    }

    fn claims(&mut self) {
        let kid = self.jwk.kid.to_string();
        let rows: [(&str, &str, Changes<'_>); 20] = [
            ("other issuer", "plan.wrong_issuer", &[("iss", json!("https://evil.example"))]),
            ("issuer with a slash", "plan.wrong_issuer", &[("iss", json!("https://localhost:8443/"))]),
            ("issuer in capitals", "plan.wrong_issuer", &[("iss", json!("HTTPS://LOCALHOST:8443"))]),
            ("issuer empty", "plan.wrong_issuer", &[("iss", json!(""))]),
            ("other tenant", "plan.wrong_subject", &[("sub", json!(OTHER_TENANT))]),
            (
                "other audience",
                "plan.wrong_audience",
                &[("aud", json!(AUDIENCE.replace(TENANT, OTHER_TENANT)))],
            ),
            (
                "audience of another trust domain",
                "plan.wrong_audience",
                &[("aud", json!(AUDIENCE.replace("internal", "example")))],
            ),
            (
                "audience of the control plane",
                "plan.wrong_audience",
                &[("aud", json!("spiffe://palisade.internal/control-plane"))],
            ),
            ("lives for a second less", "plan.wrong_lifetime", &[("exp", json!(ISSUED_AT + 299))]),
            ("lives for a second more", "plan.wrong_lifetime", &[("exp", json!(ISSUED_AT + 301))]),
            ("lives for a year", "plan.wrong_lifetime", &[("exp", json!(ISSUED_AT + 31_536_000))]),
            ("ends before it begins", "plan.wrong_lifetime", &[("exp", json!(ISSUED_AT - 300))]),
            ("valid before it was issued", "plan.wrong_lifetime", &[("nbf", json!(ISSUED_AT - 1))]),
            ("valid after it was issued", "plan.wrong_lifetime", &[("nbf", json!(ISSUED_AT + 1))]),
            (
                "issued at the end of time",
                "plan.wrong_lifetime",
                &[("iat", json!(i64::MAX)), ("nbf", json!(i64::MAX)), ("exp", json!(i64::MIN + 299))],
            ),
            (
                "issued before the epoch",
                "plan.wrong_lifetime",
                &[("iat", json!(-300)), ("nbf", json!(-300)), ("exp", json!(0))],
            ),
            (
                "issued in milliseconds",
                "plan.wrong_lifetime",
                &[
                    ("iat", json!(ISSUED_AT * 1_000)),
                    ("nbf", json!(ISSUED_AT * 1_000)),
                    ("exp", json!(ISSUED_AT * 1_000 + 300_000)),
                ],
            ),
            ("other plan hash", "plan.hash_mismatch", &[("plan_hash", json!("0".repeat(64)))]),
            ("plan length one more", "plan.length_mismatch", &[("plan_len", json!(plan().len() + 1))]),
            ("plan length zero", "plan.length_mismatch", &[("plan_len", json!(0))]),
        ];
        for (name, expect, changes) in rows {
            let mut claims = claims(&plan());
            for (claim, value) in changes {
                claims[claim] = value.clone();
            }
            let token = self.signed(&header(&kid).to_string(), &claims.to_string());
            self.case(name, expect, token);
        }
    }

    fn claim_types(&mut self) {
        let kid = self.jwk.kid.to_string();
        let good = claims(&plan());
        let with = |claim: &str, value: Value| {
            let mut claims = good.clone();
            claims[claim] = value;
            claims.to_string()
        };
        let before = |member: &str| good.to_string().replacen('{', &format!("{{{member},"), 1);
        let mut rows = vec![
            ("audience a list", with("aud", json!([AUDIENCE]))),
            ("tenant in capitals", with("sub", json!(TENANT.to_uppercase()))),
            ("tenant a name", with("sub", json!("demo"))),
            ("plan id not an id", with("jti", json!("1"))),
            ("expiry a text", with("exp", json!((ISSUED_AT + 300).to_string()))),
            ("expiry with a fraction", with("exp", json!(1_795_507_500.5))),
            ("expiry null", with("exp", Value::Null)),
            ("expiry beyond 64 bits", good.to_string().replace("1795507500", "18446744073709551616")),
            (
                "hash in capitals",
                with("plan_hash", json!(Digest::sha256(&plan()).to_string().to_uppercase())),
            ),
            ("hash cut off", with("plan_hash", json!("00"))),
            ("plan length negative", with("plan_len", json!(-1))),
            ("a claim more", with("admin", json!(true))),
            ("a claim that nests", with("admin", json!({ "a": { "b": { "c": [] } } }))),
            ("tenant twice", before(&format!("\"sub\":\"{OTHER_TENANT}\""))),
            ("tenant twice, one escaped", before(&format!("\"\\u0073ub\":\"{OTHER_TENANT}\""))),
            ("expiry twice", before("\"exp\":9999999999")),
            ("claims a list", json!([good]).to_string()),
            ("claims a text", json!(good.to_string()).to_string()),
            ("claims null", "null".to_owned()),
            ("claims not JSON", "not json".to_owned()),
            ("something after the claims", format!("{good} x")),
        ];
        let missing = [
            ("iss", "no issuer"),
            ("sub", "no tenant"),
            ("aud", "no audience"),
            ("iat", "no time of issue"),
            ("nbf", "no start"),
            ("exp", "no expiry"),
            ("jti", "no plan id"),
            ("plan_hash", "no hash"),
            ("plan_len", "no length"),
        ];
        for (claim, name) in missing {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().shift_remove(claim);
            rows.push((name, claims.to_string()));
        }
        for (name, claims) in rows {
            let token = self.signed(&header(&kid).to_string(), &claims);
            self.case(name, "plan.token_claims", token);
        }
    }

    fn other_plans(&mut self) {
        let good = plan();
        let token = self.token();
        let mut beside = |name, expect, plan: Vec<u8>| {
            self.cases.push(Case { name, token: token.clone(), plan, expect });
        };
        let flipped = String::from_utf8(good.clone()).unwrap().replace("orders", "orderz").into_bytes();
        beside("one byte of the plan changed", "plan.hash_mismatch", flipped);
        beside("one byte after the plan", "plan.length_mismatch", [good.as_slice(), b" "].concat());
        beside("plan cut off", "plan.length_mismatch", good[..good.len() - 1].to_vec());
        beside("no plan", "plan.length_mismatch", Vec::new());
    }

    fn signed_plans(&mut self) {
        let kid = self.jwk.kid.to_string();
        let good = plan();
        let with = |member: &str, value: Value| {
            let mut plan: Value = serde_json::from_slice(&good).unwrap();
            plan[member] = value;
            plan.to_string().into_bytes()
        };
        let not_utf8 = good.iter().map(|b| if *b == b'o' { 0xff } else { *b }).collect();
        let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
        let text = String::from_utf8(good.clone()).unwrap();
        let rows = [
            ("plan of another id", "plan.disagrees", with("plan_id", json!(TENANT))),
            ("plan of another tenant", "plan.disagrees", with("tenant_id", json!(OTHER_TENANT))),
            ("plan of another issuer", "plan.disagrees", with("issuer", json!("https://evil.example"))),
            (
                "plan issued a second later",
                "plan.disagrees",
                with("issued_at", json!("2026-11-24T08:00:01Z")),
            ),
            (
                "plan issued within the second",
                "plan.disagrees",
                with("issued_at", json!("2026-11-24T08:00:00.5Z")),
            ),
            ("plan of another version", "plan.malformed", with("v", json!(2))),
            ("plan with a member more", "plan.malformed", with("debug", json!(true))),
            (
                "plan with too many hosts",
                "plan.malformed",
                with("egress", json!(vec!["api.example.com"; 65])),
            ),
            ("plan with an address as host", "plan.malformed", with("egress", json!(["169.254.169.254"]))),
            (
                "plan with a limit below zero",
                "plan.malformed",
                with(
                    "limits",
                    json!({ "wall_time_ms": -1, "steps": 1, "memory_bytes": 1, "output_bytes": 1, "http_calls": 0 }),
                ),
            ),
            (
                "plan nested too deeply",
                "plan.malformed",
                text.replace("\"input\":null", &format!("\"input\":{deep}")).into_bytes(),
            ),
            (
                "plan with a name twice",
                "plan.malformed",
                text.replace("\"input\":null", "\"input\":{\"a\":1,\"a\":2}").into_bytes(),
            ),
            (
                "plan with a member twice",
                "plan.malformed",
                text.replace("\"v\":1", "\"v\":1,\"v\":1").into_bytes(),
            ),
            ("signed, but not JSON", "plan.malformed", b"not json".to_vec()),
            ("signed, but not UTF-8", "plan.malformed", not_utf8),
            ("signed, but empty", "plan.malformed", Vec::new()),
        ];
        for (name, expect, plan) in rows {
            let token = self.signed(&header(&kid).to_string(), &claims(&plan).to_string());
            self.cases.push(Case { name, token, plan, expect });
        }
    }

    fn case(&mut self, name: &'static str, expect: &'static str, token: String) {
        self.cases.push(Case { name, token, plan: plan(), expect });
    }

    fn token(&self) -> String {
        self.signed(&header(self.jwk.kid.as_str()).to_string(), &claims(&plan()).to_string())
    }

    fn signed(&self, header: &str, claims: &str) -> String {
        sign(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8, header, claims)
    }

    /// A good token with its signature changed; `change` gets r and s.
    fn with_signature(&self, change: impl FnOnce([Vec<u8>; 2]) -> Vec<u8>) -> String {
        let token = self.token();
        let [header, claims, signature] = parts(&token);
        let signature = decode(signature);
        let changed = change([signature[..32].to_vec(), signature[32..].to_vec()]);
        format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(changed))
    }
}

pub(crate) fn plan() -> Vec<u8> {
    let plan = json!({
        "v": 1,
        "plan_id": PLAN_ID,
        "execution_id": "0190a000-0000-7000-8000-0000000000bb",
        "tenant_id": TENANT,
        "issuer": ISSUER,
        "workflow": { "id": "0190a000-0000-7000-8000-0000000000cc", "name": "orders", "version": 1 },
        "issued_at": terms::Timestamp::from_unix_s(ISSUED_AT),
        "limits": { "wall_time_ms": 60_000, "steps": 1_000, "memory_bytes": 1_048_576, "output_bytes": 65_536, "http_calls": 0 },
        "egress": [],
        "document": { "document": { "dsl": "1.0.1" }, "do": [] },
        "input": null,
    });
    plan.to_string().into_bytes()
}

fn header(kid: &str) -> Value {
    json!({ "alg": "ES256", "typ": "palisade-plan+jwt", "kid": kid })
}

fn header_with(kid: &str, member: &str, value: Value) -> String {
    let mut header = header(kid);
    header[member] = value;
    header.to_string()
}

fn claims(plan: &[u8]) -> Value {
    json!({
        "iss": ISSUER,
        "sub": TENANT,
        "aud": AUDIENCE,
        "iat": ISSUED_AT,
        "nbf": ISSUED_AT,
        "exp": ISSUED_AT + 300,
        "jti": PLAN_ID,
        "plan_hash": Digest::sha256(plan).to_string(),
        "plan_len": plan.len(),
    })
}

fn sign(algorithm: &'static EcdsaSigningAlgorithm, pkcs8: &[u8], header: &str, claims: &str) -> String {
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).unwrap();
    let input = format!("{}.{}", encode(header), encode(claims));
    let signature = pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The same 64 bytes by a lenient decoder: 86 characters hold 516 bits, and the last four must be zero.
fn trailing_bits(token: &str) -> String {
    let (rest, last) = token.split_at(token.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.find(last).unwrap();
    format!("{rest}{}", &alphabet[value + 1..value + 2])
}

/// `a - b` in 32 bytes, big-endian, for `a >= b`.
pub(crate) fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = vec![0; a.len()];
    let mut borrow = 0;
    for at in (0..a.len()).rev() {
        let difference = i16::from(a[at]) - i16::from(b[at]) - borrow;
        borrow = i16::from(difference < 0);
        out[at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    out
}

/// The cases as they are kept: a list of name, token, plan and what must come of them.
pub(crate) fn to_json(cases: &[Case]) -> Value {
    let case = |case: &Case| {
        json!({
            "name": case.name,
            "token": case.token,
            "plan_base64": STANDARD.encode(&case.plan),
            "expect": case.expect,
        })
    };
    cases.iter().map(case).collect()
}
