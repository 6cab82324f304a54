//! Queries as they come to the control plane: one question each, and nothing beside it.

use crate::answer::ANSWER_MAX;
use crate::host_name::HostName;
use crate::outcome::Outcome;
use crate::wire::{self, WriteError};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Question};
use hickory_proto::rr::{DNSClass, RecordType};

/// The largest query, in bytes: a name takes 255, its header and an EDNS record a few more (RFC 1035 sections 2.3.4
/// and 4.2.1).
pub const QUERY_MAX: usize = 512;

/// What an answer with EDNS says of our own limit for datagrams, of which none come; the least that is common.
const DATAGRAM_MAX: u16 = 1_232;

/// A query that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    id: u16,
    op_code: OpCode,
    recursion_desired: bool,
    checking_disabled: bool,
    /// The version of EDNS, if the query has it (RFC 6891).
    edns: Option<u8>,
    question: Question,
}

/// Says why bytes are no query. Whoever sent them gets no DNS answer (RFC 8484 section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It is too large.
    #[error("a query has at most {QUERY_MAX} bytes")]
    TooLarge,
    /// It is no DNS message, or bytes follow it.
    #[error("it is not one whole DNS message (RFC 1035)")]
    Malformed,
    /// It is an answer.
    #[error("it is an answer, not a query")]
    Answer,
    /// It asks nothing, or several things.
    #[error("a query asks one question, not {0}")]
    Questions(u16),
    /// It brings records.
    #[error("a query brings no records but one for EDNS")]
    Records,
}

/// What a query wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The IPv4 addresses of a host.
    Addresses(HostName),
    /// Nothing that anybody needs to be asked for.
    Settled(Outcome),
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn read(bytes: &[u8]) -> Result<Self, QueryError> {
        if bytes.len() > QUERY_MAX {
            return Err(QueryError::TooLarge);
        }
        let counts = wire::counts(bytes).ok_or(QueryError::Malformed)?;
        if counts.questions != 1 {
            return Err(QueryError::Questions(counts.questions));
        }
        if counts.answers > 0 || counts.authorities > 0 || counts.additionals > 1 {
            return Err(QueryError::Records);
        }
        let message = wire::read(bytes).ok_or(QueryError::Malformed)?;
        match message.message_type {
            MessageType::Query => {}
            MessageType::Response => return Err(QueryError::Answer),
        }
        if !message.additionals.is_empty() || message.signature.is_some() {
            return Err(QueryError::Records);
        }
        let metadata = message.metadata;
        let edns = message.edns.as_ref().map(Edns::version);
        Ok(Self {
            id: metadata.id,
            op_code: metadata.op_code,
            recursion_desired: metadata.recursion_desired,
            checking_disabled: metadata.checking_disabled,
            edns,
            question: message.queries.into_iter().next().ok_or(QueryError::Malformed)?,
        })
    }

    /// What it wants.
    #[must_use]
    pub fn ask(&self) -> Ask {
        if self.edns.is_some_and(|version| version > 0) {
            return Ask::Settled(Outcome::BadVersion);
        }
        if self.op_code != OpCode::Query || self.question.query_class != DNSClass::IN {
            return Ask::Settled(Outcome::NotImplemented);
        }
        match self.question.query_type {
            RecordType::A => match HostName::of(&self.question.name) {
                Ok(host) => Ask::Addresses(host),
                Err(_) => Ask::Settled(Outcome::Refused),
            },
            // Tenants' networks have no IPv6, so that nothing could be done with one.
            RecordType::AAAA => Ask::Settled(Outcome::NoAddress),
            _ => Ask::Settled(Outcome::NotImplemented),
        }
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// [`WriteError`]; no outcome within its bounds is too large.
    pub fn answer(&self, outcome: &Outcome) -> Result<Vec<u8>, WriteError> {
        let mut message = Message::response(self.id, self.op_code);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.recursion_available = true;
        message.metadata.response_code = outcome.code();
        message.add_query(self.question.clone());
        if let Outcome::Found(found) = outcome {
            message.add_answers(found.records(&self.question.name));
        }
        if self.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(DATAGRAM_MAX);
            message.set_edns(edns);
        }
        wire::write(&message, ANSWER_MAX)
    }
}
