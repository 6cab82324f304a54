//! Asks the runtime for its counters, over a Unix socket whose other end the kernel vouches for.

use host::peer::peer_credentials;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;
use wire::counters::{BOUNDS, REQUEST, Sample};
use wire::json::JsonError;

/// How long one sample may take. The runtime answers from memory, so that slower means stuck.
const WITHIN: Duration = Duration::from_secs(2);

/// Says why there is no sample.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// Nobody listens, or the connection broke.
    #[error("the data plane's counters cannot be read: {0}")]
    Socket(#[from] std::io::Error),
    /// Somebody else than the data plane listens.
    #[error("user `{found}` answers on the metering socket, not user `{expected}`")]
    ForeignPeer {
        /// Who should.
        expected: u32,
        /// Who does.
        found: u32,
    },
    /// The answer did not come in time.
    #[error("the data plane did not tell its counters in time")]
    Timeout,
    /// The answer is larger than a sample can be.
    #[error("the data plane's answer is larger than {} bytes", BOUNDS.bytes)]
    TooLarge,
    /// The answer is no sample.
    #[error("the data plane's answer is no sample: {0}")]
    Malformed(#[from] JsonError),
}

/// Reads the runtime's counters.
///
/// # Errors
/// [`SampleError`].
pub async fn sample(socket: &Path, data_plane_uid: u32) -> Result<Sample, SampleError> {
    timeout(WITHIN, ask(socket, data_plane_uid)).await.map_err(|_elapsed| SampleError::Timeout)?
}

async fn ask(socket: &Path, expected: u32) -> Result<Sample, SampleError> {
    let mut stream = UnixStream::connect(socket).await?;
    let found = peer_credentials(&stream)?.uid;
    if found != expected {
        return Err(SampleError::ForeignPeer { expected, found });
    }
    stream.write_all(REQUEST).await?;
    let mut line = Vec::new();
    let bound = u64::try_from(BOUNDS.bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut answer = stream.take(bound);
    while !line.ends_with(b"\n") && answer.read_buf(&mut line).await? > 0 {}
    if line.len() > BOUNDS.bytes {
        return Err(SampleError::TooLarge);
    }
    Ok(Sample::read(&line)?)
}
