//! What a run asks of the world, and what the world answers.

use super::problem::RunFault;

/// What must happen next.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Make an HTTP call, then reply with [`Reply::Http`].
    Http(HttpCall),
    /// Wait, then reply with [`Reply::Waited`].
    Wait {
        /// How long, in milliseconds.
        ms: u64,
        /// The task execution that waits.
        step: u64,
    },
    /// The run has ended well, with this output.
    Completed(serde_json::Value),
    /// The run has failed.
    Faulted(RunFault),
}

/// An HTTP call: always `https`, to a host that [`crate::Workflow::hosts`] lists, without following redirects.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCall {
    /// The method, in capitals.
    pub method: String,
    /// The absolute URL.
    pub url: String,
    /// Header names in lowercase, and their values.
    pub headers: Vec<(String, String)>,
    /// The body: JSON, or the text itself if it is a text and `content-type` is not JSON.
    pub body: Option<serde_json::Value>,
    /// What of the response becomes the task's output.
    pub output: HttpOutput,
    /// How long the call may take, in milliseconds.
    pub timeout_ms: u64,
    /// The task execution that calls; each has its own number.
    pub step: u64,
    /// The task as a JSON pointer into the document.
    pub task: String,
}

/// What of a response becomes a task's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpOutput {
    /// The content: JSON as a value, text as a text, anything else in base64.
    Content,
    /// Request, status, headers and content.
    Response,
    /// The content in base64.
    Raw,
}

/// What the world answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Begins the run.
    Start,
    /// The answer to [`Effect::Http`].
    Http(Result<HttpReply, HttpFailure>),
    /// The answer to [`Effect::Wait`].
    Waited,
}

/// An HTTP response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// Header names in lowercase, and their values.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Vec<u8>,
}

/// An HTTP call without a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpFailure {
    /// A stable code, such as `connect`, `tls`, `denied` or `timeout`.
    pub code: &'static str,
}

impl HttpFailure {
    /// The code of a call that took longer than its `timeout_ms`; it fails the task as a timeout.
    pub const TIMEOUT: &'static str = "timeout";
}
