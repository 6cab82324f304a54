//! Where a child's stderr goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// The longest line that is copied whole; longer ones are cut into lines of this length, so that a child
/// without line breaks cannot fill the parent's memory.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Where a child's stderr goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// To the parent's stderr as it is.
    Inherit,
    /// To the parent's stderr, each line after this text.
    Prefixed(String),
    /// To the end of this file (0600), made if it is not there.
    File(PathBuf),
}

impl Output {
    /// Opens it for a child of user `uid`, who owns its own log: whoever checks it for secrets must read it.
    pub(super) fn open(&self, uid: Option<u32>) -> Result<Stdio, (PathBuf, io::Error)> {
        match self {
            Self::Inherit => Ok(Stdio::inherit()),
            Self::Prefixed(_) => Ok(Stdio::piped()),
            Self::File(path) => open_log(path, uid).map(Stdio::from).map_err(|error| (path.clone(), error)),
        }
    }
}

/// The folder may belong to the child: a link in it must not lead a privileged parent to another file.
fn open_log(path: &Path, uid: Option<u32>) -> io::Result<File> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(no_follow).open(path)?;
    if let Some(uid) = uid {
        std::os::unix::fs::fchown(&file, Some(uid), None)?;
    }
    Ok(file)
}

/// Copies lines from `source` to stderr until it ends.
pub(super) async fn copy_lines(prefix: String, source: impl AsyncRead + Unpin) {
    let mut lines = Lines::new(source);
    while let Some(line) = lines.next().await {
        let whole = [prefix.as_bytes(), &line, b"\n"].concat();
        // Nobody is left to tell that stderr is closed.
        let _ = io::stderr().lock().write_all(&whole);
    }
}

struct Lines<S> {
    source: BufReader<S>,
}

impl<S: AsyncRead + Unpin> Lines<S> {
    fn new(source: S) -> Self {
        Self { source: BufReader::with_capacity(MAX_LINE_BYTES, source) }
    }

    /// The next line without its break, at most [`MAX_LINE_BYTES`] long; none at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let seen = self.source.fill_buf().await.ok()?;
            if seen.is_empty() {
                return (!line.is_empty()).then_some(line);
            }
            let room = MAX_LINE_BYTES - line.len();
            let (part, used, ended) = match seen.iter().take(room).position(|b| *b == b'\n') {
                Some(at) => (seen.get(..at), at + 1, true),
                None => (seen.get(..room.min(seen.len())), room.min(seen.len()), false),
            };
            line.extend_from_slice(part.unwrap_or_default());
            self.source.consume(used);
            if ended || line.len() >= MAX_LINE_BYTES {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_out_whole_and_endless_ones_are_cut() {
        let text = [b"one\n\n".as_slice(), &[b'x'; MAX_LINE_BYTES + 2], b"\nlast"].concat();
        let mut lines = Lines::new(text.as_slice());
        let mut lengths = Vec::new();
        while let Some(line) = lines.next().await {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [3, 0, MAX_LINE_BYTES, 2, 4]);
    }
}
