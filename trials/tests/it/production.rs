//! A site as operators install it: the shipped example configurations, their own certificate, a host enrolled by token.

use crate::shared::sample;
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use trials::{Options, Site, program, signal, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_example_configuration_with_its_own_certificate_runs_a_tenant_on_an_enrolled_host() -> Result<()>
{
    let mut install = Install::new()?;
    install.start_control_plane().await?;
    let said = install.operator(&["node", "enroll", "enrol.token"])?;
    ensure!(said.contains("works once"), "{said}");
    install.start_node()?;
    install.operator(&["tenant", "create", "acme"])?;
    install.operator(&["workflow", "apply", "orders.yaml", "--tenant", "acme"])?;
    let said =
        install.operator(&["run", "orders", "--input", "orders.json", "--wait", "--tenant", "acme"])?;
    ensure!(said.contains("completed"), "{said}");
    ensure!(!install.path("enrol.token").exists(), "a token that was used is gone");
    install.stop().await
}

#[tokio::test]
async fn a_configuration_is_checked_before_anything_starts() -> Result<()> {
    let install = Install::new()?;
    let valid = install.palisade(&["config", "check", "control.toml"])?;
    ensure!(valid.status.success(), "{valid:?}");
    let config = std::fs::read_to_string(install.path("control.toml"))?;
    for (fault, named) in [
        (config.replace("trust_domain", "trust_domian"), "trust_domian"),
        (config.replace("https://localhost", "http://localhost"), "public_url"),
    ] {
        std::fs::write(install.path("faulty.toml"), fault)?;
        let checked = install.palisade(&["config", "check", "faulty.toml"])?;
        let said = text(&checked);
        ensure!(!checked.status.success() && said.contains(named), "{named}: {said}");
    }
    Ok(())
}

/// A folder with what an operator prepares: root key, token, certificate, configuration.
struct Install {
    /// Owns the folder, and clears away what still runs in it.
    site: Site,
    port: u16,
    running: Vec<Child>,
}

impl Install {
    fn new() -> Result<Self> {
        let site = Site::prepare(Options::default())?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let install = Self { site, port, running: Vec::new() };
        for name in ["orders.yaml", "orders.json"] {
            std::fs::write(install.path(name), sample(name))?;
        }
        install.install_programs()?;
        install.openssl(&["rand", "-hex", "-out", "root.key", "32"])?;
        install.make_certificate()?;
        let minted = install.palisade(&["token", "mint", "operator.token"])?;
        install.configure(text(&minted).trim())?;
        Ok(install)
    }

    /// Where every user reaches them, as in /usr/bin.
    fn install_programs(&self) -> Result<()> {
        std::fs::create_dir(self.path("bin"))?;
        for name in ["palisade", "palisade-control", "palisade-node", "palisade-data", "palisade-meter"] {
            std::fs::copy(program(name), self.path("bin").join(name))?;
        }
        Ok(())
    }

    /// The shipped example, with nothing changed but where things are.
    fn configure(&self, token_digest: &str) -> Result<()> {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/control.example.toml");
        let mut config = std::fs::read_to_string(example)?;
        let here = |name: &str| self.path(name).display().to_string();
        for (placeholder, value) in [
            ("/var/lib/palisade/control", here("control")),
            ("https://palisade.example.com", self.url()),
            ("0.0.0.0:443", format!("127.0.0.1:{}", self.port)),
            ("127.0.0.1:9443", "127.0.0.1:0".to_owned()),
            (
                "root_key_file = \"/etc/palisade/root.key\"",
                format!("root_key_file = \"{}\"", here("root.key")),
            ),
            (&"0".repeat(64), token_digest.to_owned()),
            ("zones_enforced = true", "zones_enforced = false".to_owned()),
            ("/etc/palisade/tls.pem", here("tls.pem")),
            ("/etc/palisade/tls.key", here("tls.key")),
        ] {
            ensure!(config.contains(placeholder), "the example has no `{placeholder}`");
            config = config.replace(placeholder, &value);
        }
        Ok(std::fs::write(self.path("control.toml"), config)?)
    }

    /// A certificate for `localhost` from an authority that is not ours.
    fn make_certificate(&self) -> Result<()> {
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let authority = ["-x509", "-days", "2", "-subj", "/CN=their authority"];
        let files = ["-keyout", "ca.key", "-out", "ca.pem"];
        self.openssl(&[&["req"], &key[..], &authority, &files].concat())?;
        let request = ["-subj", "/CN=localhost", "-keyout", "tls.key", "-out", "tls.csr"];
        self.openssl(&[&["req"], &key[..], &request].concat())?;
        std::fs::write(self.path("names"), "subjectAltName=DNS:localhost")?;
        let issued = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
        let files = ["-in", "tls.csr", "-extfile", "names", "-out", "tls.pem"];
        self.openssl(&[&["x509", "-req"], &issued[..], &files].concat())
    }

    async fn start_control_plane(&mut self) -> Result<()> {
        let config = self.path("control.toml").display().to_string();
        self.start("palisade-control", &["--config", &config])?;
        let ready = self.path("control/ready.json");
        ensure!(wait_until(PATIENCE, async || ready.is_file()).await, "{}", self.log("palisade-control"));
        Ok(())
    }

    fn start_node(&mut self) -> Result<()> {
        let [state, token, ca] =
            ["host", "enrol.token", "ca.pem"].map(|name| self.path(name).display().to_string());
        let url = self.url();
        let arguments = ["--control-plane", &url, "--enroll-token-file", &token, "--ca-file", &ca];
        // The networks of the machine that tries this are not to be touched.
        let rest = ["--state-dir", &state, "--driver", "loopback"];
        self.start("palisade-node", &[&arguments[..], &rest].concat())
    }

    fn start(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let log = std::fs::File::create(self.path(&format!("{name}.log")))?;
        let mut command = Command::new(self.path("bin").join(name));
        command.args(arguments).current_dir(self.site.folder()).stdin(Stdio::null()).stderr(log);
        self.running.push(command.spawn()?);
        Ok(())
    }

    /// Stops the host, then the control plane. Both have to end well.
    async fn stop(mut self) -> Result<()> {
        while let Some(mut child) = self.running.pop() {
            signal(child.id(), "TERM")?;
            let ended = wait_until(PATIENCE, async || matches!(child.try_wait(), Ok(Some(_)))).await;
            ensure!(ended && child.wait()?.success(), "a process did not end well");
        }
        Ok(())
    }

    /// Runs a command of the operator, which has to succeed.
    fn operator(&self, arguments: &[&str]) -> Result<String> {
        let output = self.palisade(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {}", text(&output));
        Ok(text(&output))
    }

    fn palisade(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(self.path("bin/palisade"));
        command.args(arguments).current_dir(self.site.folder()).stdin(Stdio::null());
        command.env("PALISADE_URL", self.url());
        command.env("PALISADE_CA_FILE", self.path("ca.pem"));
        command.env("PALISADE_TOKEN_FILE", self.path("operator.token"));
        Ok(command.output()?)
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        // Private files, as `umask 077` makes them.
        let mut command = Command::new("sh");
        command.args(["-c", "umask 077; exec openssl \"$@\"", "sh"]).args(arguments);
        let output = command.current_dir(self.site.folder()).output().context("openssl")?;
        ensure!(output.status.success(), "openssl {arguments:?}: {}", text(&output));
        // Everybody may know whom to trust.
        if let Ok(roots) = std::fs::File::open(self.path("ca.pem")) {
            roots.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        }
        Ok(())
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.folder().join(name)
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
