//! What a child becomes between fork and exec. The standard library would change the user first, and after that no
//! group, network or view could be entered any more.

use super::view::Mounts;
use super::{Lifetime, Network, Spawn, SpawnError, is_root};
use crate::confine::cgroup::Entrance;
use crate::network::unshare_network;
use rustix::fs::Mode;
use rustix::process::{Gid, Pid, Signal, Uid};
use rustix::thread::{CapabilitySet, LinkNameSpaceType};
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::fd::AsFd as _;

/// The lowest file that a child does not get: its own three are below.
const FIRST_OTHER_FILE: libc::c_uint = 3;

/// What a child becomes.
pub(super) struct Birth {
    group: Option<Entrance>,
    network: Network,
    mounts: Option<Mounts>,
    lifetime: Lifetime,
    drops_groups: bool,
    gid: Option<Gid>,
    uid: Option<Uid>,
    parent: Pid,
    tell: PipeWriter,
}

/// Where the child says what it failed at: the standard library passes on no more than an error's number.
pub(super) struct Told(PipeReader);

#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Step {
    Files,
    Group,
    Network,
    View,
    User,
    Privileges,
    Lifetime,
}

impl Step {
    const NAMES: [(Self, &'static str); 7] = [
        (Self::Files, "keeping files from it"),
        (Self::Group, "its control group"),
        (Self::Network, "its network"),
        (Self::View, "its view of the files"),
        (Self::User, "its user"),
        (Self::Privileges, "its privileges"),
        (Self::Lifetime, "its parent's end"),
    ];
}

impl Told {
    /// What the child failed at, after it did; none if that was the program itself.
    pub(super) fn failed_at(mut self) -> Option<&'static str> {
        // It wrote before it ended. Another child that is being born may hold the other end for a moment more.
        rustix::io::ioctl_fionbio(&self.0, true).ok()?;
        let mut number = [0];
        self.0.read_exact(&mut number).ok()?;
        let [number] = number;
        Step::NAMES.into_iter().find(|(step, _)| *step as u8 == number).map(|(_, name)| name)
    }
}

impl Birth {
    pub(super) fn of(spawn: &Spawn) -> Result<(Self, Told), SpawnError> {
        let failed = |source| SpawnError::View { program: spawn.program.clone(), source };
        let mounts = spawn.view.as_ref().map(|view| view.mounts(&spawn.cwd)).transpose().map_err(failed)?;
        let (told, tell) = io::pipe().map_err(|source| SpawnError::Start {
            program: spawn.program.clone(),
            step: None,
            source,
        })?;
        let birth = Self {
            group: spawn.group.clone(),
            network: spawn.network.clone(),
            mounts,
            lifetime: spawn.lifetime,
            // Who may not change its groups (anyone but root) keeps them; who drops root drops those too.
            drops_groups: spawn.uid.is_some() && is_root(),
            gid: spawn.gid.map(Gid::from_raw),
            uid: spawn.uid.map(Uid::from_raw),
            parent: rustix::process::getpid(),
            tell,
        };
        Ok((birth, Told(told)))
    }

    /// Runs in the child, just before the program.
    pub(super) fn complete(&self) -> io::Result<()> {
        self.taken(Step::Files, no_other_files)?;
        self.taken(Step::Group, || self.group.as_ref().map_or(Ok(()), Entrance::enter))?;
        self.taken(Step::Network, || self.enter_network())?;
        self.taken(Step::View, || self.mounts.as_ref().map_or(Ok(()), Mounts::enter))?;
        self.taken(Step::User, || self.become_user())?;
        self.taken(Step::Privileges, || Ok(rustix::thread::set_no_new_privs(true)?))?;
        match self.lifetime {
            Lifetime::Own => Ok(()),
            Lifetime::WithParent => self.taken(Step::Lifetime, || self.die_with_parent()),
        }
    }

    fn taken(&self, step: Step, take: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        take().inspect_err(|_| {
            // Without it, the error is told all the same.
            let _ = rustix::io::write(&self.tell, &[step as u8]);
        })
    }

    fn enter_network(&self) -> io::Result<()> {
        match &self.network {
            Network::Inherited => Ok(()),
            Network::Fresh => unshare_network(),
            Network::Of(namespace) => {
                let network = Some(LinkNameSpaceType::Network);
                Ok(rustix::thread::move_into_link_name_space(namespace.as_fd(), network)?)
            }
        }
    }

    fn become_user(&self) -> io::Result<()> {
        if self.uid.is_some_and(|uid| !uid.is_root()) {
            // While there is still a right to: not even a program of root's could get one back.
            crate::confine::bound_capabilities(CapabilitySet::empty())?;
        }
        if let Some(gid) = self.gid {
            rustix::thread::set_thread_gid(gid)?;
        }
        if self.drops_groups {
            rustix::thread::set_thread_groups(&[])?;
        }
        if let Some(uid) = self.uid {
            rustix::thread::set_thread_uid(uid)?;
        }
        rustix::process::umask(Mode::from_raw_mode(0o077));
        Ok(())
    }

    /// Set after the change of user, which clears it.
    fn die_with_parent(&self) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have died before the line above took effect.
        let alive = rustix::process::getppid() == Some(self.parent);
        if alive { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

/// The program gets none but its own three: one that the parent got from its own starter may be a folder, from which
/// there is a way out of any view.
fn no_other_files() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no library has this call yet")]
    // SAFETY: files are marked to close when the program begins, and none is closed before: what this process uses
    // until then stays open.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST_OTHER_FILE,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
        )
    };
    match (done, io::Error::last_os_error()) {
        (0, _) => Ok(()),
        // Linux before 5.11: what this process opens itself is marked anyway.
        (_, error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => Ok(()),
        (_, error) => Err(error),
    }
}
