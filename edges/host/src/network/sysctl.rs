//! Switches of the kernel's network, per namespace (`/proc/sys/net`).

use super::namespace::Inside;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest value that is read.
const VALUE_MAX: u64 = 4_096;

/// The path of a switch below `/proc/sys`, such as `net/ipv4/conf/eth0/rp_filter`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sysctl(String);

/// Says why a switch could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// It is not the name of one.
    #[error("`{0}` is not a switch of the network: `net/` and parts of letters, digits, `_`, `-` or `.`")]
    Malformed(String),
    /// The kernel has it not: its module is not loaded, or there is no such link.
    #[error("the kernel has no switch `{0}`")]
    Absent(Sysctl),
    /// The kernel refuses.
    #[error("cannot {deed} the switch `{sysctl}`: {source}")]
    Refused {
        /// What was tried.
        deed: &'static str,
        /// Which one.
        sysctl: Sysctl,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl FromStr for Sysctl {
    type Err = SysctlError;

    fn from_str(text: &str) -> Result<Self, SysctlError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let part = |part: &str| !part.starts_with('.') && !part.is_empty() && part.bytes().all(plain);
        // INVARIANT: below `/proc/sys/net`, with no way up.
        let good = text.len() <= 128 && text.starts_with("net/") && text.split('/').all(part);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(SysctlError::Malformed(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Sysctl {
    fn path(&self) -> PathBuf {
        Path::new("/proc/sys").join(&self.0)
    }

    fn refused(&self, deed: &'static str) -> impl FnOnce(io::Error) -> SysctlError {
        move |source| match source.kind() {
            io::ErrorKind::NotFound => SysctlError::Absent(self.clone()),
            _ => SysctlError::Refused { deed, sysctl: self.clone(), source },
        }
    }
}

/// Reads a switch of the namespace, without its line end.
///
/// # Errors
/// When the kernel has it not or refuses.
pub fn read(_inside: &Inside, sysctl: &Sysctl) -> Result<String, SysctlError> {
    let read = || {
        let mut value = String::new();
        std::fs::File::open(sysctl.path())?.take(VALUE_MAX).read_to_string(&mut value)?;
        Ok(value)
    };
    let value = read().map_err(sysctl.refused("read"))?;
    Ok(value.trim_end().to_owned())
}

/// Writes a switch of the namespace.
///
/// # Errors
/// When the kernel has it not or refuses.
pub fn write(_inside: &Inside, sysctl: &Sysctl, value: &str) -> Result<(), SysctlError> {
    let write = || {
        // One write: the kernel takes each as a whole value.
        std::fs::OpenOptions::new()
            .write(true)
            .open(sysctl.path())?
            .write_all(format!("{value}\n").as_bytes())
    };
    write().map_err(sysctl.refused("write"))
}

/// A switch that stays open, to be looked at often: from any thread, without a look-up, and without holding its
/// namespace.
#[derive(Debug)]
pub struct Held {
    sysctl: Sysctl,
    file: std::fs::File,
}

impl Held {
    /// Opens a switch of the namespace.
    ///
    /// # Errors
    /// When the kernel has it not or refuses.
    pub fn open(_inside: &Inside, sysctl: Sysctl) -> Result<Self, SysctlError> {
        let file = std::fs::File::open(sysctl.path()).map_err(sysctl.refused("open"))?;
        Ok(Self { sysctl, file })
    }

    /// Whether it stands at `value`.
    ///
    /// # Errors
    /// When the kernel has it no more, for its link or namespace is gone.
    pub fn is(&self, value: &str) -> Result<bool, SysctlError> {
        let mut text = [0; 64];
        let read = self.file.read_at(&mut text, 0).map_err(self.sysctl.refused("read"))?;
        Ok(text.get(..read).is_some_and(|text| text.trim_ascii_end() == value.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_switches_of_the_network_can_be_named() {
        for good in
            ["net/ipv4/ip_forward", "net/ipv4/conf/eth0.7/rp_filter", "net/netfilter/nf_conntrack_tcp_loose"]
        {
            assert_eq!(good.parse::<Sysctl>().unwrap().to_string(), good);
        }
        for bad in
            ["", "net", "kernel/hostname", "net/../kernel/hostname", "net//x", "net/x/", "/net/x", "net/ x"]
        {
            assert!(bad.parse::<Sysctl>().is_err(), "{bad}");
        }
    }
}
