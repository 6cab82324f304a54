//! A process that outlives the trial, however that ends, and clears away what it started.

use anyhow::Result;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// The file in a guarded folder that holds the names of network namespaces to remove with it.
pub(crate) const NAMESPACES: &str = "namespaces";

/// Waits for the end of its input, which comes with the end of the trial's process at the latest. Then whatever
/// still runs in the folder is stopped, and the folder is removed, with the control groups that a killed node left for the
/// tenants in it. The folder is never an argument of a
/// program that the script starts, or it would find itself.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
cat > /dev/null
running() { printf '%s' "$FOLDER" | grep -aslF -f - /proc/[0-9]*/cmdline | cut -d/ -f3; }
for signal in TERM KILL; do
  found=$(running)
  [ -z "$found" ] && break
  kill -CONT $found
  kill -$signal $found
  for _ in $(seq 100); do
    [ -z "$(running)" ] && break
    sleep 0.1
  done
done 2> /dev/null
grep -F " $FOLDER/" /proc/mounts | cut -d' ' -f2 | while read -r mounted; do umount "$mounted"; done
for zone in "$FOLDER"/*/data-* "$FOLDER"/*/meter-*; do
  find /sys/fs/cgroup -type d -path "*/palisade-*.slice/${zone##*/}" | while read -r group; do
    rmdir "$group"
    rmdir "${group%/*}"
  done
done 2> /dev/null
while read -r name; do
  umount -l "/run/netns/$name"
  rm -f "/run/netns/$name"
done < "$FOLDER/namespaces" 2> /dev/null
rm -rf "$FOLDER"
"#;

/// Clears a folder away when it is dropped, or when this process ends without dropping it.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
    input: Option<ChildStdin>,
}

impl Guard {
    /// Guards `folder` from now on.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .env("FOLDER", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let input = shell.stdin.take();
        Ok(Self { shell, input })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.input.take());
        let _already_gone = self.shell.wait();
    }
}
