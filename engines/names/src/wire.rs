//! Messages as bytes (RFC 1035), read whole or not at all.

use hickory_proto::op::Message;
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

/// Bytes of a message's header.
const HEADER: usize = 12;

/// How many questions, answers, authorities and additional records a message says that it has.
pub(crate) struct Counts {
    pub(crate) questions: u16,
    pub(crate) answers: u16,
    pub(crate) authorities: u16,
    pub(crate) additionals: u16,
}

/// Says that a message cannot be written, or would be too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be written")]
pub struct WriteError;

/// Reads the counts alone: the library makes room for as many questions as the header claims, so that they are
/// looked at first.
pub(crate) fn counts(bytes: &[u8]) -> Option<Counts> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let [_, _, _, _, q1, q2, an1, an2, ns1, ns2, ar1, ar2] = *header;
    Some(Counts {
        questions: u16::from_be_bytes([q1, q2]),
        answers: u16::from_be_bytes([an1, an2]),
        authorities: u16::from_be_bytes([ns1, ns2]),
        additionals: u16::from_be_bytes([ar1, ar2]),
    })
}

/// Reads a message that ends where its bytes do.
pub(crate) fn read(bytes: &[u8]) -> Option<Message> {
    let mut decoder = BinDecoder::new(bytes);
    let message = Message::read(&mut decoder).ok()?;
    decoder.is_empty().then_some(message)
}

/// Writes a message of at most `max` bytes.
pub(crate) fn write(message: &Message, max: usize) -> Result<Vec<u8>, WriteError> {
    message.to_vec().ok().filter(|bytes| bytes.len() <= max).ok_or(WriteError)
}
