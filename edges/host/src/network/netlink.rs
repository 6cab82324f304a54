//! Netlink messages (netlink(7)): as much as this crate needs, written, sent and read back.
//!
//! The kernel's newer attributes are passed over, never an error: a newer kernel stays readable.

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What every message begins with.
const HEADER_BYTES: usize = 16;

/// What every attribute begins with.
const ATTRIBUTE_BYTES: usize = 4;

/// Room for one datagram: the kernel fills at most 32 KiB of it in a dump.
const DATAGRAM_MAX: usize = 64 * 1_024;

/// Most messages of one answer: far above 155 tenants' links and routes, far below a host's memory.
const MESSAGES_MAX: usize = 100_000;

/// The kernel answers at once; this ends a wait that a fault would make endless.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How often a list is read anew because it changed while it was read.
const DUMP_TRIES: u32 = 20;

/// Message kinds below the first of any family (`NLMSG_ERROR`, `NLMSG_DONE`).
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Flags of requests and answers (`NLM_F_..`).
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP_INTERRUPTED: u16 = 0x10;
const DUMP: u16 = 0x300;

/// Makes a new thing, and refuses if it is there (`NLM_F_CREATE | NLM_F_EXCL`).
pub(super) const CREATE: u16 = 0x600;

/// The part of a message behind its header: a fixed structure of its family, then attributes.
#[derive(Debug, Clone, Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    /// A body that begins with the family's own structure.
    pub(super) fn new(fixed: &[u8]) -> Self {
        let mut body = Self(fixed.to_vec());
        body.pad();
        body
    }

    /// Adds an attribute.
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // All values here are shorter by far; one that is not makes a message that the kernel refuses.
        let length = u16::try_from(value.len() + ATTRIBUTE_BYTES).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.pad();
        self
    }

    /// Adds a text, with the NUL at its end.
    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Adds a number.
    pub(super) fn number(self, kind: u16, number: u32) -> Self {
        self.bytes(kind, &number.to_ne_bytes())
    }

    /// Adds attributes within an attribute.
    pub(super) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind, &inner.0)
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// One message of an answer.
#[derive(Debug)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Its family's structure of `N` bytes and its attributes, if it is long enough to have them.
    pub(super) fn split<const N: usize>(&self) -> Option<(&[u8; N], Attributes<'_>)> {
        let (fixed, _) = self.0.split_first_chunk::<N>()?;
        Some((fixed, Attributes(self.0.get(N.next_multiple_of(4)..).unwrap_or_default())))
    }
}

/// The attributes of a message, in their order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes within an attribute.
    pub(super) fn within(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// The value of the first attribute of this kind.
    pub(super) fn find(self, kind: u16) -> Option<&'a [u8]> {
        let mut all = self;
        all.find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// A number of four bytes.
    pub(super) fn number(self, kind: u16) -> Option<u32> {
        number_at(self.find(kind)?, 0)
    }

    /// A text up to its NUL.
    pub(super) fn text(self, kind: u16) -> Option<String> {
        let value = self.find(kind)?;
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        Some(String::from_utf8_lossy(value.get(..end)?).into_owned())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, _) = self.0.split_first_chunk::<ATTRIBUTE_BYTES>()?;
        let [l0, l1, k0, k1] = *head;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.0.get(ATTRIBUTE_BYTES..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The two top bits say how a value is written, not what it is.
        Some((u16::from_ne_bytes([k0, k1]) & 0x3fff, value))
    }
}

/// The number of four bytes at `offset`.
pub(super) fn number_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// A socket to the kernel, in the namespace in which it was opened. While it is open, that namespace lives.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    datagram: Vec<u8>,
}

impl Socket {
    /// Opens one in the namespace of the calling thread. No protocol is the one of links and routes
    /// (`NETLINK_ROUTE`, 0).
    pub(super) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(ANSWER_MAX))?;
        Ok(Self { fd, sequence: 0, datagram: Vec::with_capacity(DATAGRAM_MAX) })
    }

    /// Sends a change and waits until it is done.
    pub(super) fn change(&mut self, kind: u16, flags: u16, body: &Body) -> io::Result<()> {
        self.exchange(kind, REQUEST | ACKNOWLEDGE | flags, body).map(|_| ())
    }

    /// Asks for one thing.
    pub(super) fn ask(&mut self, kind: u16, body: &Body) -> io::Result<Message> {
        let mut answer = self.exchange(kind, REQUEST | ACKNOWLEDGE, body)?;
        answer.pop().ok_or_else(|| io::Error::other("the kernel acknowledged without an answer"))
    }

    /// Asks for all things of a kind, until they did not change while they were read.
    pub(super) fn list(&mut self, kind: u16, body: &Body) -> io::Result<Vec<Message>> {
        for _ in 0..DUMP_TRIES {
            match self.exchange(kind, REQUEST | DUMP, body) {
                Err(error) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
                answer => return answer,
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the list changed whenever it was read"))
    }

    fn exchange(&mut self, kind: u16, flags: u16, body: &Body) -> io::Result<Vec<Message>> {
        self.sequence = self.sequence.wrapping_add(1);
        let Ok(length) = u32::try_from(HEADER_BYTES + body.0.len()) else {
            return Err(Errno::MSGSIZE.into());
        };
        let mut message = length.to_ne_bytes().to_vec();
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&body.0);
        rustix::net::send(&self.fd, &message, SendFlags::empty())?;
        let mut answer = Answer::default();
        while !answer.complete {
            self.receive()?;
            answer.read(&self.datagram, self.sequence)?;
        }
        if answer.interrupted { Err(Errno::INTR.into()) } else { Ok(answer.messages) }
    }

    /// Receives the kernel's next datagram.
    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.datagram.clear();
            let received =
                rustix::net::recvfrom(&self.fd, spare_capacity(&mut self.datagram), RecvFlags::TRUNC);
            let (_, length, from) = match received {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                other => other?,
            };
            // Any process of root may write to this socket; the kernel's own number is 0.
            let from = from.map(SocketAddrNetlink::try_from);
            if !matches!(from, Some(Ok(address)) if address.pid() == 0) {
                continue;
            }
            if length > self.datagram.len() {
                return Err(Errno::MSGSIZE.into());
            }
            return Ok(());
        }
    }
}

/// What came back so far.
#[derive(Debug, Default)]
struct Answer {
    messages: Vec<Message>,
    interrupted: bool,
    complete: bool,
}

impl Answer {
    fn read(&mut self, datagram: &[u8], sequence: u32) -> io::Result<()> {
        let mut rest = datagram;
        while let Some((head, _)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *head;
            let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
            let body = rest.get(HEADER_BYTES..length).ok_or_else(truncated)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            // An older request's answer, left behind by an error.
            if u32::from_ne_bytes([s0, s1, s2, s3]) != sequence {
                continue;
            }
            let kind = u16::from_ne_bytes([k0, k1]);
            self.interrupted |= u16::from_ne_bytes([f0, f1]) & DUMP_INTERRUPTED != 0;
            match kind {
                ERROR | DONE => {
                    self.complete = true;
                    refusal(number_at(body, 0).unwrap_or_default())?;
                }
                _ if self.messages.len() >= MESSAGES_MAX => return Err(Errno::MSGSIZE.into()),
                _ => self.messages.push(Message(body.to_vec())),
            }
        }
        Ok(())
    }
}

/// A negative errno says why; zero is an acknowledgement.
fn refusal(code: u32) -> io::Result<()> {
    let errno = code.cast_signed();
    if errno < 0 { Err(io::Error::from_raw_os_error(errno.saturating_neg())) } else { Ok(()) }
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's message ends early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_written() {
        let inner = Body::default().text(1, "veth");
        let body = Body::new(&[7; 6]).text(3, "pt1").number(4, 1_500).nested(18, &inner).bytes(1, &[1, 2, 3]);
        let message = Message(body.0);
        let (fixed, attributes) = message.split::<6>().unwrap();
        assert_eq!(fixed, &[7; 6]);
        assert_eq!(attributes.text(3).unwrap(), "pt1");
        assert_eq!(attributes.number(4), Some(1_500));
        assert_eq!(attributes.find(1), Some(&[1, 2, 3][..]));
        assert_eq!(Attributes::within(attributes.find(18).unwrap()).text(1).unwrap(), "veth");
        assert_eq!((attributes.find(99), attributes.number(1)), (None, None));
    }

    #[test]
    fn attributes_that_lie_about_their_length_end_the_list() {
        for bytes in [&[0, 0, 1, 0][..], &[3, 0, 1, 0], &[9, 0, 1, 0, 5], &[4], &[]] {
            assert_eq!(Attributes::within(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn an_answer_ends_with_its_own_acknowledgement_or_reason() {
        let acknowledged = |sequence, code: i32| message(ERROR, sequence, &code.to_ne_bytes());
        let mut answer = Answer::default();
        answer
            .read(&[message(16, 5, &[1; 16]), acknowledged(4, -1), acknowledged(5, 0)].concat(), 5)
            .unwrap();
        assert_eq!((answer.messages.len(), answer.complete), (1, true));
        let error = Answer::default().read(&acknowledged(5, -17), 5).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_message_longer_than_its_datagram_is_an_error() {
        let mut short = message(16, 1, &[0; 16]);
        short.truncate(24);
        assert!(Answer::default().read(&short, 1).is_err());
    }

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(body);
        bytes
    }
}
