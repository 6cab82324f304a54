//! DNS over HTTPS (RFC 8484), as data planes use it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Where names are asked for.
pub const PATH: &str = "/dns-query";

/// The media type of a query and of its answer (RFC 8484 section 6).
pub const MEDIA_TYPE: &str = "application/dns-message";

/// A query in a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsQuery {
    /// The DNS message in base64url, without padding.
    pub dns: String,
}

/// A DNS message (RFC 1035), as it is.
#[derive(Debug, Clone, Copy)]
pub struct DnsMessage;

impl JsonSchema for DnsMessage {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DnsMessage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentMediaType": MEDIA_TYPE })
    }
}
