//! Names in the kernel that are ours to give: links, namespaces, and the tag that says a thing is ours.

use std::fmt;
use std::str::FromStr;

/// The first word of every tag.
const OWNER: &str = "palisade";

/// Longest alias that the kernel keeps (`IFALIASZ`, its NUL not counted).
const TAG_MAX: usize = 255;

/// Longest name of a link that the kernel keeps (`IFNAMSIZ`, its NUL not counted).
const LINK_NAME_MAX: usize = 15;

/// Longest name of a namespace: far below what a file name may have.
const NAMESPACE_NAME_MAX: usize = 64;

/// The name of a network interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(String);

/// The name of a namespace of ours: `palisade-` and more. Others cannot be named, so they cannot be touched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceName(String);

/// What marks a link or a namespace as ours: `palisade` and `key=value` words, kept by the kernel as the alias of
/// the link, or of the namespace's loopback.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// Says why a text is not such a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}")]
pub struct NameError {
    text: String,
    what: &'static str,
}

impl LinkName {
    /// The link of every namespace that reaches itself.
    #[must_use]
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }
}

impl FromStr for LinkName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // INVARIANT: safe as a part of a path and of a ruleset, and never a pattern that the kernel fills in (`%`).
        let what = "the name of a link: 1 to 15 letters, digits, `_`, `-` or `.`, a letter or digit first";
        parse(text, is_plain(text) && text.len() <= LINK_NAME_MAX, what).map(Self)
    }
}

impl FromStr for NamespaceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // INVARIANT: one part of a path, and within our own names.
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let own = text.strip_prefix("palisade-").is_some_and(|rest| !rest.is_empty());
        let what =
            "the name of a namespace of ours: `palisade-` and lowercase letters, digits or `-`, at most 64";
        parse(text, own && text.bytes().all(plain) && text.len() <= NAMESPACE_NAME_MAX, what).map(Self)
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let mut words = text.split(' ');
        let owned = words.next() == Some(OWNER) && words.all(|word| word.contains('='));
        let what = "a tag: `palisade` and `key=value` words, at most 255 bytes";
        parse(text, printable && owned && text.len() <= TAG_MAX, what).map(Self)
    }
}

/// Whether a name is letters, digits, `_`, `-` and `.` with a letter or digit first: it can stand in any command.
pub(super) fn is_plain(name: &str) -> bool {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn parse(text: &str, good: bool, what: &'static str) -> Result<String, NameError> {
    if good { Ok(text.to_owned()) } else { Err(NameError { text: text.chars().take(80).collect(), what }) }
}

impl AsRef<str> for LinkName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for NamespaceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Tag {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_link_is_short_and_plain() {
        for good in ["lo", "pt155", "eth0.7", "a_b-c", "123456789012345"] {
            assert_eq!(good.parse::<LinkName>().unwrap().as_ref(), good);
        }
        for bad in ["", ".", "..", "-x", "1234567890123456", "pt%d", "a/b", "a b", "a\"b", "é"] {
            assert!(bad.parse::<LinkName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_namespaces_of_ours_can_be_named() {
        for good in ["palisade-t7", "palisade-cp"] {
            assert_eq!(good.parse::<NamespaceName>().unwrap().as_ref(), good);
        }
        for bad in ["", "palisade-", "palisade", "other", "palisade-../x", "palisade-T7", "palisade-a b"] {
            assert!(bad.parse::<NamespaceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tag_names_its_owner_first() {
        for good in ["palisade restricted=true", "palisade restricted=true tenant=t-1", "palisade"] {
            assert_eq!(good.parse::<Tag>().unwrap().as_ref(), good);
        }
        let long = format!("palisade a={}", "x".repeat(250));
        for bad in
            ["", "other a=b", "palisade word", "palisade  a=b", "palisade a=\n", "palisades a=b", &long]
        {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }
}
