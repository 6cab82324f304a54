//! The name servers that this host uses itself (resolv.conf(5)).

use host::resolv_conf::{FILE_MAX, name_servers};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;

/// The most servers that are used, as the C library has it.
const SERVERS_MAX: usize = 3;

const PORT: u16 = 53;

/// Says why this host names no servers.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The file cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    File {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It names none.
    #[error("`{0}` names no name server")]
    None(String),
}

/// The servers in `resolv_conf`, usually `/etc/resolv.conf`.
///
/// # Errors
/// [`SystemError`].
pub fn servers_of_this_host(resolv_conf: &Path) -> Result<Vec<SocketAddr>, SystemError> {
    let path = resolv_conf.display().to_string();
    let mut text = String::new();
    let read = std::fs::File::open(resolv_conf)
        .and_then(|file| file.take(FILE_MAX as u64).read_to_string(&mut text));
    if let Err(source) = read {
        return Err(SystemError::File { path, source });
    }
    let servers = servers(&text);
    if servers.is_empty() { Err(SystemError::None(path)) } else { Ok(servers) }
}

fn servers(text: &str) -> Vec<SocketAddr> {
    name_servers(text).map(|address| SocketAddr::new(address, PORT)).take(SERVERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_and_everything_else_is_left_out() {
        let text = "# comment\nsearch corp.example\nnameserver 192.0.2.53\n nameserver\t2001:db8::53 # second\n\
                    nameserver fe80::1%eth0\nnameserver\noptions ndots:5\n;nameserver 192.0.2.1\n\
                    nameserver 192.0.2.54\nnameserver 192.0.2.55\n";
        let expected = ["192.0.2.53:53", "[2001:db8::53]:53", "192.0.2.54:53"];
        assert_eq!(servers(text), expected.map(|server| server.parse().unwrap()));
    }

    #[test]
    fn a_file_that_is_missing_or_names_none_is_named() {
        let missing = servers_of_this_host(Path::new("/nonexistent/resolv.conf")).unwrap_err().to_string();
        assert!(missing.contains("`/nonexistent/resolv.conf` cannot be read"), "{missing}");
        let empty = servers_of_this_host(Path::new("/dev/null")).unwrap_err().to_string();
        assert_eq!(empty, "`/dev/null` names no name server");
    }
}
