//! What of this machine's files a child sees: a mount namespace with a root of its own, in which absence denies.

mod mounts;
mod plan;

use crate::confine::Wall;
use std::io;
use std::path::PathBuf;

pub(super) use mounts::Mounts;

/// What programs and their libraries read on any system: programs, libraries, certificates, names. The folders, not single files in them: a resolver's file is replaced as a whole.
const SYSTEM: [&str; 11] = [
    "/bin",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/sbin",
    "/usr",
];

/// The files of a child. What no folder here holds is not there for it, whoever may read it elsewhere. Beside them it
/// has a small `/tmp` of its own, the devices that give or take bytes, and a `/proc` without other users' processes.
///
/// The deepest folder that names a path decides. The child's working folder and its program have to be in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Folders and files that it may read, as far as their owners let it.
    pub readable: Vec<PathBuf>,
    /// Folders that it may read and write, as far as their owners let it. No program runs from there.
    pub writable: Vec<PathBuf>,
    /// Folders below those that are empty for it, if there are such.
    pub hidden: Vec<PathBuf>,
}

impl View {
    /// What programs read on any system, as far as this one has it; nothing that can be written.
    #[must_use]
    pub fn of_system() -> Self {
        let there = SYSTEM.into_iter().map(PathBuf::from).filter(|path| path.exists());
        Self { readable: there.collect(), ..Self::default() }
    }

    /// Whether this process can give children such a view: builds one around a thread that ends with it. Needs Linux
    /// 5.12 and the right to mount.
    #[must_use]
    pub fn probe() -> Wall {
        let build = || {
            let mounts = Self::of_system().mounts("/".as_ref())?;
            std::thread::Builder::new()
                .name("view".to_owned())
                .spawn(move || mounts.enter())?
                .join()
                .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        };
        match build() {
            Ok(()) => Wall::Raised,
            Err(error) => Wall::Absent { why: error.to_string() },
        }
    }
}
