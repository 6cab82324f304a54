//! Answers as a data plane reads them: to its own question, or to none.

use crate::host_name::HostName;
use crate::outcome::{ChainError, Outcome};
use crate::wire::{self, WriteError};
use hickory_proto::op::{Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::RecordType;

/// The largest answer, in bytes: eight aliases with names as long as they get, and sixteen addresses.
pub const ANSWER_MAX: usize = 4_096;

/// Over HTTPS nothing else tells two questions apart, and a fixed one lets answers be kept (RFC 8484 section 4.1).
const ID: u16 = 0;

/// Says why an answer is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is too large.
    #[error("an answer has at most {ANSWER_MAX} bytes")]
    TooLarge,
    /// It is no DNS message, or bytes follow it.
    #[error("it is not one whole DNS message (RFC 1035)")]
    Malformed,
    /// It answers nothing, or another question.
    #[error("it does not answer the question that was asked")]
    OtherQuestion,
    /// Half of it is missing.
    #[error("it was cut off, which over TCP nothing is")]
    Truncated,
    /// Its records lead nowhere.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Writes the question for the IPv4 addresses of `host`.
///
/// # Errors
/// [`WriteError`]; no host's name is too long for it.
pub fn question(host: &HostName) -> Result<Vec<u8>, WriteError> {
    let mut message = Message::new(ID, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(asked(host));
    wire::write(&message, crate::QUERY_MAX)
}

/// Reads the answer to [`question`].
///
/// # Errors
/// [`AnswerError`].
pub fn read_answer(bytes: &[u8], host: &HostName) -> Result<Outcome, AnswerError> {
    if bytes.len() > ANSWER_MAX {
        return Err(AnswerError::TooLarge);
    }
    let counts = wire::counts(bytes).ok_or(AnswerError::Malformed)?;
    if counts.questions != 1 {
        return Err(AnswerError::OtherQuestion);
    }
    let message = wire::read(bytes).ok_or(AnswerError::Malformed)?;
    let metadata = message.metadata;
    let answers_it = metadata.id == ID
        && metadata.message_type == MessageType::Response
        && metadata.op_code == OpCode::Query
        && message.queries.first() == Some(&asked(host));
    if !answers_it {
        return Err(AnswerError::OtherQuestion);
    }
    if metadata.truncation {
        return Err(AnswerError::Truncated);
    }
    match metadata.response_code {
        ResponseCode::NoError => Ok(Outcome::follow(host, &message.answers)?),
        ResponseCode::NXDomain => Ok(Outcome::NoSuchName),
        ResponseCode::Refused => Ok(Outcome::Refused),
        ResponseCode::NotImp => Ok(Outcome::NotImplemented),
        _ => Ok(Outcome::Failed),
    }
}

/// Two names are one whatever the case of their letters (RFC 4343).
fn asked(host: &HostName) -> Question {
    Question::query(host.wire().clone(), RecordType::A)
}
