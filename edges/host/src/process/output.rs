//! Where a child's stderr goes.

use super::log_file::LogFile;
use std::io::{self, Write as _};
use std::path::PathBuf;
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
    /// To the end of this file (0600), made if it is not there. A long one is turned over: `FILE.1` is the one before.
    File(PathBuf),
}

impl Output {
    /// Opens it for a child of user `uid`: its handle, and the log file if it is one.
    pub(super) fn open(&self, uid: Option<u32>) -> Result<(Stdio, Option<LogFile>), (PathBuf, io::Error)> {
        let path = match self {
            Self::Inherit => return Ok((Stdio::inherit(), None)),
            Self::Prefixed(_) => return Ok((Stdio::piped(), None)),
            Self::File(path) => path,
        };
        let opened = LogFile::open(path, uid).and_then(|log| Ok((log.handle()?, Some(log))));
        opened.map_err(|error| (path.clone(), error))
    }
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
