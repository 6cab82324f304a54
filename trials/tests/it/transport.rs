//! Transport (DATA-7), judged by OpenSSL on every listener: TLS 1.3 only, our suites and groups in our order, no
//! early data, and a data plane that serves nobody but the control plane.

use crate::openssl::{answer, conversation, handshake, openssl};
use crate::shared::site;
use serve::tls::{Roots, client_config_for_workload};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;
use terms::SpiffeId;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{CipherSuite, ClientConnection, NamedGroup};
use trials::{Raw, Site, skipped, wait_until};
use wire::event::SecurityEvent;

/// Ends the conversation after one answer.
const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Alerts of TLS 1.3 (RFC 8446, section 6), as OpenSSL shows them.
const HANDSHAKE_FAILURE: &str = "SSL alert number 40";
const PROTOCOL_VERSION: &str = "SSL alert number 70";
const CERTIFICATE_REQUIRED: &str = "SSL alert number 116";

#[tokio::test]
async fn every_listener_refuses_all_that_is_older_than_tls_1_3() {
    for url in listeners(site().await) {
        for (version, alert) in
            [("-tls1_2", PROTOCOL_VERSION), ("-tls1_1", HANDSHAKE_FAILURE), ("-tls1", HANDSHAKE_FAILURE)]
        {
            // OpenSSL itself would refuse the oldest ones at its usual level.
            let said = handshake(&url, &[version, "-cipher", "ALL:@SECLEVEL=0"]);
            let refused = said.contains(alert) && said.contains("Cipher is (NONE)");
            assert!(refused, "{url} {version}: {said}");
        }
    }
}

#[tokio::test]
async fn every_listener_takes_the_first_of_our_suites_whatever_the_client_prefers() {
    const AES_128: &str = "TLS_AES_128_GCM_SHA256";
    const AES_256: &str = "TLS_AES_256_GCM_SHA384";
    const CHACHA: &str = "TLS_CHACHA20_POLY1305_SHA256";
    let all_reversed = [CHACHA, AES_256, AES_128].join(":");
    let last_two_reversed = [CHACHA, AES_256].join(":");
    for url in listeners(site().await) {
        for (offered, taken) in
            [(all_reversed.as_str(), AES_128), (&last_two_reversed, AES_256), (CHACHA, CHACHA)]
        {
            let said = handshake(&url, &["-ciphersuites", offered]);
            assert!(said.contains(&format!("Cipher is {taken}\n")), "{url} {offered}: {said}");
        }
        let said = handshake(&url, &["-ciphersuites", "TLS_AES_128_CCM_SHA256"]);
        assert!(said.contains(HANDSHAKE_FAILURE), "{url}: {said}");
    }
}

#[tokio::test]
async fn every_listener_agrees_on_keys_that_stay_closed_to_a_quantum_computer() {
    let site = site().await;
    for url in [site.url(), &site.metrics_url().unwrap()] {
        let raw = Raw::new(url, site.ca_file(), Ipv4Addr::LOCALHOST).unwrap();
        assert_is_hybrid(url, raw.connect().await.unwrap().get_ref().1);
    }
    let data_plane = &site.data_planes()[0].url;
    let roots = Roots::from_pem(&std::fs::read_to_string(site.ca_file()).unwrap()).unwrap();
    let tls = client_config_for_workload(&roots, None, data_planes_id(site).await).unwrap();
    let stream = TcpStream::connect(data_plane.trim_start_matches("https://")).await.unwrap();
    let stream = TlsConnector::from(tls).connect("localhost".try_into().unwrap(), stream).await.unwrap();
    assert_is_hybrid(data_plane, stream.get_ref().1);
}

#[tokio::test]
async fn every_listener_exchanges_keys_with_openssl_in_our_groups_and_no_others() {
    for url in listeners(site().await) {
        for (group, shown) in [("X25519", "Temp Key: X25519"), ("P-256", "Temp Key: ECDH, prime256v1")] {
            let said = handshake(&url, &["-groups", group]);
            assert!(said.contains(shown), "{url} {group}: {said}");
        }
        for foreign in ["ffdhe2048", "P-521"] {
            let said = handshake(&url, &["-groups", foreign]);
            assert!(said.contains(HANDSHAKE_FAILURE), "{url} {foreign}: {said}");
        }
    }
}

#[tokio::test]
async fn every_listener_exchanges_hybrid_keys_with_openssl() {
    for url in listeners(site().await) {
        let said = handshake(&url, &["-groups", "X25519MLKEM768"]);
        if said.contains("Call to SSL_CONF_cmd(-groups") {
            return skipped("hybrid keys with OpenSSL", "it knows none before version 3.5");
        }
        assert!(said.contains("group: X25519MLKEM768"), "{url}: {said}");
    }
}

#[tokio::test]
async fn no_listener_gives_a_session_that_could_be_resumed_or_carry_early_data() {
    let site = site().await;
    let sidecar = identity(site, "meter-").display().to_string();
    for (number, url) in listeners(site).into_iter().enumerate() {
        let session = site.folder().join(format!("session-{number}"));
        let kept = ["-sess_out", &session.display().to_string(), "-cert", &sidecar, "-key", &sidecar];
        let said = conversation(&url, &kept, REQUEST);
        // Tickets come before the answer, if they come.
        assert!(said.contains("HTTP/1.1 "), "{url}: {said}");
        assert!(!said.contains("New Session Ticket") && !session.exists(), "{url}: {said}");
    }
}

#[tokio::test]
async fn a_data_plane_serves_no_certificate_but_the_control_planes() {
    let site = site().await;
    let url = &site.data_planes()[0].url;
    let nobody = conversation(url, &[], REQUEST);
    assert!(nobody.contains(CERTIFICATE_REQUIRED) && !nobody.contains("HTTP/1.1"), "{nobody}");
    for own in ["meter-", "data-", "node"] {
        let refused = answer(url, &identity(site, own), REQUEST);
        assert!(
            refused.starts_with("HTTP/1.1 403 ") && refused.contains("\"forbidden\""),
            "{own}: {refused}"
        );
    }
    let api = site.api().unwrap();
    let is_seen = async || {
        let events: Vec<SecurityEvent> = api.all("/v1/events").await.unwrap();
        events.iter().any(|event| event.reason == "data_plane.foreign_caller")
    };
    assert!(wait_until(Duration::from_secs(60), is_seen).await, "a stranger at the data plane goes unseen");
}

#[tokio::test]
async fn no_listener_takes_a_certificate_of_a_foreign_authority_whatever_it_says() {
    let site = site().await;
    let forged = forged_control_plane(site).display().to_string();
    for url in [site.url(), &site.data_planes()[0].url] {
        let said = conversation(url, &["-cert", &forged, "-key", &forged], REQUEST);
        assert!(said.contains("SSL alert number") && !said.contains("HTTP/1.1"), "{url}: {said}");
    }
}

/// The API, the metrics and the data plane.
fn listeners(site: &Site) -> [String; 3] {
    [site.url().to_owned(), site.metrics_url().unwrap(), site.data_planes()[0].url.clone()]
}

/// The certificate and key of the process whose folder's name begins with `prefix`.
fn identity(site: &Site, prefix: &str) -> PathBuf {
    site.state_of(prefix).unwrap().join("identity.pem")
}

/// A certificate that names the control plane and our authority, and is signed by itself.
fn forged_control_plane(site: &Site) -> PathBuf {
    let path = site.folder().join("forged.pem");
    let file = path.display().to_string();
    openssl(&[
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-days",
        "1",
        "-subj",
        "/CN=Palisade internal CA for palisade.internal",
        "-addext",
        "subjectAltName=URI:spiffe://palisade.internal/control-plane",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        "extendedKeyUsage=clientAuth",
        "-keyout",
        &file,
        "-out",
        &file,
    ]);
    path
}

async fn data_planes_id(site: &Site) -> SpiffeId {
    let tenant: api::tenant::TenantView = site.api().unwrap().get("/v1/tenants/demo").await.unwrap();
    format!("spiffe://palisade.internal/tenant/{}/data-plane", tenant.id).parse().unwrap()
}

fn assert_is_hybrid(url: &str, session: &ClientConnection) {
    let group = session.negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768), "{url}");
    let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
    assert_eq!(suite, Some(CipherSuite::TLS13_AES_128_GCM_SHA256), "{url}");
}
