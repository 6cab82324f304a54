//! Hosts that a plan may call.

/// A host that a plan allows: an exact DNS name, or `*.` and a DNS name for exactly one label more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern(String);

/// Says why a text is not a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host: a lowercase DNS name, optionally with one leading `*.`")]
pub struct HostPatternError(String);

impl HostPattern {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `host` (lowercase, without a trailing dot) is allowed.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        match self.0.strip_prefix("*.") {
            None => self.0 == host,
            Some(parent) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
            }
        }
    }
}

impl core::str::FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let refused = || HostPatternError(text.chars().take(253).collect());
        let name = text.strip_prefix("*.").unwrap_or(text);
        let labels: Vec<&str> = name.split('.').collect();
        let label = |l: &&str| l.parse::<crate::Name>().is_ok();
        // A number as last label is an IPv4 address in disguise (WHATWG URL, "ends in a number").
        let number = |l: &&str| l.bytes().all(|b| b.is_ascii_digit()) || l.starts_with("0x");
        let numeric_end = labels.last().is_some_and(number);
        let wildcard_deep_enough = name.len() == text.len() || labels.len() >= 2;
        if text.len() <= 253 && labels.iter().all(label) && !numeric_end && wildcard_deep_enough {
            return Ok(Self(text.to_owned()));
        }
        Err(refused())
    }
}

impl serde::Serialize for HostPattern {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for HostPattern {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for HostPattern {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HostPattern".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "maxLength": 253 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_allows_exactly_one_label() {
        let pattern: HostPattern = "*.example.com".parse().unwrap();
        assert!(pattern.allows("api.example.com"));
        for host in ["example.com", "a.b.example.com", ".example.com", "api.example.com.evil.org"] {
            assert!(!pattern.allows(host), "{host}");
        }
    }

    #[test]
    fn addresses_ports_and_broad_wildcards_are_not_hosts() {
        for bad in [
            "127.0.0.1",
            "0x7f.1",
            "a.0x7f",
            "[::1]",
            "a:443",
            "*.com",
            "*",
            "",
            "A.example",
            "a..b",
            "a.*.b",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }
}
