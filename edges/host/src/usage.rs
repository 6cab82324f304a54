//! What a process used, as the kernel counts it (proc(5)): for metrics, metering checks and benchmarks.

use std::io;

/// Microseconds per clock tick. The kernel reports to user space in ticks of 1/100 s on every architecture
/// that Rust's standard library supports (`USER_HZ`).
const TICK_US: u64 = 10_000;

/// User and system CPU time of process `pid` with all its threads, in microseconds, in steps of 10 ms.
///
/// # Errors
/// When there is no such process, or the kernel's answer cannot be read.
pub fn cpu_time_us(pid: u32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    cpu_ticks(&stat).map(|ticks| ticks.saturating_mul(TICK_US)).ok_or_else(unreadable)
}

/// Resident memory of process `pid`, in bytes.
///
/// # Errors
/// When there is no such process, or the kernel's answer cannot be read.
pub fn rss_bytes(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    resident_kib(&status).map(|kib| kib.saturating_mul(1_024)).ok_or_else(unreadable)
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unreadable process statistics")
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    // The command name may hold spaces and brackets: fields count from the last `)`, which ends field 2.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut from_user_time = fields.split_ascii_whitespace().skip(14 - 3);
    let user: u64 = from_user_time.next()?.parse().ok()?;
    let system: u64 = from_user_time.next()?.parse().ok()?;
    user.checked_add(system)
}

fn resident_kib(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_a_missing_one_is_an_error() {
        let me = std::process::id();
        assert!(rss_bytes(me).unwrap() > 100_000);
        assert!(cpu_time_us(me).is_ok());
        assert!(rss_bytes(u32::MAX).is_err());
    }

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 9 10 11";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (a"), None);
    }
}
