//! The control plane's own certificates: the internal authority, its server, its client to data planes.

use crate::config::{Config, Tls};
use serve::ca::{Authority, KeyPem, Subject, Use};
use serve::tls::{self, ClientAuth, Identity, Roots};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use store::{Store, StoreError};
use terms::{SpiffeId, TenantId, Timestamp, TrustDomain, Workload};

/// How long the internal authority lives: ten years, as every workload pins it.
const AUTHORITY_MS: i64 = 10 * 365 * DAY_MS;

/// How long a workload's certificate lives.
pub(crate) const CERTIFICATE_MS: i64 = DAY_MS;

const DAY_MS: i64 = 24 * 3_600_000;

/// Most bytes of a PEM file.
const PEM_MAX: usize = 64 * 1024;

/// The server's certificate, as alarms name it.
pub(crate) const SERVER: &str = "certificate/server";

const AUTHORITY_CERTIFICATE: &str = "authority.certificate";
const AUTHORITY_KEY: &str = "authority.key";

/// The control plane's certificates and what makes them.
pub(crate) struct PlatformIdentity {
    domain: TrustDomain,
    authority: Authority,
    roots: Roots,
    server: Identity,
    /// The operator's own certificate; without it the authority issues one each day.
    own: Option<Tls>,
    client: Identity,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// Says why there is no identity to start with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The store holds half an authority, or did not answer.
    #[error("the internal authority cannot be loaded: {0}")]
    Store(#[from] StoreError),
    /// The authority cannot be made or used.
    #[error("the internal authority cannot be used: {0}")]
    Authority(#[from] serve::ca::CaError),
    /// A certificate and key do not make a TLS configuration.
    #[error("{0}: check [tls] certificate_file and key_file")]
    Tls(#[from] tls::TlsError),
    /// A certificate or key file cannot be read.
    #[error("{0}")]
    File(#[from] host::files::FileError),
    /// A file is not text.
    #[error("`{0}` is not a PEM file")]
    NotPem(String),
}

impl PlatformIdentity {
    /// Loads the authority, or makes it on the very first start, and issues what the control plane needs.
    pub(crate) async fn load(
        store: &Store,
        config: &Config,
        domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let authority = load_authority(store, domain, now).await?;
        let roots = Roots::from_pem(authority.certificate_pem())?;
        let (names, addresses) = server_names(&config.public_url);
        let subject = own_subject(domain);
        let (server_chain, server_key) = match &config.tls {
            Some(own) => read_own(own)?,
            None => issue_server(&authority, &subject, &names, &addresses, now)?,
        };
        let (client_chain, client_key) = issue_client(&authority, &subject, now)?;
        Ok(Self {
            domain: domain.clone(),
            roots,
            server: Identity::from_pem(&server_chain, server_key.expose())?,
            own: config.tls.clone(),
            client: Identity::from_pem(&client_chain, client_key.expose())?,
            authority,
            names,
            addresses,
        })
    }

    /// The PEM roots that workloads trust.
    pub(crate) fn roots_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// The authority, to issue workloads' certificates.
    pub(crate) const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// When the authority, the server's and the client's certificate end.
    pub(crate) fn ends(&self) -> [(&'static str, Option<Timestamp>); 3] {
        [
            ("certificate/authority", Some(self.authority.not_after())),
            (SERVER, self.server.not_after()),
            ("certificate/client", self.client.not_after()),
        ]
    }

    /// The TLS configuration of the API: callers may show a certificate of the internal authority.
    pub(crate) fn api_tls(&self) -> Result<Arc<rustls::ServerConfig>, tls::TlsError> {
        tls::server_config(&self.server, &ClientAuth::Optional(self.roots.clone()))
    }

    /// The TLS configuration of the metrics listener.
    pub(crate) fn metrics_tls(&self) -> Result<Arc<rustls::ServerConfig>, tls::TlsError> {
        tls::server_config(&self.server, &ClientAuth::None)
    }

    /// The TLS configuration towards one tenant's data plane, which must prove to be it.
    pub(crate) fn towards(&self, tenant: TenantId) -> Result<Arc<rustls::ClientConfig>, tls::TlsError> {
        let expected = SpiffeId::new(self.domain.clone(), Workload::DataPlane(tenant));
        tls::client_config_for_workload(&self.roots, Some(&self.client), expected)
    }

    /// Renews what has passed two thirds of its life. Open connections keep theirs.
    pub(crate) fn renew(&self, now: Timestamp) -> Result<(), IdentityError> {
        let subject = own_subject(&self.domain);
        if due(self.client.not_after(), now) {
            let (chain, key) = issue_client(&self.authority, &subject, now)?;
            self.client.replace(&chain, key.expose())?;
        }
        match &self.own {
            // The operator renews the files; a changed file is taken up without a restart.
            Some(own) => {
                let (chain, key) = read_own(own)?;
                self.server.replace(&chain, key.expose())?;
            }
            None if due(self.server.not_after(), now) => {
                let (chain, key) =
                    issue_server(&self.authority, &subject, &self.names, &self.addresses, now)?;
                self.server.replace(&chain, key.expose())?;
            }
            None => {}
        }
        Ok(())
    }
}

fn due(not_after: Option<Timestamp>, now: Timestamp) -> bool {
    not_after.is_none_or(|end| end.ms_since(now) < CERTIFICATE_MS / 3)
}

fn own_subject(domain: &TrustDomain) -> SpiffeId {
    SpiffeId::new(domain.clone(), Workload::ControlPlane)
}

async fn load_authority(
    store: &Store,
    domain: &TrustDomain,
    now: Timestamp,
) -> Result<Authority, IdentityError> {
    let mut reader = store.read().await?;
    let certificate = reader.settings().get(AUTHORITY_CERTIFICATE).await?;
    let key = reader.settings().get(AUTHORITY_KEY).await?;
    drop(reader);
    if let (Some(certificate), Some(key)) = (certificate, key) {
        let certificate = String::from_utf8_lossy(&certificate);
        let key = KeyPem::new(String::from_utf8_lossy(&key).into_owned());
        return Ok(Authority::load(&certificate, &key)?);
    }
    let authority = Authority::create(now, domain, AUTHORITY_MS)?;
    let certificate = authority.certificate_pem().as_bytes().to_vec();
    let key = authority.key_pem().expose().as_bytes().to_vec();
    store
        .write(move |tx| {
            Box::pin(async move {
                tx.settings().put(AUTHORITY_CERTIFICATE, &certificate).await?;
                tx.settings().put(AUTHORITY_KEY, &key).await
            })
        })
        .await
        .map_err(StoreError::from)?;
    Ok(authority)
}

fn issue_server(
    authority: &Authority,
    spiffe: &SpiffeId,
    names: &[String],
    addresses: &[IpAddr],
    now: Timestamp,
) -> Result<(String, KeyPem), IdentityError> {
    let subject = Subject {
        spiffe,
        dns_names: names,
        ips: addresses,
        usage: Use::Server,
        now,
        lifetime_ms: CERTIFICATE_MS,
    };
    let (certificate, key) = authority.issue_with_key(&subject)?;
    Ok((certificate.chain_pem, key))
}

fn issue_client(
    authority: &Authority,
    spiffe: &SpiffeId,
    now: Timestamp,
) -> Result<(String, KeyPem), IdentityError> {
    let subject =
        Subject { spiffe, dns_names: &[], ips: &[], usage: Use::Client, now, lifetime_ms: CERTIFICATE_MS };
    let (certificate, key) = authority.issue_with_key(&subject)?;
    Ok((certificate.chain_pem, key))
}

fn read_own(own: &Tls) -> Result<(String, KeyPem), IdentityError> {
    let text = |bytes: Vec<u8>, path: &std::path::Path| {
        String::from_utf8(bytes).map_err(|_| IdentityError::NotPem(path.display().to_string()))
    };
    let chain = text(host::files::read_bounded(&own.certificate_file, PEM_MAX)?, &own.certificate_file)?;
    let key = text(host::files::read_private(&own.key_file, PEM_MAX)?, &own.key_file)?;
    Ok((chain, KeyPem::new(key)))
}

/// The names and addresses by which the API is called: the public URL's host, and this host itself.
fn server_names(public_url: &str) -> (Vec<String>, Vec<IpAddr>) {
    let mut names = vec!["localhost".to_owned()];
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let authority = public_url.strip_prefix("https://").unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if !addresses.contains(&address) => addresses.push(address),
        Err(_) if !host.is_empty() && host != "localhost" => names.push(host.to_owned()),
        Ok(_) | Err(_) => {}
    }
    (names, addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_named_after_its_public_url_and_this_host() {
        let (names, addresses) = server_names("https://api.example.com:8443");
        assert_eq!(names, ["localhost", "api.example.com"]);
        assert_eq!(addresses.len(), 2);
        let (names, addresses) = server_names("https://192.0.2.7");
        assert_eq!((names.len(), addresses.len()), (1, 3));
        assert_eq!(server_names("https://[2001:db8::1]:443").1.len(), 3);
    }
}
