//! The certificate that a listener shows, whether or not it is still valid: taken, and nothing else said.

use super::probe::ProbeError;
use super::{client, provider};
use crate::ca::leaf_not_after;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use terms::Timestamp;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a listener may take to show it.
const SHOWN_WITHIN: Duration = Duration::from_secs(3);

/// Until when the certificate is valid that a listener shows. The handshake ends there: no certificate of ours is
/// shown, and an expired or foreign one is an answer too.
///
/// # Errors
/// [`ProbeError`] if the listener shows none.
pub async fn shown_until(addr: SocketAddr) -> Result<Timestamp, ProbeError> {
    let taker = Arc::new(Taker::default());
    let config = client(Arc::clone(&taker) as Arc<dyn ServerCertVerifier>, None);
    let connector = TlsConnector::from(config.map_err(|_refused| ProbeError::NotTls(addr))?);
    let unreachable = |error: std::io::Error| ProbeError::Unreachable { addr, reason: error.to_string() };
    let looking = async {
        let stream = TcpStream::connect(addr).await.map_err(unreachable)?;
        // It never succeeds: the taker refuses whatever it has taken.
        let _refused = connector.connect(ServerName::IpAddress(addr.ip().into()), stream).await;
        Ok::<_, ProbeError>(())
    };
    timeout(SHOWN_WITHIN, looking).await.map_err(|_elapsed| ProbeError::Silent(addr))??;
    taker.0.get().copied().flatten().ok_or(ProbeError::NotTls(addr))
}

/// Takes the end of the certificate that it is to verify, and refuses it.
#[derive(Debug, Default)]
struct Taker(OnceLock<Option<Timestamp>>);

impl ServerCertVerifier for Taker {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.get_or_init(|| leaf_not_after(leaf));
        Err(refusal())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refusal())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refusal())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Whatever is shown, it is refused in the end.
fn refusal() -> Error {
    CertificateError::ApplicationVerificationFailure.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{Authority, Subject, Use};
    use crate::listener::{Listener, ListenerLimits};
    use crate::tls::{ClientAuth, Identity, Roots, server_config};
    use terms::{SpiffeId, Workload};

    /// 1970-01-12: over by any clock.
    const BEGIN: Timestamp = Timestamp::from_unix_ms(1_000_000_000);

    #[tokio::test]
    async fn an_expired_certificate_of_a_listener_that_demands_one_is_read() {
        let domain: terms::TrustDomain = "palisade.internal".parse().unwrap();
        let authority = Authority::create(BEGIN, &domain, 86_400_000).unwrap();
        let spiffe = SpiffeId::new(domain, Workload::ControlPlane);
        let (usage, lifetime_ms) = (Use::Server, 3_600_000);
        let subject = Subject { spiffe: &spiffe, dns_names: &[], ips: &[], usage, now: BEGIN, lifetime_ms };
        let (certificate, key) = authority.issue_with_key(&subject).unwrap();
        let identity = Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap();
        let roots = Roots::from_pem(authority.certificate_pem()).unwrap();
        for clients in [ClientAuth::None, ClientAuth::Required(roots)] {
            let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
            let addr = listener.local_addr();
            let tls = server_config(&identity, &clients).unwrap();
            tokio::spawn(listener.serve(
                tls,
                axum::Router::new(),
                ListenerLimits::default(),
                core::future::pending(),
            ));
            assert_eq!(shown_until(addr).await, Ok(certificate.not_after));
        }
    }

    #[tokio::test]
    async fn a_listener_that_shows_none_is_no_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (shown, ()) = tokio::join!(shown_until(addr), async { drop(listener.accept().await) });
        assert_eq!(shown, Err(ProbeError::NotTls(addr)));
        drop(listener);
        assert!(matches!(shown_until(addr).await, Err(ProbeError::Unreachable { .. })));
    }
}
