//! The only maker of TLS configurations: TLS 1.3, the three suites in the promised order, no early data.

mod failure;
mod identity;
pub mod probe;
mod roots;
mod shown;
mod workload;

pub use failure::failure_reason;
pub(crate) use failure::{certificate_alert, is_no_tls13, rustls_error};
pub use identity::Identity;
pub use roots::Roots;
pub use shown::shown_until;
pub use workload::WrongWorkload;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use std::sync::Arc;
use terms::SpiffeId;

/// The suites in the order of the security architecture (section "Encryption in transit").
const SUITES: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// The key exchanges in our order: the hybrid first, so that traffic recorded today stays closed to a quantum
/// computer; then what every TLS 1.3 peer has.
const KEY_EXCHANGES: [&dyn SupportedKxGroup; 4] =
    [kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// Says why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate in the chain, or it cannot be read.
    #[error("the certificate chain cannot be used: {0}")]
    Chain(String),
    /// There is no private key, or it cannot be read.
    #[error("the private key cannot be used: {0}")]
    Key(String),
    /// The key is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// There is no trusted root, or one cannot be read.
    #[error("the trusted certificates cannot be used: {0}")]
    Roots(String),
    /// The library refused the parts.
    #[error("the TLS configuration was refused: {0}")]
    Refused(#[from] rustls::Error),
}

/// Whether a server asks its clients for certificates.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// It does not.
    None,
    /// A client may come without one; one that it shows must come from these roots.
    Optional(Roots),
    /// A client without one from these roots is refused.
    Required(Roots),
}

/// Makes a server's configuration. `identity` can be replaced later while the server runs.
///
/// # Errors
/// When the library refuses the roots.
pub fn server_config(identity: &Identity, clients: &ClientAuth) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13])?;
    let verifier =
        |roots: &Roots| WebPkiClientVerifier::builder_with_provider(roots.store(), provider.clone());
    let refused = |error: rustls::client::VerifierBuilderError| TlsError::Roots(error.to_string());
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(roots) => builder
            .with_client_cert_verifier(verifier(roots).allow_unauthenticated().build().map_err(refused)?),
        ClientAuth::Required(roots) => {
            builder.with_client_cert_verifier(verifier(roots).build().map_err(refused)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(identity.clone()));
    config.ignore_client_order = true;
    config.max_early_data_size = 0;
    // A resumed session keeps the certificate of the first one, which may have expired or been replaced since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Makes a client's configuration: the peer's certificate comes from `roots` and names the host of the URL.
///
/// # Errors
/// When the library refuses the roots.
pub fn client_config(roots: &Roots, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.store(), provider())
        .build()
        .map_err(|error| TlsError::Roots(error.to_string()))?;
    client(verifier, identity)
}

/// Makes the configuration of a client that talks to one workload: the peer's certificate comes from `roots`
/// and carries the SPIFFE id `expected`; the name or address that was dialled does not matter.
///
/// # Errors
/// When the library refuses the configuration.
pub fn client_config_for_workload(
    roots: &Roots,
    identity: Option<&Identity>,
    expected: SpiffeId,
) -> Result<Arc<ClientConfig>, TlsError> {
    let algorithms = provider().signature_verification_algorithms;
    client(Arc::new(workload::WorkloadVerifier::new(roots.store(), algorithms, expected)), identity)
}

fn client(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(identity.clone())),
        None => builder.with_no_client_auth(),
    };
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: KEY_EXCHANGES.to_vec(),
        ..default_provider()
    })
}

/// Draws `N` bytes from the crypto provider's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], rustls::Error> {
    let mut bytes = [0; N];
    default_provider().secure_random.fill(&mut bytes).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    Ok(bytes)
}

type Store = Arc<RootCertStore>;
