//! Ids: one type per noun, all `UUIDv7` (RFC 9562), so that they sort by the time of their birth.

use crate::Timestamp;

/// Says why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {noun} id (a lowercase, hyphenated UUID)")]
pub struct IdError {
    noun: &'static str,
    text: String,
}

/// The longest part of a bad id that an error repeats.
const ECHO_MAX: usize = 64;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $noun:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// Mints an id from the time and ten bytes of entropy.
            #[must_use]
            pub fn mint(now: Timestamp, entropy: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(now.unix_ms_unsigned(), &entropy).into_uuid())
            }

            /// Builds an id from its sixteen bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(uuid::Uuid::from_bytes(bytes))
            }

            /// The sixteen bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.as_hyphenated())
            }
        }

        impl core::str::FromStr for $name {
            type Err = IdError;

            /// Reads the canonical form only: 36 characters, lowercase, hyphenated.
            fn from_str(text: &str) -> Result<Self, IdError> {
                let refused = || IdError { noun: $noun, text: text.chars().take(ECHO_MAX).collect() };
                let canonical = text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase());
                if !canonical {
                    return Err(refused());
                }
                uuid::Uuid::try_parse(text).map(Self).map_err(|_| refused())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": "uuid" })
            }
        }
    )*};
}

ids! {
    /// A customer.
    TenantId = "tenant";
    /// A workflow, over all its versions.
    WorkflowId = "workflow";
    /// One run of a workflow.
    ExecutionId = "execution";
    /// One plan: the `jti` of its token.
    PlanId = "plan";
    /// One metering sidecar, from enrolment to the end of its key.
    SidecarId = "sidecar";
    /// One host's agent.
    NodeId = "node";
    /// One person or machine that holds an operator token.
    OperatorId = "operator";
    /// One security event.
    EventId = "event";
    /// One alarm row.
    AlarmId = "alarm";
    /// One stored heartbeat.
    HeartbeatId = "heartbeat";
}

/// A public key's RFC 7638 thumbprint: 43 characters of base64url.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The length of a SHA-256 in base64url without padding.
    pub const LENGTH: usize = 43;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::fmt::Display for KeyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "KeyId({})", self.0)
    }
}

impl core::str::FromStr for KeyId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        // INVARIANT: exactly a thumbprint, so that no kid can be a URL or a path.
        if text.len() == Self::LENGTH && text.bytes().all(alphabet) {
            return Ok(Self(text.to_owned()));
        }
        Err(IdError { noun: "key", text: text.chars().take(ECHO_MAX).collect() })
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for KeyId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeyId".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 43, "maxLength": 43 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_own_text() {
        let id = TenantId::mint(Timestamp::from_unix_ms(1_700_000_000_000), [7; 10]);
        assert_eq!(id.to_string().parse::<TenantId>().unwrap(), id);
    }

    #[test]
    fn ids_sort_by_the_time_of_their_birth() {
        let early = ExecutionId::mint(Timestamp::from_unix_ms(1_000), [255; 10]);
        let late = ExecutionId::mint(Timestamp::from_unix_ms(1_001), [0; 10]);
        assert!(early < late);
    }

    #[test]
    fn only_the_canonical_form_of_an_id_is_read() {
        for text in [
            "",
            "x",
            "0190A000-0000-7000-8000-000000000000",
            "{0190a000-0000-7000-8000-000000000000}",
            "0190a00000007000800000000000000000",
            "urn:uuid:0190a000-0000-7000-8000-00000000",
        ] {
            assert!(text.parse::<TenantId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_id_is_never_a_url_or_a_path() {
        for text in ["https://evil.example/jwks.json", "../../etc/passwd", "", "a", &"a/".repeat(22)[..43]] {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
        assert!("_".repeat(43).parse::<KeyId>().is_ok());
    }
}
