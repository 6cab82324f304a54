//! Removes what a node has made of this host's networks, and nothing else: by its tag, or by its name where there can
//! be no tag.

use super::memory::{self, Memory};
use super::site::{LOG, SOCKET};
use super::{NetworksError, StepError, reading, survey};
use host::network::keeper::{FLOOR_TABLE, Keeper, TABLE};
use host::network::nftables::Nftables;
use host::network::{Claim, Inside, LinkName, Namespace, Nft, Stack, StackError, sysctl};
use network::addresses::HOST_LINK;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something that was removed, or put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// The keeper, with its namespace, its tables and every link into it.
    Keeper {
        /// Its process id.
        pid: u32,
    },
    /// A network namespace.
    Namespace(String),
    /// A link of the host.
    Link(String),
    /// A setting of the host is as it was before.
    Setting(String),
    /// A table of the host.
    Table(String),
    /// A file.
    File(PathBuf),
}

/// What became of this host's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reset {
    /// What was removed, in this order.
    pub removed: Vec<Removed>,
    /// What has a name of ours and is not ours, so it stays; each in a sentence.
    pub left: Vec<String>,
}

/// Removes everything that the node of `folder` has made of this host's networks. Twice is no more than once.
///
/// # Errors
/// When a node has the networks now, or something of ours cannot be removed.
pub async fn reset(folder: &Path) -> Result<Reset, NetworksError> {
    let host = Namespace::own()?;
    let _claim = host.enter(Claim::take).await??;
    let mut reset = Reset::default();
    // With its keeper every way to a tenant goes; what protected it goes after.
    if let Some(keeper) = Keeper::attach(folder.join(SOCKET)).await? {
        let pid = keeper.pid();
        keeper.end().await?;
        reset.removed.push(Removed::Keeper { pid });
    }
    survey::sweep(&host).await?;
    reset.namespaces().await?;
    let memory = Memory::load(folder)?;
    let forwarding = memory.switched_on().clone();
    reset = host.enter(move |inside| reset.host(inside, &forwarding)).await??;
    for file in [SOCKET, LOG, memory::FILE] {
        let path = folder.join(file);
        match std::fs::remove_file(&path) {
            Ok(()) => reset.removed.push(Removed::File(path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(reset)
}

impl Reset {
    async fn namespaces(&mut self) -> Result<(), NetworksError> {
        let names = tokio::task::spawn_blocking(|| -> Result<Vec<String>, NetworksError> {
            let mut names = Vec::new();
            for owned in Namespace::list()? {
                if reading::place_of(owned.name.as_ref()).is_some() {
                    Namespace::remove(&owned.name)?;
                    names.push(owned.name.to_string());
                }
            }
            Ok(names)
        });
        let names = names.await.map_err(std::io::Error::other)??;
        self.removed.extend(names.into_iter().map(Removed::Namespace));
        Ok(())
    }

    /// What is on the host itself: the link, then what let it forward, then what stood against that.
    fn host(mut self, inside: &Inside, forwarding: &BTreeSet<String>) -> Result<Self, StepError> {
        let mut stack = Stack::open(inside)?;
        let link: LinkName = HOST_LINK.parse()?;
        match stack.link(&link) {
            Ok(found) if found.tag().is_some() => {
                stack.delete_link(&link)?;
                self.removed.push(Removed::Link(link.to_string()));
            }
            Ok(_) => self.left.push(format!("the link `{link}` has no tag of ours")),
            Err(StackError::NoLink(_)) => {}
            Err(other) => return Err(other.into()),
        }
        for link in forwarding {
            let path = format!("net/ipv4/conf/{link}/forwarding");
            match sysctl::write(inside, &path.parse()?, "0") {
                Ok(()) => self.removed.push(Removed::Setting(path)),
                // The link went.
                Err(sysctl::SysctlError::Absent(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        let tables = Nftables::open(inside).and_then(|mut nftables| nftables.tables());
        for table in tables.map_err(host::network::NftError::Unreadable)? {
            match (table.family, table.name.as_str(), table.owner) {
                ("inet", FLOOR_TABLE, None) => {
                    Nft::open(inside)?.run(&format!("delete table inet {FLOOR_TABLE}"))?;
                    self.removed.push(Removed::Table(format!("inet {FLOOR_TABLE}")));
                }
                ("inet", name @ (TABLE | FLOOR_TABLE), _) => {
                    self.left
                        .push(format!("the table `inet {name}` belongs to another process, or to nobody"));
                }
                _ => {}
            }
        }
        Ok(self)
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keeper { pid } => {
                write!(f, "the keeper (process {pid}), its namespace, its tables and every link into it")
            }
            Self::Namespace(name) => write!(f, "the network namespace `{name}`"),
            Self::Link(name) => write!(f, "the link `{name}`"),
            Self::Setting(path) => write!(f, "the setting `{path}`, which is 0 again"),
            Self::Table(name) => write!(f, "the table `{name}`"),
            Self::File(path) => write!(f, "the file `{}`", path.display()),
        }
    }
}
