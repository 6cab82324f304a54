//! The way to a PostgreSQL server: within this host, or over TLS 1.3 to a server that proved its name (DATA-7).

use crate::connection::{Connection, Failure};
use crate::error::OpenError;
use crate::sql::{Columns, sql};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::net::IpAddr;

/// The version as the server names it.
const TLS_1_3: &str = "TLSv1.3";

/// Where the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// On this host: a Unix socket or the loopback.
    Within,
    /// On another host.
    Across,
}

impl Link {
    /// Reads where the server is; refuses to go to another host on trust.
    pub(crate) fn of(options: &PgConnectOptions) -> Result<Self, OpenError> {
        let host = options.get_host();
        let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if options.get_socket().is_some() || is_loopback {
            return Ok(Self::Within);
        }
        match options.get_ssl_mode() {
            PgSslMode::VerifyFull => Ok(Self::Across),
            PgSslMode::Disable
            | PgSslMode::Allow
            | PgSslMode::Prefer
            | PgSslMode::Require
            | PgSslMode::VerifyCa => Err(OpenError::UnverifiedServer(host.to_owned())),
        }
    }

    /// Refuses a connection between hosts whose protocol is older than TLS 1.3: the library's own TLS would take
    /// 1.2 too. Asked before the first statement that carries data.
    pub(crate) async fn check(self, connection: &mut Connection) -> Result<(), Failure> {
        match self {
            Self::Within => Ok(()),
            Self::Across => judge(protocol(connection).await?),
        }
    }
}

/// The connection's TLS version as the server has it; none without TLS.
async fn protocol(connection: &mut Connection) -> Result<Option<String>, Failure> {
    let own = sql("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl");
    let row = connection.one(&own).await?;
    row.map(|row| Columns::of(&row).text().map_err(|_| Failure::Column)).transpose()
}

fn judge(protocol: Option<String>) -> Result<(), Failure> {
    match protocol {
        Some(version) if version == TLS_1_3 => Ok(()),
        Some(version) => Err(Failure::OldTls(version)),
        None => Err(Failure::OldTls("no TLS".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_hosts_server_has_to_prove_its_name() {
        let link = |url: &str| Link::of(&url.parse().unwrap());
        assert_eq!(link("postgres://p@db.example/p?sslmode=verify-full"), Ok(Link::Across));
        for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
            let refused = link(&format!("postgres://p@db.example/p?sslmode={mode}"));
            assert_eq!(refused, Err(OpenError::UnverifiedServer("db.example".to_owned())), "{mode}");
        }
        assert!(link("postgres://p@10.0.0.7/p").is_err(), "the default verifies nothing");
    }

    #[test]
    fn within_this_host_nobody_listens() {
        for url in [
            "postgres://p@localhost/p",
            "postgres://p@127.0.0.1/p",
            "postgres://p@localhost/p?host=/var/run/postgresql",
        ] {
            assert_eq!(Link::of(&url.parse().unwrap()), Ok(Link::Within), "{url}");
        }
    }

    #[test]
    fn only_tls_1_3_carries_data_between_hosts() {
        assert!(judge(Some("TLSv1.3".to_owned())).is_ok());
        for other in [Some("TLSv1.2".to_owned()), Some(String::new()), None] {
            assert!(matches!(judge(other), Err(Failure::OldTls(_))));
        }
    }
}
