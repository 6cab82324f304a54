//! Who is at the other end of a Unix socket: the kernel says so, the peer cannot.

use std::io;
use tokio::net::UnixStream;

/// The peer's identity when it connected (`SO_PEERCRED`, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
    /// Its process id; it may have ended since.
    pub pid: u32,
}

/// Asks the kernel who is at the other end of `stream`.
///
/// # Errors
/// When the kernel does not say, or says no process id: a peer outside this process namespace.
pub fn peer_credentials(stream: &UnixStream) -> io::Result<PeerCredentials> {
    let known = stream.peer_cred()?;
    let pid = known.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
    let pid = pid.ok_or_else(|| io::Error::other("the peer has no process id here"))?;
    Ok(PeerCredentials { uid: known.uid(), gid: known.gid(), pid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_names_this_process_as_its_own_peer() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = peer_credentials(&one).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    }
}
