//! Connections between namespaces, as those in them make them.

use anyhow::Result;
use host::network::{Inside, Namespace};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What is said.
const WORDS: &[u8; 10] = b"still here";

/// An open connection out of a namespace.
///
/// # Errors
/// When it cannot be opened.
pub async fn flow(namespace: &Namespace, to: (Ipv4Addr, u16)) -> Result<TcpStream> {
    let stream = namespace.enter(move |_: &Inside| std::net::TcpStream::connect(to)).await??;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream)?)
}

/// Whether what is said through a connection is heard again in time.
pub async fn echoes(flow: &mut TcpStream, patience: Duration) -> bool {
    let exchange = async {
        flow.write_all(WORDS).await?;
        let mut heard = [0; WORDS.len()];
        flow.read_exact(&mut heard).await?;
        std::io::Result::Ok(heard == *WORDS)
    };
    matches!(tokio::time::timeout(patience, exchange).await, Ok(Ok(true)))
}
