//! Problems (RFC 9457): a stable code, the cause, the next step.

use serde::{Deserialize, Serialize};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Where codes are documented; `type` is this and the code.
const TYPE_BASE: &str = "urn:palisade:problem:";

/// A problem as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Problem {
    /// A URI for the code.
    #[serde(rename = "type")]
    pub type_: String,
    /// What the code means, the same text each time.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What was wrong this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do next.
    pub next_step: String,
    /// Faults in a document, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Seconds to wait before another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// One fault in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Fault {
    /// A stable code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// A JSON pointer (RFC 6901) into the document.
    pub pointer: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $status:literal, $title:literal, $next:literal;)*) => {
        /// Every problem code of the API. The texts are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(
            #[doc = $title]
            $name,
        )* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code's stable text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            const fn next_step(self) -> &'static str {
                match self { $(Self::$name => $next,)* }
            }
        }
    };
}

codes! {
    Unauthenticated = "unauthenticated", 401, "The request carries no valid credential",
        "Send the operator token as a bearer token, or connect with an enrolled certificate.";
    Forbidden = "forbidden", 403, "The caller may not do this",
        "Ask someone with the right role.";
    NotFound = "not_found", 404, "There is no such thing, or the caller may not see it",
        "List what there is; check the id or name.";
    MethodNotAllowed = "method_not_allowed", 405, "The route does not answer this method",
        "See /v1/openapi.json.";
    MalformedRequest = "malformed_request", 400, "The request could not be read",
        "See /v1/openapi.json for the expected shape.";
    UnsupportedMediaType = "unsupported_media_type", 415, "The body has another media type than expected",
        "Send the one that /v1/openapi.json names for the route.";
    NotAcceptable = "not_acceptable", 406, "The caller accepts no media type that this route answers with",
        "See /v1/openapi.json, and name its media type in Accept, or leave Accept out.";
    RequestTooSlow = "request_too_slow", 408, "The request's body came too slowly",
        "Send it again over a better line, or in smaller pieces.";
    BodyTooLarge = "body_too_large", 413, "The body is larger than allowed",
        "Send less in one request.";
    RateLimited = "rate_limited", 429, "The caller sends requests too fast",
        "Wait as long as Retry-After says.";
    Overloaded = "overloaded", 503, "The control plane has more work than it can take",
        "Wait as long as Retry-After says; nothing was changed.";
    Unavailable = "unavailable", 503, "A part that this request needs does not answer",
        "Try again; if it stays, look at /readyz and the logs.";
    Internal = "internal", 500, "Something went wrong inside",
        "Look at the log of the control plane; the request changed nothing.";
    InvalidCursor = "invalid_cursor", 400, "The cursor is not one that a list returned",
        "Start again without a cursor.";
    IdempotencyKeyMissing = "idempotency_key_missing", 400, "The header Idempotency-Key is missing or malformed",
        "Send an Idempotency-Key of 1 to 255 printable characters, a new one for each execution.";
    IdempotencyKeyReused = "idempotency_key_reused", 409, "The Idempotency-Key was used for another request",
        "Use a new key for a new request, or the same body for a retry.";
    TenantNameTaken = "tenant_name_taken", 409, "A tenant has this name already",
        "Choose another name, or use the tenant that there is.";
    TenantSuspended = "tenant_suspended", 409, "The tenant is suspended",
        "Resume it first: palisade tenant resume NAME.";
    TenantDeleting = "tenant_deleting", 409, "The tenant is being deleted",
        "Create a new tenant.";
    HostFull = "host_full", 409, "Every host that takes tenants has as many as it can have",
        "Add a host: palisade node enroll.";
    AllNetworksResting = "all_networks_resting", 409, "Every network that is not in use rests after its last tenant",
        "Wait until the first has rested, as the detail says, or add a host: palisade node enroll.";
    AllNetworksOverlap = "all_networks_overlap", 409, "Every network that is free overlaps a route of its host",
        "Remove the route that the detail names, or add a host: palisade node enroll.";
    NodeHasTenants = "node_has_tenants", 409, "Tenants are placed on the node",
        "Drain it first: palisade node drain ID; those that find no other host stay, and its events say why.";
    NetworksNotEnforced = "networks_not_enforced", 409, "No host keeps its tenants apart by networks",
        "Run a node as root with driver = \"linux\" in its [networks].";
    TooManyNodes = "too_many_nodes", 409, "There are as many nodes as there can be",
        "Remove one that is not needed any more: palisade node list.";
    WorkflowInvalid = "workflow_invalid", 422, "The workflow document is refused",
        "Mend the faults that are listed, each with line and column, and apply again.";
    WorkflowDisabled = "workflow_disabled", 409, "The workflow is disabled",
        "Apply a new version to enable it again.";
    TooManyVersions = "too_many_versions", 409, "The workflow has as many versions as it can have",
        "Apply it under a new name.";
    InputInvalid = "input_invalid", 422, "The input is not strict JSON within bounds",
        "Send JSON without duplicate names, at most 1 MiB and 63 levels deep.";
    LimitsInvalid = "limits_invalid", 422, "A limit is zero or over the platform's",
        "Ask for less, or leave the limits out.";
    PlanTooLarge = "plan_too_large", 422, "Workflow and input are too large for one plan",
        "Send a smaller input.";
    ExecutionEnded = "execution_ended", 409, "The execution has ended",
        "Nothing is left to do.";
    OutputNotReady = "output_not_ready", 409, "The execution has not completed",
        "Wait until it has: palisade execution show ID.";
    OutputGone = "output_gone", 410, "The data plane no longer holds the output",
        "Run the workflow again.";
    DataPlaneUnreachable = "data_plane_unreachable", 502, "The tenant's data plane does not answer",
        "Look at palisade tenant show NAME; the node restarts a data plane that stopped.";
    EnrolmentRefused = "enrolment_refused", 403, "The enrolment token is unknown, used or expired",
        "Issue a new one; each works once.";
    CertificateRequestInvalid = "certificate_request_invalid", 422, "The certificate signing request is refused",
        "Send a PEM CSR for a P-256 key, signed by that key.";
    HeartbeatRefused = "heartbeat_refused", 422, "The heartbeat is refused",
        "Its reason code says why; the refusal is recorded.";
    RotationUnderWay = "rotation_under_way", 409, "A key rotation is under way",
        "Wait until the new key is active: palisade keys list.";
    RangeInvalid = "range_invalid", 400, "The range is empty, too large or beyond the log",
        "Ask for at most 1000 leaves within the log's size.";
    ControlUnknown = "control_unknown", 404, "There is no control with this id",
        "palisade assure list shows them all.";
}

impl Problem {
    /// Builds the problem for `code`.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self {
            type_: format!("{TYPE_BASE}{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            code: code.as_str().to_owned(),
            detail: None,
            next_step: code.next_step().to_owned(),
            faults: Vec::new(),
            retry_after_s: None,
        }
    }

    /// Says what was wrong this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Lists the faults of a document.
    #[must_use]
    pub fn faults(mut self, faults: Vec<Fault>) -> Self {
        self.faults = faults;
        self
    }

    /// Says how long to wait.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl core::fmt::Display for Problem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({})", self.title, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        for fault in &self.faults {
            write!(
                f,
                "\n  line {}, column {}: {} ({})",
                fault.line, fault.column, fault.message, fault.code
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_unique_and_has_an_error_status() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|c| (400..600).contains(&c.status())));
    }
}
