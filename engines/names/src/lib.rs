//! Names and addresses: which queries are taken, what an answer says of a name, which addresses are public.
//!
//! Data planes have no port 53. The control plane answers their queries over HTTPS (RFC 8484): it reads a [`Query`]
//! here, asks elsewhere what the name stands for, and writes the answer here. A data plane writes its question and
//! reads the answer with the same code, as strictly: both sides hold the other for hostile.

mod address;
mod answer;
mod cache;
mod host_name;
mod outcome;
mod query;
mod wire;

pub use address::is_public;
pub use answer::{ANSWER_MAX, AnswerError, question, read_answer};
pub use cache::Cache;
pub use host_name::{HostName, HostNameError};
pub use outcome::{ADDRESSES_MAX, ALIASES_MAX, ChainError, Found, Outcome, TTL_MAX_S};
pub use query::{Ask, QUERY_MAX, Query, QueryError};
pub use wire::WriteError;
