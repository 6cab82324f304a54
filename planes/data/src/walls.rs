//! The walls that a data plane builds around itself before it does anything else.

use crate::config::{Config, Driver};
use host::confine::{ConfineError, Walls};
use host::files::FileError;

/// Where the public internet is called.
const HTTPS: u16 = 443;

/// Where a long answer to a question for a name is fetched, on hosts whose own resolver is asked.
const DOMAIN: u16 = 53;

/// Says why a data plane does not stand behind its walls.
#[derive(Debug, thiserror::Error)]
pub enum WallError {
    /// A wall cannot be built.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// What stands cannot be written down.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Builds them, and writes which stand into the data plane's folder. Call it while this process has one thread.
///
/// # Errors
/// [`WallError`].
pub fn raise(config: &Config) -> Result<Walls, WallError> {
    let walls = Walls::raise(&[config.listen.port()], &ports_out(config))?;
    host::files::create_private_dir(&config.state_dir)?;
    walls.write(&config.state_dir)?;
    Ok(walls)
}

/// The TCP ports that it may connect to.
fn ports_out(config: &Config) -> Vec<u16> {
    let mut ports = vec![HTTPS, serve::identity::port_of(&config.control_plane_url)];
    ports.extend(config.control_plane_addr.map(|address| address.port()));
    match config.driver {
        Driver::Linux => {}
        Driver::Loopback => {
            ports.push(DOMAIN);
            ports.extend(config.egress_allow.iter().map(|allowed| allowed.port));
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_network_opens_no_port_but_443_and_the_control_planes() {
        let config = config("linux", "https://localhost:8443", "");
        assert_eq!(ports_out(&config), [443, 8_443]);
        assert_eq!(ports_out(&Config { control_plane_url: "https://a.test".into(), ..config }), [443, 443]);
    }

    #[test]
    fn what_the_operator_allows_beside_is_open_on_loopback() {
        let allowed = "[[egress_allow]]\nhost = \"a.test\"\nport = 9443\ncidr = \"127.0.0.0/8\"\n";
        assert_eq!(ports_out(&config("loopback", "https://localhost:1", allowed)), [443, 1, 53, 9_443]);
    }

    fn config(driver: &str, url: &str, rest: &str) -> Config {
        let text = format!(
            "state_dir = '/s'\ntenant = '02020202-0202-0202-0202-020202020202'\ncontrol_plane_url = '{url}'\n\
             control_plane_ca_file = '/ca'\nenrol_token_file = '/t'\nlisten = '127.0.0.1:5678'\n\
             metering_socket = '/m'\nsidecar_uid = 1\ndriver = '{driver}'\n{rest}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        host::config::load(file.path()).unwrap()
    }
}
