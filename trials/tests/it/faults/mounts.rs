//! Folders that cannot be written, and disks that fill up. The site's guard unmounts what is left.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use trials::{skipped, wait_until};

/// A folder that nobody can write until this is dropped: for root, who may write anything, by its mount.
pub(crate) struct ReadOnly(PathBuf);

/// A disk of its own under a folder, which goes with its site.
pub(crate) struct SmallDisk(PathBuf);

// === impl ReadOnly ===

impl ReadOnly {
    /// None, said loudly, if this machine mounts nothing.
    pub(crate) fn make(folder: &Path) -> Option<Self> {
        let is_made = if is_root() {
            mount(&["--bind"], &[folder, folder]) && mount(&["-o", "remount,bind,ro"], &[folder])
        } else {
            set_mode(folder, 0o500)
        };
        if !is_made {
            skipped("a read-only state directory", "nothing can be mounted here");
        }
        is_made.then(|| Self(folder.to_owned()))
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // A folder that stays read-only shows itself in whatever comes next.
        let _is_undone = if is_root() { run("umount", &[], &[&self.0]) } else { set_mode(&self.0, 0o700) };
    }
}

// === impl SmallDisk ===

impl SmallDisk {
    /// More than a trial writes, besides the copies of programs that `up` makes where their folder is closed.
    const SIZE: &'static str = "1g";

    /// Puts a disk under `folder` with everything that is in it, while nothing runs there. None, said loudly, if
    /// this machine mounts nothing.
    pub(crate) fn under(folder: &Path, aside: &Path) -> Option<Self> {
        let own = folder.metadata().unwrap();
        let (mode, uid, gid) = (own.mode() & 0o777, own.uid(), own.gid());
        let options = format!("size={},mode={mode:o},uid={uid},gid={gid}", Self::SIZE);
        std::fs::rename(folder, aside).unwrap();
        std::fs::create_dir(folder).unwrap();
        if !is_root() || !mount(&["-t", "tmpfs", "-o", &options, "palisade-trial"], &[folder]) {
            skipped("a full disk", "only root can mount a disk to fill, and not everywhere");
            return None;
        }
        assert!(run("cp", &["-a"], &[&aside.join("."), folder]), "nothing was copied");
        Some(Self(folder.to_owned()))
    }

    /// Makes the disk as small as what is on it: the same as filling it, without writing a gigabyte.
    pub(crate) async fn fill(&self) {
        let is_full = wait_until(Duration::from_secs(10), async || {
            let used = output("df", &["--output=used", "-B1"], &self.0);
            let used = used.lines().last().unwrap_or_default().trim().to_owned();
            // Refused if something was written meanwhile.
            mount(&["-o", &format!("remount,size={used}")], &[&self.0])
        });
        assert!(is_full.await, "the disk cannot be made smaller");
    }

    /// Gives it its space back.
    pub(crate) fn free(&self) {
        assert!(mount(&["-o", &format!("remount,size={}", Self::SIZE)], &[&self.0]));
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn mount(arguments: &[&str], paths: &[&Path]) -> bool {
    run("mount", arguments, paths)
}

fn set_mode(folder: &Path, mode: u32) -> bool {
    std::fs::set_permissions(folder, Permissions::from_mode(mode)).is_ok()
}

fn run(program: &str, arguments: &[&str], paths: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).args(paths).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn output(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
