//! Which walls stand around a process, and all that a server can build around itself.

use super::cgroup;
use super::{CapabilitySet, ConfineError, Wall, keep_capabilities, only_calls_of_a_server, only_tcp_ports};
use crate::files::{self, FileError};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The file in a process's folder that says which walls it stands behind.
pub const WALLS_FILE: &str = "walls.json";

/// Which walls stand around a process.
#[expect(clippy::struct_excessive_bools, reason = "each wall stands or not, whatever the others do")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Walls {
    /// No program that it might start has more rights than it has.
    pub no_new_privs: bool,
    /// It has no capability.
    pub capabilities_empty: bool,
    /// The kernel refuses it the calls that a server does not make.
    pub seccomp: bool,
    /// The kernel lets it bind and connect to its TCP ports alone.
    pub landlock_tcp: bool,
    /// It sees its own files and the system's, and no others.
    pub mount_view: bool,
    /// It is in a group with limits of memory, CPU and processes.
    pub cgroup: bool,
}

impl Walls {
    /// Builds around this process what a server can build itself: no capability, no TCP ports but to `bind` and to
    /// `connect`, no calls but a server's. Says once, in the log, what stands and what is missing.
    ///
    /// # Errors
    /// When other threads run already, or the kernel refuses a wall that it has.
    pub fn raise(bind: &[u16], connect: &[u16]) -> Result<Self, ConfineError> {
        keep_capabilities(CapabilitySet::empty())?;
        let ports = only_tcp_ports(bind, connect)?;
        let calls = only_calls_of_a_server()?;
        for (wall, built) in [("landlock_tcp", &ports), ("seccomp", &calls)] {
            if let Wall::Absent { why } = built {
                tracing::warn!(wall, why, "a wall is missing");
            }
        }
        let shown = Self::around(std::process::id());
        let shown = shown.map_err(|source| ConfineError::Refused { wall: "all of them", source })?;
        // The kernel shows no process's rules for ports: only who made them knows.
        let walls = Self { landlock_tcp: ports == Wall::Raised, ..shown };
        tracing::info!(?walls, "confined");
        Ok(walls)
    }

    /// The walls around process `pid` as the kernel shows them, whatever that process says. `landlock_tcp`, which it
    /// shows nobody, is false.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn around(pid: u32) -> io::Result<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let status = Status(&read("status")?);
        Ok(Self {
            no_new_privs: status.is("NoNewPrivs", |value| value == "1"),
            capabilities_empty: ["CapInh", "CapPrm", "CapEff", "CapAmb"]
                .iter()
                .all(|set| status.is(set, |value| value.bytes().all(|digit| digit == b'0'))),
            // SECCOMP_MODE_FILTER
            seccomp: status.is("Seccomp", |value| value == "2"),
            landlock_tcp: false,
            mount_view: is_view(&read("mountinfo")?),
            cgroup: cgroup::is_limited(&read("cgroup")?),
        })
    }

    /// Writes them into a process's folder.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        files::write_private_atomically(&folder.join(WALLS_FILE), &text)
    }

    /// The names of the walls that are missing.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let walls = [
            ("no_new_privs", self.no_new_privs),
            ("capabilities_empty", self.capabilities_empty),
            ("seccomp", self.seccomp),
            ("landlock_tcp", self.landlock_tcp),
            ("mount_view", self.mount_view),
            ("cgroup", self.cgroup),
        ];
        walls.into_iter().filter(|(_, stands)| !stands).map(|(name, _)| name).collect()
    }
}

/// The text of `/proc/PID/status`.
struct Status<'a>(&'a str);

impl Status<'_> {
    fn is(&self, key: &str, good: impl Fn(&str) -> bool) -> bool {
        let value = |line: &str| line.strip_prefix(key)?.strip_prefix(':').map(|value| good(value.trim()));
        self.0.lines().find_map(value).unwrap_or(false)
    }
}

/// Whether a process's root is that of a view: a file system in memory that nobody writes (proc_pid_mountinfo(5)).
fn is_view(mountinfo: &str) -> bool {
    let root = |line: &&str| line.split(' ').nth(4) == Some("/");
    let view = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let read_only = place.split(' ').nth(5)?.split(',').any(|option| option == "ro");
        Some(read_only && kind.starts_with("tmpfs "))
    };
    mountinfo.lines().find(root).and_then(view).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_a_disk_or_can_be_written_is_no_view() {
        let line =
            |kind: &str, options: &str| format!("90 1 0:41 / / {options} - {kind} none rw,size=1024k\n");
        assert!(is_view(&line("tmpfs", "ro,nosuid,nodev")));
        assert!(!is_view(&line("tmpfs", "rw,nosuid")));
        assert!(!is_view(&line("ext4", "ro")));
        assert!(!is_view("91 90 0:42 / /tmp ro - tmpfs none rw\n"));
        assert!(!is_view(""));
    }

    #[test]
    fn what_stands_around_a_process_is_read_from_its_status() {
        let status =
            Status("Name:\tx\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\n");
        assert!(status.is("Seccomp", |value| value == "2"));
        assert!(!status.is("NoNewPriv", |_| true) && !status.is("Absent", |_| true));
        let own = Walls::around(std::process::id()).unwrap();
        assert!(!own.seccomp && !own.mount_view);
        assert!(Walls::around(u32::MAX).is_err());
    }

    #[test]
    fn what_is_missing_has_a_name() {
        assert_eq!(Walls::default().missing().len(), 6);
        let all = Walls { seccomp: true, cgroup: true, ..Walls::default() };
        assert_eq!(all.missing(), ["no_new_privs", "capabilities_empty", "landlock_tcp", "mount_view"]);
    }
}
