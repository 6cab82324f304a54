//! A machine of a trial's own: namespaces that stand for a host's network and names, wired to an internet that is one
//! too. No packet leaves them, and nothing of them is seen from outside.
//!
//! ```text
//! "internet" (decoys, strangers, a resolver)
//!   | wan1: 93.184.1.1/24      | wan2: 93.184.2.1/24
//!   | eth0: 93.184.1.99/24     | eth0: 93.184.2.99/24
//! "host" 1                    "host" 2
//! ```

use crate::guard::NAMESPACES;
use crate::{skipped, wait_until};
use anyhow::{Context as _, Result, ensure};
use host::network::{
    LinkName, Mac, Namespace, NamespaceName, NewRoute, Nft, Stack, StackError, Tag, VethEnd, sysctl,
};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Keeps the mount namespace: other names than the machine's own, and another resolver. What is unmounted outside goes
/// here too, so that no name of anybody else's lives on.
const HOLDER: &str = r#"
set -e
mkdir -p /run/netns
mount -t tmpfs -o mode=755 trial /run/netns
mount --bind "$FOLDER/resolv.conf" /etc/resolv.conf
echo ready
exec tail -f "$FOLDER/resolv.conf" > /dev/null
"#;

/// The size of packets on every wire.
const MTU: u32 = 1_500;

/// The internet of a trial, and whatever is wired to it.
#[derive(Debug)]
pub struct Internet {
    name: NamespaceName,
    namespace: Namespace,
    machines: u8,
}

/// A machine.
#[derive(Debug)]
pub struct Machine {
    name: NamespaceName,
    namespace: Namespace,
    address: Ipv4Addr,
    holder: Child,
}

impl Internet {
    /// Where somebody answers, and tells names by TCP if a trial lets it.
    pub const STRANGER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

    /// An internet that goes with `folder`, which a guard clears away. None, and a loud word about it, where this cannot
    /// be had.
    ///
    /// # Errors
    /// When it can be had and is not made.
    pub fn make(trial: &str, folder: &Path) -> Result<Option<Self>> {
        if !host::process::is_root() {
            skipped(trial, "this needs root");
            return Ok(None);
        }
        let (name, namespace) = make_namespace(folder)?;
        let internet = Self { name, namespace, machines: 0 };
        let usable = internet.namespace.enter_blocking(|inside| Nft::open(inside).map(drop))?;
        if let Err(missing) = usable {
            skipped(trial, &missing.to_string());
            return Ok(None);
        }
        internet.namespace.enter_blocking(|inside| {
            sysctl::write(inside, &"net/ipv4/ip_forward".parse()?, "1")?;
            let mut stack = Stack::open(inside)?;
            stack.set_up(&LinkName::loopback())?;
            anyhow::Ok(stack.add_address(&LinkName::loopback(), IpAddr::V4(Self::STRANGER).into())?)
        })??;
        Ok(Some(internet))
    }

    /// Its namespace.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Gives it further addresses, where somebody of the trial's may listen.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn decoys(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        on_stack(&self.namespace, |stack| {
            let decoy =
                |address: &Ipv4Addr| stack.add_address(&LinkName::loopback(), IpAddr::V4(*address).into());
            addresses.iter().try_for_each(decoy)
        })
    }

    /// A machine that is wired to it and reaches everything through it; it goes with `folder`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn machine(&mut self, folder: &Path) -> Result<Machine> {
        self.machines += 1;
        let number = self.machines;
        let (gateway, address) = (Ipv4Addr::new(93, 184, number, 1), Ipv4Addr::new(93, 184, number, 99));
        let (name, namespace) = make_namespace(folder)?;
        let (near, far) = (end("eth0", number, 1)?, end(&format!("wan{number}"), number, 2)?);
        on_stack(&namespace, |stack| {
            stack.create_veth(&near, &far, &self.namespace)?;
            stack.set_up(&LinkName::loopback())
        })?;
        bring_up(&self.namespace, &far.name, gateway)?;
        bring_up(&namespace, &near.name, address)?;
        let route = NewRoute {
            destination: "0.0.0.0/0".parse()?,
            via: Some(IpAddr::V4(gateway)),
            link: near.name.clone(),
        };
        on_stack(&namespace, |stack| stack.add_route(&route))?;
        let holder = hold(&name, folder)?;
        Ok(Machine { name, namespace, address, holder })
    }
}

/// Keeps a mount namespace for a machine.
fn hold(name: &NamespaceName, folder: &Path) -> Result<Child> {
    std::fs::write(folder.join("resolv.conf"), format!("nameserver {}\n", Internet::STRANGER))?;
    let mut holder = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{name}"))
        .args(["--", "unshare", "--mount", "--propagation", "slave", "sh", "-c", HOLDER])
        .env("FOLDER", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("`nsenter` and `unshare` of util-linux are needed")?;
    let stdout = holder.stdout.take().context("its stdout is a pipe")?;
    let mut said = String::new();
    BufReader::new(stdout).read_line(&mut said)?;
    ensure!(said == "ready\n", "the machine's names cannot be kept apart");
    Ok(holder)
}

impl Machine {
    /// Its own address on the internet.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its network.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A command that runs on it, in `folder`.
    #[must_use]
    pub fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net", "--mount", "--"]);
        command.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(folder).arg(program);
        command
    }

    /// The names of the network namespaces that it keeps.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(self.path_of(""))?.flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// The network namespace that it keeps under a name. While it is held it lives on.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(&self, name: &str) -> Result<Namespace> {
        self.opener(name)()
    }

    /// What opens the network namespace that it keeps under a name, each time the one that is there then.
    pub fn opener(&self, name: &str) -> impl Fn() -> Result<Namespace> + Send + use<> {
        let (path, name) = (self.path_of(name), name.to_owned());
        move || {
            let file = File::open(&path).with_context(|| format!("no namespace `{name}`"))?;
            Ok(Namespace::from_file(file.into(), &name)?)
        }
    }

    /// The number of the network namespace that it keeps under a name, as `/proc/PID/ns/net` has it.
    ///
    /// # Errors
    /// When there is none.
    pub fn number_of(&self, name: &str) -> Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        Ok(std::fs::metadata(self.path_of(name)).with_context(|| format!("no namespace `{name}`"))?.ino())
    }

    /// Names as the machine sees them.
    fn path_of(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/run/netns", self.holder.id())).join(name)
    }

    /// Whether nothing of ours is left in its network, and no name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let mut left = self.names()?;
        let links = on_stack(&self.namespace, |stack| stack.links())?;
        left.extend(
            links.into_iter().map(|link| link.name).filter(|name| !["lo", "eth0"].contains(&name.as_str())),
        );
        let tables = self.namespace.enter_blocking(|inside| {
            let mut nftables = host::network::nftables::Nftables::open(inside)?;
            nftables.tables()
        })??;
        left.extend(tables.into_iter().map(|table| format!("{} {}", table.family, table.name)));
        Ok(left)
    }

    /// Waits until nothing of ours is left.
    ///
    /// # Errors
    /// When something stays, or it cannot be read.
    pub async fn is_clean(&self, limit: std::time::Duration) -> Result<()> {
        let clean = async || self.leftovers().is_ok_and(|left| left.is_empty());
        ensure!(wait_until(limit, clean).await, "left behind: {:?}", self.leftovers()?);
        Ok(())
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        // A failure here must not hide the trial's own; the guard tries again.
        let _gone = Namespace::remove(&self.name);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _already_gone = self.holder.kill();
        let _already_gone = self.holder.wait();
        let _gone = Namespace::remove(&self.name);
    }
}

/// A namespace with a name that no other trial has, which the guard of `folder` knows before it is there.
fn make_namespace(folder: &Path) -> Result<(NamespaceName, Namespace)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name: NamespaceName = format!("palisade-trial-{}-host-{count}", std::process::id()).parse()?;
    let mut names = File::options().create(true).append(true).open(folder.join(NAMESPACES))?;
    writeln!(names, "{name}")?;
    let namespace = Namespace::create(&name, &tag()?)?;
    Ok((name, namespace))
}

fn tag() -> Result<Tag> {
    Ok("palisade restricted=true tenant=trial".parse()?)
}

fn end(name: &str, machine: u8, side: u8) -> Result<VethEnd> {
    Ok(VethEnd { name: name.parse()?, tag: tag()?, mac: Mac([2, 0, 0, 1, machine, side]), mtu: MTU })
}

fn bring_up(namespace: &Namespace, link: &LinkName, address: Ipv4Addr) -> Result<()> {
    let address = format!("{address}/24").parse()?;
    on_stack(namespace, |stack| {
        stack.add_address(link, address)?;
        stack.set_up(link)
    })
}

fn on_stack<T: Send>(
    namespace: &Namespace,
    work: impl FnOnce(&mut Stack<'_>) -> Result<T, StackError> + Send,
) -> Result<T> {
    Ok(namespace.enter_blocking(|inside| work(&mut Stack::open(inside)?))??)
}
