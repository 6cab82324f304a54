//! The vault from outside: what opens, and everything that must not.
#![cfg(test)]

use proptest::prelude::*;
use terms::{KeyBytes, TenantId};
use vault::{Context, DataKey, Keystore, OVERHEAD, OpenError, Owner, Purpose, RootKey, WrappedKey};

const NONCE: [u8; 12] = [7; 12];

#[test]
fn a_value_opens_in_its_place() {
    let key = data_key(tenant(1), Purpose::Column);
    for plaintext in [b"".as_slice(), b"x", &[0; 5_000]] {
        let sealed = key.seal(&place(), NONCE, plaintext);
        assert_eq!(sealed.len(), plaintext.len() + OVERHEAD);
        assert_eq!(key.open(&place(), &sealed).unwrap().as_slice(), plaintext);
    }
}

#[test]
fn sealed_bytes_and_wrapped_keys_are_the_vectors() {
    let keystore = Keystore::new(RootKey::new(KeyBytes::new([1; 32])));
    let wrapped = keystore.wrap_new(tenant(1), Purpose::Column, 3, [2; 32], NONCE);
    let key = keystore.unwrap(tenant(1), Purpose::Column, 3, &wrapped).unwrap();
    let lines = [
        ("root-check", hex::encode(keystore.root_check())),
        ("wrapped-key", hex::encode(wrapped.as_bytes())),
        ("sealed-empty", hex::encode(key.seal(&place(), NONCE, b""))),
        ("sealed-hello", hex::encode(key.seal(&place(), NONCE, b"hello"))),
        ("blind-index", hex::encode(key.blind_index(&place(), b"hello"))),
        ("subkey", hex::encode(key.subkey("database").expose())),
    ];
    let text: String = lines.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
    assert_eq!(text, include_str!("vectors.txt"));
}

#[test]
fn every_flipped_bit_of_a_sealed_value_is_refused() {
    let key = data_key(tenant(1), Purpose::Column);
    let sealed = key.seal(&place(), NONCE, b"forty-two bytes of text, more or less, ok.");
    for bit in 0..sealed.len() * 8 {
        let mut bad = sealed.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(key.open(&place(), &bad).is_err(), "bit {bit}");
    }
}

#[test]
fn every_flipped_bit_of_a_wrapped_key_is_refused() {
    let keystore = keystore();
    let wrapped = keystore.wrap_new(tenant(1), Purpose::Journal, 1, [9; 32], NONCE);
    for bit in 0..WrappedKey::LENGTH * 8 {
        let mut bad = *wrapped.as_bytes();
        bad[bit / 8] ^= 1 << (bit % 8);
        let bad = WrappedKey::try_from(bad.as_slice()).unwrap();
        assert!(keystore.unwrap(tenant(1), Purpose::Journal, 1, &bad).is_err(), "bit {bit}");
    }
}

#[test]
fn a_value_that_moved_does_not_open() {
    let key = data_key(tenant(1), Purpose::Column);
    let sealed = key.seal(&place(), NONCE, b"secret");
    let elsewhere = [
        Context { owner: tenant(2), ..place() },
        Context { owner: Owner::Platform, ..place() },
        Context { kind: "workflows", ..place() },
        Context { column: "output", ..place() },
        Context { row: b"row-2", ..place() },
        Context { row: b"", ..place() },
    ];
    for context in elsewhere {
        assert_eq!(key.open(&context, &sealed).unwrap_err(), OpenError::Refused, "{context:?}");
    }
}

#[test]
fn a_value_does_not_open_under_another_key() {
    let sealed = data_key(tenant(1), Purpose::Column).seal(&place(), NONCE, b"secret");
    let keystore = keystore();
    let wrapped = keystore.wrap_new(tenant(1), Purpose::Column, 1, [4; 32], NONCE);
    let other = keystore.unwrap(tenant(1), Purpose::Column, 1, &wrapped).unwrap();
    assert_eq!(other.open(&place(), &sealed).unwrap_err(), OpenError::Refused);
}

#[test]
fn a_wrapped_key_is_nobody_elses_and_nothing_elses() {
    let keystore = keystore();
    let wrapped = keystore.wrap_new(tenant(1), Purpose::Journal, 1, [9; 32], NONCE);
    let refused = |owner, purpose, version| keystore.unwrap(owner, purpose, version, &wrapped).unwrap_err();
    assert!(keystore.unwrap(tenant(1), Purpose::Journal, 1, &wrapped).is_ok());
    assert_eq!(refused(tenant(2), Purpose::Journal, 1), OpenError::Refused);
    assert_eq!(refused(Owner::Platform, Purpose::Journal, 1), OpenError::Refused);
    assert_eq!(refused(tenant(1), Purpose::Output, 1), OpenError::Refused);
    assert_eq!(refused(tenant(1), Purpose::Journal, 2), OpenError::KeyVersion { sealed: 1, held: 2 });
    let other_root = Keystore::new(RootKey::new(KeyBytes::new([6; 32])));
    let under_other = other_root.unwrap(tenant(1), Purpose::Journal, 1, &wrapped);
    assert_eq!(under_other.unwrap_err(), OpenError::Refused);
    assert_ne!(other_root.root_check(), keystore.root_check());
}

#[test]
fn a_header_that_is_not_ours_has_its_own_reason() {
    let key = data_key(tenant(1), Purpose::Column);
    let sealed = key.seal(&place(), NONCE, b"secret");
    let with = |at: usize, byte: u8| {
        let mut bad = sealed.clone();
        bad[at] = byte;
        key.open(&place(), &bad).unwrap_err()
    };
    assert_eq!(with(0, b'X'), OpenError::NotSealed);
    assert_eq!(with(1, b'K'), OpenError::NotSealed);
    assert_eq!(with(2, 2), OpenError::Format(2));
    assert_eq!(with(3, 0), OpenError::Algorithm(0));
    assert_eq!(with(3, 2), OpenError::Algorithm(2));
    assert_eq!(with(7, 9), OpenError::KeyVersion { sealed: 9, held: 1 });
    assert_eq!(vault::key_version(&sealed), Ok(1));
    assert_eq!(vault::key_version(&sealed[..7]), Err(OpenError::Truncated));
}

#[test]
fn bytes_cut_short_anywhere_do_not_open() {
    let key = data_key(tenant(1), Purpose::Column);
    let sealed = key.seal(&place(), NONCE, b"secret");
    for length in 0..sealed.len() {
        let expected = if length < OVERHEAD { OpenError::Truncated } else { OpenError::Refused };
        assert_eq!(key.open(&place(), &sealed[..length]).unwrap_err(), expected, "{length}");
    }
    assert!(WrappedKey::try_from(&sealed[..]).is_err());
}

#[test]
fn a_blind_index_is_equal_for_equal_values_of_one_column_only() {
    let key = data_key(tenant(1), Purpose::Index);
    let index = key.blind_index(&place(), b"a@example.com");
    assert_eq!(key.blind_index(&Context { row: b"row-2", ..place() }, b"a@example.com"), index);
    assert_ne!(key.blind_index(&place(), b"b@example.com"), index);
    assert_ne!(key.blind_index(&Context { column: "output", ..place() }, b"a@example.com"), index);
    assert_ne!(key.blind_index(&Context { owner: tenant(2), ..place() }, b"a@example.com"), index);
    assert_ne!(data_key(tenant(1), Purpose::Column).blind_index(&place(), b"a@example.com"), index);
}

#[test]
fn keys_never_show_in_debug() {
    let key = data_key(tenant(1), Purpose::Index);
    let root = RootKey::new(KeyBytes::new([5; 32]));
    let shown = format!("{key:?} {root:?} {:?}", keystore());
    assert_eq!(shown, "DataKey(version 1, redacted) RootKey(KeyBytes(redacted)) Keystore(redacted)");
}

proptest! {
    #[test]
    fn any_bytes_that_were_not_sealed_do_not_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(data_key(tenant(1), Purpose::Column).open(&place(), &bytes).is_err());
    }

    #[test]
    fn any_value_opens_in_its_place(value in proptest::collection::vec(any::<u8>(), 0..2_000), nonce: [u8; 12]) {
        let key = data_key(tenant(1), Purpose::Column);
        let sealed = key.seal(&place(), nonce, &value);
        let opened = key.open(&place(), &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), value.as_slice());
    }
}

fn tenant(n: u8) -> Owner {
    Owner::Tenant(TenantId::from_bytes([n; 16]))
}

fn place() -> Context<'static> {
    Context { owner: tenant(1), kind: "executions", column: "input", row: b"row-1" }
}

fn keystore() -> Keystore {
    Keystore::new(RootKey::new(KeyBytes::new([5; 32])))
}

fn data_key(owner: Owner, purpose: Purpose) -> DataKey {
    let entropy = [purpose as u8; 32];
    let keystore = keystore();
    let wrapped = keystore.wrap_new(owner, purpose, 1, entropy, NONCE);
    keystore.unwrap(owner, purpose, 1, &wrapped).unwrap()
}
