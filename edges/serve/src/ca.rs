//! The internal certificate authority: short-lived certificates that say which workload holds a key.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use terms::{SpiffeId, Timestamp, TrustDomain};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// How far before its issue a certificate is valid already, for peers whose clock is behind.
pub const BACKDATED_MS: i64 = 60_000;

/// The most DNS names and addresses in one certificate; a server has a handful.
const MAX_NAMES: usize = 32;

/// The largest certificate request: a P-256 one is below 1 kB, the rest is room for its ignored names.
const MAX_CSR_BYTES: usize = 16 * 1024;

/// Says why a certificate was not made or read.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The authority's own certificate or key cannot be used.
    #[error("the certificate authority cannot be used: {0}")]
    Authority(String),
    /// The request is not one, is too large, or its signature is not by its key.
    #[error("the certificate request is refused: {0}")]
    Request(String),
    /// A name does not belong in a certificate.
    #[error("`{0}` cannot be in a certificate")]
    Name(String),
    /// There are too many names.
    #[error("{0} names are too many for one certificate, {MAX_NAMES} are allowed")]
    Names(usize),
    /// A point in time is outside what certificates can say.
    #[error("`{0}` is no date for a certificate")]
    Date(Timestamp),
    /// The authority's certificate has expired.
    #[error("the certificate authority expired at {0}")]
    Expired(Timestamp),
    /// A certificate does not carry exactly one SPIFFE id of ours.
    #[error("the certificate carries no SPIFFE id, several, or a foreign one")]
    Unidentified,
    /// The library refused to make it.
    #[error("the certificate cannot be made: {0}")]
    Making(String),
}

/// A private key in PEM (PKCS #8); wiped when dropped, never printed.
#[derive(Clone)]
pub struct KeyPem(Zeroizing<String>);

impl KeyPem {
    /// Wraps a key that was read from its 0600 file.
    #[must_use]
    pub fn new(pem: String) -> Self {
        Self(Zeroizing::new(pem))
    }

    /// The text, for its 0600 file and for [`crate::tls::Identity`].
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl core::fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyPem(redacted)")
    }
}

/// What a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To call others.
    Client,
    /// To be called.
    Server,
    /// Both.
    Both,
}

/// Whom a certificate names, what for, and how long.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The workload.
    pub spiffe: &'a SpiffeId,
    /// DNS names by which it is called.
    pub dns_names: &'a [String],
    /// Addresses by which it is called.
    pub ips: &'a [IpAddr],
    /// What it may be used for.
    pub usage: Use,
    /// From when: [`BACKDATED_MS`] before this.
    pub now: Timestamp,
    /// How long from now in milliseconds; never longer than the authority.
    pub lifetime_ms: i64,
}

/// An issued certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate and those that lead to the root, PEM, leaf first.
    pub chain_pem: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// Its serial number.
    pub serial: [u8; 16],
}

/// The authority: a self-signed root (ECDSA P-256) that signs workloads' certificates directly.
pub struct Authority {
    certificate_pem: String,
    key_pem: KeyPem,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

impl core::fmt::Debug for Authority {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority for `domain` with a new key, valid for `lifetime_ms` from `now`.
    ///
    /// # Errors
    /// When there is no entropy, or the dates are outside what certificates can say.
    pub fn create(now: Timestamp, domain: &TrustDomain, lifetime_ms: i64) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(making)?;
        let key_pem = KeyPem::new(key.serialize_pem());
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(&format!("Palisade internal CA for {domain}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        params.not_before = date(now.plus_ms(-BACKDATED_MS))?;
        params.not_after = date(now.plus_ms(lifetime_ms))?;
        let certificate = params.self_signed(&key).map_err(making)?;
        Self::load(&certificate.pem(), &key_pem)
    }

    /// Loads an authority from its certificate and key.
    ///
    /// # Errors
    /// When either cannot be read, the certificate is not an authority's, or the key is not its key.
    pub fn load(certificate_pem: &str, key_pem: &KeyPem) -> Result<Self, CaError> {
        let refused = |why: String| CaError::Authority(why);
        let key = KeyPair::from_pem(key_pem.expose()).map_err(|error| refused(error.to_string()))?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes())
            .map_err(|error| refused(error.to_string()))?;
        let parsed = pem.parse_x509().map_err(|error| refused(error.to_string()))?;
        if !parsed.is_ca() {
            return Err(refused("it may not sign certificates".to_owned()));
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(refused("its key does not belong to its certificate".to_owned()));
        }
        let not_after = Timestamp::from_unix_s(parsed.validity().not_after.timestamp());
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(|e| refused(e.to_string()))?;
        Ok(Self { certificate_pem: certificate_pem.to_owned(), key_pem: key_pem.clone(), not_after, issuer })
    }

    /// The root certificate, for [`crate::tls::Roots::from_pem`].
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's key, for its 0600 file.
    #[must_use]
    pub const fn key_pem(&self) -> &KeyPem {
        &self.key_pem
    }

    /// Until when the authority is valid.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Issues a certificate for the key in the request `csr_pem`. Only the key is taken from it: the names
    /// that it asks for are ignored, `subject` alone says who holds the key.
    ///
    /// # Errors
    /// When the request is malformed or not signed by its own key, or `subject` cannot be in a certificate.
    pub fn issue_from_csr(&self, csr_pem: &str, subject: &Subject<'_>) -> Result<Certificate, CaError> {
        if csr_pem.len() > MAX_CSR_BYTES {
            return Err(CaError::Request(format!("it is larger than {MAX_CSR_BYTES} bytes")));
        }
        // Parsing checks the signature, which proves that the requester holds the key.
        let request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|error| CaError::Request(error.to_string()))?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(CaError::Request("its key is not ECDSA P-256".to_owned()));
        }
        self.issue(&request.public_key, subject)
    }

    /// Makes a key and issues a certificate for it: for the control plane's own servers, which start before
    /// anybody could ask.
    ///
    /// # Errors
    /// When there is no entropy, or `subject` cannot be in a certificate.
    pub fn issue_with_key(&self, subject: &Subject<'_>) -> Result<(Certificate, KeyPem), CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(making)?;
        Ok((self.issue(&key, subject)?, KeyPem::new(key.serialize_pem())))
    }

    fn issue(&self, key: &impl PublicKeyData, subject: &Subject<'_>) -> Result<Certificate, CaError> {
        if subject.now > self.not_after {
            return Err(CaError::Expired(self.not_after));
        }
        let not_before = whole_second(subject.now.plus_ms(-BACKDATED_MS));
        let not_after = whole_second(subject.now.plus_ms(subject.lifetime_ms).min(self.not_after));
        let serial = serial()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished("palisade workload");
        params.subject_alt_names = alternative_names(subject)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = extended_usages(subject.usage);
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        (params.not_before, params.not_after) = (date(not_before)?, date(not_after)?);
        let certificate = params.signed_by(key, &self.issuer).map_err(making)?;
        Ok(Certificate { chain_pem: certificate.pem(), not_before, not_after, serial })
    }
}

/// Makes a key, and the request (PEM) that proves its possession. The key never leaves its maker.
///
/// # Errors
/// When there is no entropy.
pub fn new_key_and_csr() -> Result<(KeyPem, String), CaError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(making)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished("palisade workload");
    let request = params.serialize_request(&key).and_then(|request| request.pem()).map_err(making)?;
    Ok((KeyPem::new(key.serialize_pem()), request))
}

/// Reads who a certificate's holder is: its one URI name (X509-SVID, section 2).
///
/// The certificate's chain must have been verified: this reads, it does not judge.
///
/// # Errors
/// When it carries no URI, several, or one that is not a SPIFFE id of ours.
pub fn peer_spiffe(leaf: &CertificateDer<'_>) -> Result<SpiffeId, CaError> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| CaError::Unidentified)?;
    let names = parsed.subject_alternative_name().map_err(|_| CaError::Unidentified)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => uri.parse().map_err(|_| CaError::Unidentified),
        _ => Err(CaError::Unidentified),
    }
}

/// Until when a certificate is valid; none if it cannot be read.
#[must_use]
pub fn leaf_not_after(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    Some(Timestamp::from_unix_s(parsed.validity().not_after.timestamp()))
}

fn alternative_names(subject: &Subject<'_>) -> Result<Vec<SanType>, CaError> {
    let count = subject.dns_names.len() + subject.ips.len();
    if count > MAX_NAMES {
        return Err(CaError::Names(count));
    }
    let ascii = |text: &str| text.try_into().map_err(|_| CaError::Name(text.chars().take(100).collect()));
    let mut names = vec![SanType::URI(ascii(&subject.spiffe.to_string())?)];
    for name in subject.dns_names {
        if !is_dns_name(name) {
            return Err(CaError::Name(name.chars().take(100).collect()));
        }
        names.push(SanType::DnsName(ascii(name)?));
    }
    names.extend(subject.ips.iter().copied().map(SanType::IpAddress));
    Ok(names)
}

fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| label.parse::<terms::Name>().is_ok())
}

fn extended_usages(usage: Use) -> Vec<ExtendedKeyUsagePurpose> {
    match usage {
        Use::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Use::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Use::Both => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
    }
}

fn distinguished(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// A positive serial number of full length (RFC 5280, section 4.1.2.2).
fn serial() -> Result<[u8; 16], CaError> {
    let mut serial = crate::tls::random::<16>().map_err(|error| CaError::Making(error.to_string()))?;
    let [first, ..] = &mut serial;
    *first = *first & 0x7f | 0x40;
    Ok(serial)
}

/// Certificates say whole seconds.
fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_unix_s(at.unix_s())
}

fn date(at: Timestamp) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(at.unix_s()).map_err(|_| CaError::Date(at))
}

fn making(error: rcgen::Error) -> CaError {
    CaError::Making(error.to_string())
}
