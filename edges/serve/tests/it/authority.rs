//! What the internal authority signs, and what it does not.

use crate::site::{HOUR_MS, Site, data_plane, domain, now, spiffe};
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serve::ca::{Authority, BACKDATED_MS, CaError, KeyPem, Subject, Use, new_key_and_csr};
use serve::tls::Identity;
use serve::{leaf_not_after, peer_spiffe};
use std::collections::BTreeSet;
use terms::{SpiffeId, Timestamp, Workload};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

#[test]
fn a_request_is_answered_with_a_certificate_for_its_key_and_our_name() {
    let (key, csr) = new_key_and_csr().unwrap();
    let spiffe = id();
    let subject = subject(&spiffe);
    let issued = Site::new().authority.issue_from_csr(&csr, &subject).unwrap();
    let identity = Identity::from_pem(&issued.chain_pem, key.expose()).unwrap();
    let leaf = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
    assert_eq!(peer_spiffe(&leaf).unwrap(), id());
    assert_eq!(leaf_not_after(&leaf), Some(issued.not_after));
    assert_eq!(identity.not_after(), Some(issued.not_after));
    let second = |at: Timestamp| Timestamp::from_unix_s(at.unix_s());
    assert_eq!(issued.not_before, second(subject.now.plus_ms(-BACKDATED_MS)));
    assert_eq!(issued.not_after, second(subject.now.plus_ms(HOUR_MS)));
}

#[test]
fn names_and_powers_that_a_request_asks_for_are_ignored() {
    let key = KeyPair::generate().unwrap();
    let mut wish = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    let uri = spiffe(Workload::ControlPlane).to_string();
    wish.subject_alt_names.push(SanType::URI(uri.as_str().try_into().unwrap()));
    wish.distinguished_name.push(DnType::CommonName, "evil");
    wish.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = wish.serialize_request(&key).unwrap().pem().unwrap();
    let issued = Site::new().authority.issue_from_csr(&csr, &subject(&id())).unwrap();
    let leaf = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
    assert_eq!(peer_spiffe(&leaf).unwrap(), id());
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    assert!(!parsed.is_ca());
    assert!(!leaf.windows(4).any(|bytes| bytes == b"evil"));
}

#[test]
fn a_request_that_is_not_signed_by_its_key_is_refused() {
    let authority = Site::new().authority;
    let (_, csr) = new_key_and_csr().unwrap();
    let der = x509_parser::pem::parse_x509_pem(csr.as_bytes()).unwrap().1.contents;
    let (_, parsed) = X509CertificationRequest::from_der(&der).unwrap();
    let signed = parsed.certification_request_info.raw;
    let from = der.windows(signed.len()).position(|part| part == signed).unwrap();
    for at in from..from + signed.len() {
        let mut flipped = der.clone();
        flipped[at] ^= 1;
        assert!(authority.issue_from_csr(&as_csr(&flipped), &subject(&id())).is_err(), "byte {at}");
    }
}

#[test]
fn requests_of_another_kind_are_refused() {
    let authority = Site::new().authority;
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let foreign = [ed25519, p384]
        .map(|key| CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap());
    let large = format!("{}{}", foreign[0], " ".repeat(20_000));
    let certificate = authority.certificate_pem().to_owned();
    for bad in [foreign[0].clone(), foreign[1].clone(), large, certificate, String::new(), "x".to_owned()] {
        let answer = authority.issue_from_csr(&bad, &subject(&id()));
        assert!(matches!(answer, Err(CaError::Request(_))), "{answer:?}");
    }
}

#[test]
fn no_certificate_outlives_its_authority() {
    let authority = Authority::create(now(), &domain(), HOUR_MS).unwrap();
    let spiffe = id();
    let long = Subject { lifetime_ms: 1_000 * HOUR_MS, ..subject(&spiffe) };
    let (issued, _) = authority.issue_with_key(&long).unwrap();
    assert_eq!(issued.not_after, authority.not_after());
    let late = Subject { now: now().plus_ms(2 * HOUR_MS), ..subject(&spiffe) };
    assert!(matches!(authority.issue_with_key(&late), Err(CaError::Expired(_))));
}

#[test]
fn an_authority_reads_back_and_a_wrong_pair_does_not() {
    let (one, two) = (Site::new().authority, Site::new().authority);
    let again = Authority::load(one.certificate_pem(), one.key_pem()).unwrap();
    let (_, csr) = new_key_and_csr().unwrap();
    again.issue_from_csr(&csr, &subject(&id())).unwrap();
    assert!(matches!(Authority::load(one.certificate_pem(), two.key_pem()), Err(CaError::Authority(_))));
    let (leaf, key) = one.issue_with_key(&subject(&id())).unwrap();
    assert!(matches!(Authority::load(&leaf.chain_pem, &key), Err(CaError::Authority(_))));
    assert!(matches!(Authority::load("", &key), Err(CaError::Authority(_))));
    assert!(Authority::load(one.certificate_pem(), &KeyPem::new(String::new())).is_err());
    assert_eq!(format!("{:?}", one.key_pem()), "KeyPem(redacted)");
    assert!(!format!("{one:?}").contains("PRIVATE"));
}

#[test]
fn names_that_do_not_belong_in_a_certificate_are_refused() {
    let authority = Site::new().authority;
    for bad in ["", "a b", "*.example.com", "ä.example", "a..b", "A.example", &"a.".repeat(200)] {
        let names = [bad.to_owned()];
        let spiffe = id();
        let subject = Subject { dns_names: &names, ..subject(&spiffe) };
        assert!(matches!(authority.issue_with_key(&subject), Err(CaError::Name(_))), "{bad}");
    }
    let many = vec!["a.example".to_owned(); 33];
    let spiffe = id();
    let subject = Subject { dns_names: &many, ..subject(&spiffe) };
    assert!(matches!(authority.issue_with_key(&subject), Err(CaError::Names(33))));
}

#[test]
fn a_date_that_certificates_cannot_say_is_refused() {
    let endless = Authority::create(Timestamp::from_unix_ms(i64::MAX), &domain(), 1);
    assert!(matches!(endless, Err(CaError::Date(_))), "{endless:?}");
}

#[test]
fn serial_numbers_are_long_positive_and_never_twice() {
    let authority = Site::new().authority;
    let spiffe = id();
    let serials: BTreeSet<_> =
        (0..50).map(|_| authority.issue_with_key(&subject(&spiffe)).unwrap().0.serial).collect();
    assert_eq!(serials.len(), 50);
    assert!(serials.iter().all(|serial| (0x40..0x80).contains(&serial[0])));
}

#[test]
fn a_certificate_with_no_several_or_foreign_uris_names_nobody() {
    let ours = id().to_string();
    let nobodies: [&[&str]; 4] =
        [&[], &[&ours, &ours], &["https://palisade.internal/"], &["spiffe://palisade.internal/x"]];
    for uris in nobodies {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(matches!(peer_spiffe(certificate.der()), Err(CaError::Unidentified)), "{uris:?}");
    }
}

proptest! {
    #[test]
    fn bytes_that_are_no_certificate_name_nobody(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let der = CertificateDer::from(bytes);
        prop_assert!(peer_spiffe(&der).is_err());
        prop_assert_eq!(leaf_not_after(&der), None);
    }
}

fn id() -> SpiffeId {
    spiffe(data_plane())
}

fn subject(spiffe: &SpiffeId) -> Subject<'_> {
    Subject { spiffe, dns_names: &[], ips: &[], usage: Use::Both, now: now(), lifetime_ms: HOUR_MS }
}

fn as_csr(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
}
