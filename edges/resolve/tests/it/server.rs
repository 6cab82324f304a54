//! A name server over TCP or TLS that answers as it is told, well or badly.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record};
use rustls::ServerConfig;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What is done about a question.
pub(crate) enum Said {
    Message(Box<Message>),
    Bytes(Vec<u8>),
    Nothing,
    /// The connection is closed instead.
    Close,
    /// It is answered, and then the connection is closed.
    Last(Box<Message>),
}

pub(crate) type Script = fn(&Message) -> Said;

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    asked: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(script: Script) -> Self {
        Self::start_with(script, None).await
    }

    pub(crate) async fn start_tls(script: Script, config: Arc<ServerConfig>) -> Self {
        Self::start_with(script, Some(config.into())).await
    }

    async fn start_with(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&asked), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counts.1.fetch_add(1, Ordering::SeqCst);
                let (asked, tls) = (Arc::clone(&counts.0), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, script, &asked).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, script, &asked).await;
                            }
                        }
                    }
                });
            }
        });
        Self { addr, asked, connections }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Messages over a stream, each after its length (RFC 1035 section 4.2.2).
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Script, asked: &AtomicUsize) {
    while let Ok(length) = stream.read_u16().await {
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await.unwrap();
        asked.fetch_add(1, Ordering::SeqCst);
        let said = script(&Message::from_vec(&bytes).unwrap());
        let is_last = matches!(said, Said::Last(_));
        let bytes = match said {
            Said::Message(message) | Said::Last(message) => message.to_vec().unwrap(),
            Said::Bytes(bytes) => bytes,
            Said::Nothing => continue,
            Said::Close => return,
        };
        stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        if is_last {
            return;
        }
    }
}

/// A right answer to `question` with these records.
pub(crate) fn reply(question: &Message, records: Vec<Record>) -> Message {
    let mut message = Message::response(question.id, question.op_code);
    message.metadata.recursion_available = true;
    message.add_queries(question.queries.clone());
    message.add_answers(records);
    message
}

pub(crate) fn refusal(question: &Message, code: ResponseCode) -> Message {
    let mut message = reply(question, vec![]);
    message.metadata.response_code = code;
    message
}

pub(crate) fn asked_name(question: &Message) -> Name {
    question.queries[0].name.clone()
}

pub(crate) fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

pub(crate) fn a(owner: Name, ttl: u32, address: [u8; 4]) -> Record {
    Record::from_rdata(owner, ttl, RData::A(A(Ipv4Addr::from(address))))
}

pub(crate) fn cname(owner: Name, target: Name) -> Record {
    Record::from_rdata(owner, 60, RData::CNAME(CNAME(target)))
}
