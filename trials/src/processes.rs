//! Processes as the kernel shows them (proc(5)), and signals to them.

use anyhow::Result;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A process of a site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// The program's name, such as `palisade-control`; `palisade-keeper` for a node's program that keeps networks.
    pub name: String,
    /// Its id.
    pub pid: u32,
    /// The user that it runs as.
    pub uid: u32,
}

/// Every process whose command line names something in `folder`, by name. One that has ended and was not
/// waited for has no command line and does not count.
#[must_use]
pub fn running_in(folder: &Path) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<Process> = pids.filter_map(|pid| look_at(pid, folder)).collect();
    found.sort();
    found
}

fn look_at(pid: u32, folder: &Path) -> Option<Process> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let mut arguments = line.split('\0');
    let program = arguments.next()?;
    let name = match arguments.next() {
        Some("keeper") => "palisade-keeper",
        _ => Path::new(program).file_name()?.to_str()?,
    };
    let is_ours = name.starts_with("palisade") && line.contains(&*folder.to_string_lossy());
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let uid = uid.split_ascii_whitespace().nth(1)?.parse().ok()?;
    is_ours.then(|| Process { name: name.to_owned(), pid, uid })
}

/// Sends a signal by name (`KILL`, `TERM`, `STOP`, `CONT`) to a process.
///
/// # Errors
/// When `kill` cannot be run.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status()?;
    Ok(())
}

/// Looks each 50 ms until `is_so`, for at most `limit`. Says whether it came to be.
pub async fn wait_until(limit: Duration, mut is_so: impl AsyncFnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if is_so().await {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
