//! Names of hosts, and nothing else that DNS can carry.

use hickory_proto::rr::Name;

/// The full name of a host: lowercase, without the last dot, of two labels or more.
///
/// What a tenant calls is its own business: a name is shown to nobody, and has no `Display`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName {
    text: String,
    wire: Name,
}

/// Says that a text names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not the full name of a host: two labels or more of letters, digits, `-` and `_`")]
pub struct HostNameError;

impl HostName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As DNS writes it.
    #[must_use]
    pub const fn wire(&self) -> &Name {
        &self.wire
    }

    /// Reads a name as DNS writes it.
    pub(crate) fn of(name: &Name) -> Result<Self, HostNameError> {
        let mut text = String::new();
        for label in name.iter() {
            // A dot within a label must not read as the border between two.
            let label = core::str::from_utf8(label).ok().filter(|label| !label.contains('.'));
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(label.ok_or(HostNameError)?);
        }
        text.parse()
    }
}

impl core::str::FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        let text = text.to_ascii_lowercase();
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let is_label = |label: &str| {
            let ends_well = !label.starts_with('-') && !label.ends_with('-');
            (1..=63).contains(&label.len()) && label.bytes().all(inner) && ends_well
        };
        // INVARIANT: at most 253 characters (RFC 1035), and no address in disguise: a number as last label is read
        // as one (WHATWG URL, "ends in a number"). A single label is a local matter, never the public internet's.
        let last = text.rsplit_once('.').map(|(_, last)| last).ok_or(HostNameError)?;
        let is_number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
        if text.len() > 253 || is_number || !text.split('.').all(is_label) {
            return Err(HostNameError);
        }
        let wire = Name::from_ascii(format!("{text}.")).map_err(|_| HostNameError)?;
        Ok(Self { text, wire })
    }
}

impl core::fmt::Debug for HostName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HostName(_)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_full_name() {
        for good in
            ["a.example", "API.Example.com", "xn--bcher-kva.example", "my_bucket.s3.example", "1.example"]
        {
            let name: HostName = good.parse().unwrap();
            assert_eq!(name.as_str(), good.to_ascii_lowercase());
            assert_eq!(HostName::of(name.wire()), Ok(name));
        }
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(longest.len(), 253);
        longest.parse::<HostName>().unwrap();
    }

    #[test]
    fn whatever_names_no_host_is_refused() {
        let label = "a".repeat(64);
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(62));
        let rows = [
            "",
            ".",
            "localhost",
            "metadata",
            "a.",
            ".a",
            "a..b",
            "-a.example",
            "a-.example",
            "*.example",
            "a b.example",
            "a\u{0}.example",
            "bücher.example",
            "10.0.0.1",
            "127.1",
            "a.0x7f",
            "[::1]",
            "a.b/c",
            "a\\.b.example",
            &format!("{label}.example"),
            &long,
        ];
        for bad in rows {
            assert_eq!(bad.parse::<HostName>(), Err(HostNameError), "{bad}");
        }
    }

    #[test]
    fn a_label_with_a_dot_or_any_byte_in_it_names_no_host() {
        for label in [b"a.b".as_slice(), b"\xff", b"\x00", b"a b"] {
            let name = Name::from_labels([label, b"example"]).unwrap();
            let read = HostName::of(&name);
            assert!(read.is_err(), "{label:?}");
        }
    }

    #[test]
    fn a_name_is_not_shown() {
        let name: HostName = "secret.example".parse().unwrap();
        assert!(!format!("{name:?}").contains("secret"));
    }
}
