//! Signed notes: the specification's own example, and what is not it.

use notary::{KeyError, NoteError, NoteKey, NoteRefusal, NoteSigner, verify_note};
use terms::Unverified;
use wire::checkpoint::Note;

/// The verifier key and note of Go's `golang.org/x/mod/sumdb/note`, where the format comes from.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
const SIGNATURE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

#[test]
fn the_note_of_the_formats_first_implementation_verifies() {
    let key = NoteKey::parse(KEY).unwrap();
    assert_eq!((key.name(), key.to_string()), ("PeterNeumann", KEY.to_owned()));
    assert_eq!(verify(&key, &format!("{TEXT}\n{SIGNATURE}")).unwrap(), TEXT);
}

#[test]
fn a_changed_text_or_signature_is_refused() {
    let key = NoteKey::parse(KEY).unwrap();
    let rows = [
        format!("{}\n{SIGNATURE}", TEXT.replace("problem,", "problem;")),
        format!("{TEXT}\n\n{SIGNATURE}"),
        format!("{TEXT}\n{}", SIGNATURE.replace("wJnAM=", "wJnAA=")),
        format!("{TEXT}\n{}", SIGNATURE.replace("nAM=", "")),
        format!("{TEXT}\n{SIGNATURE}{}", SIGNATURE.replace("wJnAM=", "wJnAA=")),
    ];
    for row in rows {
        assert_eq!(verify(&key, &row), Err(NoteRefusal::BadSignature), "{row}");
    }
}

#[test]
fn signatures_of_other_keys_count_for_nothing() {
    let key = NoteKey::parse(KEY).unwrap();
    let (other, _) = NoteSigner::generate("PeterNeumann").unwrap();
    let foreign = other.sign(TEXT).unwrap();
    assert_eq!(verify_note(&key, Unverified::new(foreign.clone())).err(), Some(NoteRefusal::Unsigned));
    let mut both = Note::read(&format!("{TEXT}\n{SIGNATURE}")).unwrap();
    both.signatures.extend(foreign.signatures);
    assert!(verify_note(&key, Unverified::new(both)).is_ok());
    let renamed = SIGNATURE.replace("PeterNeumann", "SomeoneElse");
    assert_eq!(verify(&key, &format!("{TEXT}\n{renamed}")), Err(NoteRefusal::Unsigned));
}

#[test]
fn a_kept_signer_signs_as_itself() {
    let (signer, pkcs8) = NoteSigner::generate("palisade.internal/audit").unwrap();
    let kept = NoteSigner::from_pkcs8("palisade.internal/audit", &pkcs8).unwrap();
    assert_eq!(kept.verifier_key(), signer.verifier_key());
    let key = NoteKey::parse(&signer.verifier_key()).unwrap();
    let note = kept.sign("palisade.internal/audit\n0\n\u{e9}\n").unwrap();
    assert_eq!(verify(&key, &note.to_text()).unwrap(), note.text);
}

#[test]
fn names_and_texts_that_no_note_can_hold_are_refused() {
    for name in ["", "a b", "a+b", "a\nb", "a\u{a0}b"] {
        assert!(matches!(NoteSigner::generate(name), Err(NoteError::Name(_))), "{name:?}");
    }
    let (signer, _) = NoteSigner::generate("n").unwrap();
    for text in ["", "no newline", "a\rb\n", "a\0b\n", "tab\t\n"] {
        assert_eq!(signer.sign(text).err(), Some(NoteError::Text), "{text:?}");
    }
}

#[test]
fn verifier_keys_that_are_not_exactly_that_are_refused() {
    for bad in [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
        "PeterNeumann+c74f20a3+BBpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+AQ==",
    ] {
        assert_eq!(NoteKey::parse(bad).err(), Some(NoteError::VerifierKey), "{bad}");
    }
    // SHA-256("n" LF 0x01 and 32 zero bytes), with the key of small order that those are.
    let zeros = format!("n+{}+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", {
        let digest = terms::Digest::sha256_parts(&[b"n\n\x01", &[0; 32]]);
        digest.to_string()[..8].to_owned()
    });
    assert_eq!(NoteKey::parse(&zeros).err(), Some(NoteError::Key(KeyError::Point)));
}

fn verify(key: &NoteKey, note: &str) -> Result<String, NoteRefusal> {
    verify_note(key, Unverified::new(Note::read(note).unwrap())).map(terms::Verified::into_inner)
}
