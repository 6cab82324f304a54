//! Capabilities: all given up but some (capabilities(7)).

use super::{ConfineError, alone};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;

/// Gives up every capability but `kept`, for good, programs that are started later included. `kept` must be held.
///
/// # Errors
/// When other threads run already, or the kernel refuses.
pub fn keep_capabilities(kept: CapabilitySet) -> Result<(), ConfineError> {
    let wall = "capabilities";
    alone(wall)?;
    keep_thread_capabilities(kept).map_err(|source| ConfineError::Refused { wall, source })
}

/// Like [`keep_capabilities`], for the calling thread alone and those that it starts later.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_thread_capabilities(kept: CapabilitySet) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    bound_capabilities(kept)?;
    rustix::thread::clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Takes every other capability out of the bounding set: a program of root's would get them back from there.
pub(crate) fn bound_capabilities(kept: CapabilitySet) -> io::Result<()> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(one) {
            continue;
        }
        match rustix::thread::capability_is_in_bounding_set(one) {
            // The kernel's last capability was the one before.
            Err(Errno::INVAL) => return Ok(()),
            Ok(false) => {}
            Ok(true) => match rustix::thread::remove_capability_from_bounding_set(one) {
                // Who may not change the set was not root: with no new privileges, nothing can come from it.
                Ok(()) | Err(Errno::PERM) => {}
                Err(errno) => return Err(errno.into()),
            },
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_gone_from_every_set() {
        if !crate::process::is_root() {
            return;
        }
        let (before, after) = on_own_thread(|| {
            let before = status("CapEff");
            keep_thread_capabilities(CapabilitySet::NET_ADMIN).unwrap();
            (before, ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"].map(status))
        });
        assert_ne!(before, "0000000000001000");
        assert_eq!(
            after,
            [
                "0000000000000000",
                "0000000000001000",
                "0000000000001000",
                "0000000000001000",
                "0000000000000000",
                "1"
            ]
        );
    }

    #[test]
    fn who_has_nothing_to_give_up_succeeds() {
        let after = on_own_thread(|| {
            keep_thread_capabilities(CapabilitySet::empty()).unwrap();
            keep_thread_capabilities(CapabilitySet::empty()).unwrap();
            status("CapPrm")
        });
        assert_eq!(after, "0000000000000000");
    }

    fn on_own_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(work).join().unwrap()
    }

    fn status(key: &str) -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().to_owned()
    }
}
