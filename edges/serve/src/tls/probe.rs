//! Looks at a TLS listener from outside, as a scanner does (DATA-7).
//!
//! The hellos are written by hand: a probe made from our own TLS configuration could only find what that
//! configuration promises anyway. No secret is needed: a hello without a key share makes a server name its choices in
//! the clear and ask again (RFC 8446, section 4.2.8).

use super::random;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one hello may take, its connection included.
const ASK: Duration = Duration::from_secs(3);

/// The largest record (RFC 8446, section 5.1).
const RECORD_MAX: usize = 16 * 1024;

const TLS13: u16 = 0x0304;

/// Every version that is offered, each alone.
const VERSIONS: [(u16, &str); 4] =
    [(TLS13, "TLSv1.3"), (0x0303, "TLSv1.2"), (0x0302, "TLSv1.1"), (0x0301, "TLSv1.0")];

/// Every suite of TLS 1.3 (RFC 8446, appendix B.4).
const SUITES: [(u16, &str); 5] = [
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0x1304, "TLS_AES_128_CCM_SHA256"),
    (0x1305, "TLS_AES_128_CCM_8_SHA256"),
];

/// What servers of older versions commonly take: ECDHE and RSA, with GCM, ChaCha20 and CBC.
const OLDER_SUITES: [u16; 13] =
    [0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a, 0xc014, 0x009c, 0x002f, 0x0035];

/// What a listener answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offered {
    /// Versions that it accepted when they were offered alone, such as `TLSv1.3`.
    pub versions_accepted: Vec<&'static str>,
    /// Versions that it refused when they were offered alone.
    pub versions_refused: Vec<&'static str>,
    /// The suites of TLS 1.3 in the order in which it picked them: they were offered in the opposite order of the
    /// standard's list, all at first and then without those picked before.
    pub suites: Vec<&'static str>,
}

/// Says why a listener could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers there.
    #[error("`{addr}` cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        addr: SocketAddr,
        /// The system's reason.
        reason: String,
    },
    /// It takes too long.
    #[error("`{0}` does not answer in time")]
    Silent(SocketAddr),
    /// It speaks something else than TLS, or picks what was not offered.
    #[error("`{0}` does not speak TLS")]
    NotTls(SocketAddr),
    /// There is no entropy for a hello.
    #[error("no entropy")]
    Entropy,
}

/// What came back for one hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Chosen { version: u16, suite: u16 },
    Refused,
}

/// Offers every version alone, and the suites of TLS 1.3 in the opposite order.
///
/// # Errors
/// [`ProbeError`] if the listener could not be looked at; a refusal is an answer.
pub async fn offered(addr: SocketAddr) -> Result<Offered, ProbeError> {
    let mut offered = Offered::default();
    for (version, name) in VERSIONS {
        let suites =
            if version == TLS13 { SUITES.map(|(suite, _)| suite).to_vec() } else { OLDER_SUITES.to_vec() };
        match ask(addr, version, &suites).await? {
            Answer::Chosen { version: chosen, .. } if chosen == version => {
                offered.versions_accepted.push(name)
            }
            Answer::Chosen { .. } | Answer::Refused => offered.versions_refused.push(name),
        }
    }
    let mut left: Vec<(u16, &str)> = SUITES.into_iter().rev().collect();
    while !left.is_empty() {
        let codes: Vec<u16> = left.iter().map(|(suite, _)| *suite).collect();
        let Answer::Chosen { version: TLS13, suite } = ask(addr, TLS13, &codes).await? else { break };
        let at = left.iter().position(|(code, _)| *code == suite).ok_or(ProbeError::NotTls(addr))?;
        offered.suites.push(left.remove(at).1);
    }
    Ok(offered)
}

async fn ask(addr: SocketAddr, version: u16, suites: &[u16]) -> Result<Answer, ProbeError> {
    let hello = client_hello(version, suites, &random::<32>().map_err(|_| ProbeError::Entropy)?);
    let unreachable = |error: std::io::Error| ProbeError::Unreachable { addr, reason: error.to_string() };
    let asking = async {
        let mut stream = TcpStream::connect(addr).await.map_err(unreachable)?;
        stream.write_all(&hello).await.map_err(unreachable)?;
        Ok::<_, ProbeError>(read_record(&mut stream).await)
    };
    match timeout(ASK, asking).await.map_err(|_elapsed| ProbeError::Silent(addr))?? {
        // Closed without a word is a refusal too.
        None => Ok(Answer::Refused),
        Some((ALERT, _)) => Ok(Answer::Refused),
        Some((HANDSHAKE, body)) => read_server_hello(&body).ok_or(ProbeError::NotTls(addr)),
        Some(_) => Err(ProbeError::NotTls(addr)),
    }
}

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// The first record's type and content; none if the peer closes before it is whole.
async fn read_record(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.ok()?;
    let [kind, _, _, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > RECORD_MAX {
        return Some((kind, Vec::new()));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((kind, body))
}

/// A hello (RFC 8446, section 4.1.2) for exactly one version.
fn client_hello(version: u16, suites: &[u16], random: &[u8; 32]) -> Vec<u8> {
    let legacy_version = version.min(0x0303);
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    // X25519MLKEM768, X25519, P-256, P-384.
    let groups = sized::<2>(&[0x11, 0xec, 0x00, 0x1d, 0x00, 0x17, 0x00, 0x18]);
    // ECDSA with P-256 and P-384, Ed25519, RSA-PSS and RSA PKCS #1 v1.5 with SHA-256.
    let signatures = sized::<2>(&[0x04, 0x03, 0x05, 0x03, 0x08, 0x07, 0x08, 0x04, 0x04, 0x01]);
    let mut extensions = [extension(10, &groups), extension(13, &signatures)].concat();
    if version == TLS13 {
        extensions.extend(extension(43, &sized::<1>(&version.to_be_bytes())));
        extensions.extend(extension(51, &sized::<2>(&[])));
    } else {
        // Uncompressed points (RFC 8422, section 5.1.2).
        extensions.extend(extension(11, &sized::<1>(&[0])));
    }
    let body = [
        legacy_version.to_be_bytes().as_slice(),
        random,
        &sized::<1>(&[]),
        &sized::<2>(&suites),
        &sized::<1>(&[0]),
        &sized::<2>(&extensions),
    ]
    .concat();
    let message = [[1].as_slice(), &sized::<3>(&body)].concat();
    [[HANDSHAKE, 3, 1].as_slice(), &sized::<2>(&message)].concat()
}

fn extension(number: u16, content: &[u8]) -> Vec<u8> {
    [number.to_be_bytes().as_slice(), &sized::<2>(content)].concat()
}

/// `content` behind its length in `N` bytes, big endian.
fn sized<const N: usize>(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let prefix = length.last_chunk::<N>().map_or(&[][..], <[u8; N]>::as_slice);
    [prefix, content].concat()
}

/// Reads version and suite out of a ServerHello or HelloRetryRequest, which have one form (RFC 8446, section 4.1.4).
fn read_server_hello(message: &[u8]) -> Option<Answer> {
    let (kind, rest) = message.split_first()?;
    let body = if *kind == 2 { take_sized::<3>(rest)?.0 } else { return None };
    let (legacy_version, rest) = take_u16(body)?;
    let (_random, rest) = rest.split_at_checked(32)?;
    let (_session, rest) = take_sized::<1>(rest)?;
    let (suite, rest) = take_u16(rest)?;
    let (_compression, rest) = rest.split_first()?;
    let mut version = legacy_version;
    // Servers of older versions may leave the extensions out.
    let mut extensions = if rest.is_empty() { rest } else { take_sized::<2>(rest)?.0 };
    while !extensions.is_empty() {
        let (number, rest) = take_u16(extensions)?;
        let (content, rest) = take_sized::<2>(rest)?;
        if number == 43 {
            version = take_u16(content)?.0;
        }
        extensions = rest;
    }
    Some(Answer::Chosen { version, suite })
}

fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*number), rest))
}

/// The content behind a length in `N` bytes, and what follows it.
fn take_sized<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<N>()?;
    let length = length.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{Authority, Subject, Use};
    use crate::listener::{Listener, ListenerLimits};
    use crate::tls::{ClientAuth, Identity, Roots, server_config};
    use rustls::ServerConfig;
    use std::sync::Arc;
    use terms::{SpiffeId, Timestamp, Workload};
    use tokio::net::TcpListener;

    const PROMISED: [&str; 3] =
        ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

    #[tokio::test]
    async fn our_listeners_take_tls13_alone_and_pick_suites_in_our_order() {
        let (identity, roots) = identity();
        for clients in [ClientAuth::None, ClientAuth::Optional(roots.clone()), ClientAuth::Required(roots)] {
            let addr = serve(server_config(&identity, &clients).unwrap()).await;
            let found = offered(addr).await.unwrap();
            assert_eq!(found.versions_accepted, ["TLSv1.3"]);
            assert_eq!(found.versions_refused, ["TLSv1.2", "TLSv1.1", "TLSv1.0"]);
            assert_eq!(found.suites, PROMISED);
        }
    }

    #[tokio::test]
    async fn a_listener_that_follows_its_client_is_seen() {
        let (identity, _) = identity();
        let mut config = server_config(&identity, &ClientAuth::None).unwrap();
        Arc::get_mut(&mut config).unwrap().ignore_client_order = false;
        let found = offered(serve(config).await).await.unwrap();
        assert_eq!(found.suites.first(), Some(&"TLS_CHACHA20_POLY1305_SHA256"));
    }

    #[tokio::test]
    async fn a_listener_that_still_speaks_an_older_version_is_seen() {
        let addr = answer_always(server_hello(0x0303, 0xc02f, &[])).await;
        assert_eq!(offered(addr).await.unwrap().versions_accepted, ["TLSv1.2"]);
    }

    #[tokio::test]
    async fn what_is_closed_silent_or_not_tls_is_no_answer() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(matches!(offered(closed).await, Err(ProbeError::Unreachable { .. })));
        let http = answer_always(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
        assert_eq!(offered(http).await, Err(ProbeError::NotTls(http)));
        let other = answer_always(server_hello(TLS13, 0x1399, &[0, 43, 0, 2, 3, 4])).await;
        assert_eq!(offered(other).await, Err(ProbeError::NotTls(other)));
    }

    #[test]
    fn a_server_hello_cut_short_anywhere_is_none() {
        let record = server_hello(TLS13, 0x1301, &[0, 51, 0, 2, 0x11, 0xec, 0, 43, 0, 2, 3, 4]);
        let message = &record[5..];
        assert_eq!(read_server_hello(message), Some(Answer::Chosen { version: TLS13, suite: 0x1301 }));
        for length in 0..message.len() {
            assert_eq!(read_server_hello(&message[..length]), None, "{length}");
        }
    }

    fn server_hello(version: u16, suite: u16, extensions: &[u8]) -> Vec<u8> {
        let mut body = [version.min(0x0303).to_be_bytes().as_slice(), &[7; 32], &[0]].concat();
        body.extend(suite.to_be_bytes());
        body.push(0);
        body.extend(sized::<2>(extensions));
        let message = [[2].as_slice(), &sized::<3>(&body)].concat();
        [[HANDSHAKE, 3, 3].as_slice(), &sized::<2>(&message)].concat()
    }

    async fn answer_always(answer: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut hello = [0; 5];
                let _ = stream.read_exact(&mut hello).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        addr
    }

    async fn serve(config: Arc<ServerConfig>) -> SocketAddr {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr();
        tokio::spawn(listener.serve(
            config,
            axum::Router::new(),
            ListenerLimits::default(),
            std::future::pending(),
        ));
        addr
    }

    fn identity() -> (Identity, Roots) {
        let domain: terms::TrustDomain = "palisade.internal".parse().unwrap();
        let now = Timestamp::from_unix_s(1_795_507_200);
        let authority = Authority::create(now, &domain, 86_400_000).unwrap();
        let spiffe = SpiffeId::new(domain, Workload::ControlPlane);
        let (usage, lifetime_ms) = (Use::Server, 3_600_000);
        let subject = Subject { spiffe: &spiffe, dns_names: &[], ips: &[], usage, now, lifetime_ms };
        let (certificate, key) = authority.issue_with_key(&subject).unwrap();
        let roots = Roots::from_pem(authority.certificate_pem()).unwrap();
        (Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap(), roots)
    }
}
