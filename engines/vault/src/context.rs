//! Where a key or a value belongs: the part that is authenticated but not stored.

use terms::TenantId;

/// Whose keys and values these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The platform itself.
    Platform,
    /// One tenant; destroying its keys makes everything it owns unreadable.
    Tenant(TenantId),
}

macro_rules! purposes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a key is for. The texts are stable: they are bound into every wrapped key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Purpose { $($(#[$doc])* $name,)* }

        impl Purpose {
            /// Every purpose, in the order of this list.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The purpose's stable text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        impl core::str::FromStr for Purpose {
            type Err = UnknownPurpose;

            fn from_str(text: &str) -> Result<Self, UnknownPurpose> {
                match text { $($text => Ok(Self::$name),)* _ => Err(UnknownPurpose) }
            }
        }
    };
}

/// Says that a text names no purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key purpose")]
pub struct UnknownPurpose;

purposes! {
    /// The database file's pages.
    Database = "database",
    /// Sealed columns.
    Column = "column",
    /// Blind indexes over sealed columns.
    Index = "index",
    /// A data plane's journal.
    Journal = "journal",
    /// Outputs that a data plane keeps.
    Output = "output",
    /// Audit entries and logs.
    Log = "log",
    /// Private signing keys.
    Signing = "signing",
    /// Tokens that must be read back.
    Token = "token",
}

/// The place of a value. It is authenticated with the value, so that a value moved to another owner, kind,
/// column or row does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// Whose value it is.
    pub owner: Owner,
    /// The table, or the kind of thing: `executions`, `journal`.
    pub kind: &'a str,
    /// The column, or the part of the thing.
    pub column: &'a str,
    /// The row's identity: an id's bytes, a sequence number.
    pub row: &'a [u8],
}

// === impl Owner ===

impl Owner {
    fn write(self, to: &mut Canonical) {
        match self {
            Self::Platform => to.part(b"platform"),
            Self::Tenant(id) => to.part(b"tenant").part(id.as_bytes()),
        };
    }
}

// === impl Context ===

impl Context<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Canonical::new(b"palisade/sealed-value/v1");
        self.owner.write(&mut out);
        out.part(self.kind.as_bytes()).part(self.column.as_bytes()).part(self.row);
        out.0
    }

    /// The row stays out: an index answers in which row a value stands.
    pub(crate) fn encode_without_row(&self) -> Vec<u8> {
        let mut out = Canonical::new(b"palisade/blind-index/v1");
        self.owner.write(&mut out);
        out.part(self.kind.as_bytes()).part(self.column.as_bytes());
        out.0
    }
}

pub(crate) fn encode_key(owner: Owner, purpose: Purpose, version: u32) -> Vec<u8> {
    let mut out = Canonical::new(b"palisade/wrapped-key/v1");
    owner.write(&mut out);
    out.part(purpose.as_str().as_bytes()).part(&version.to_be_bytes());
    out.0
}

/// Parts, each behind its length in eight bytes: no two lists of parts give the same bytes.
struct Canonical(Vec<u8>);

impl Canonical {
    /// Enough for a domain, a tenant id, two names and a row id without growing.
    const CAPACITY: usize = 160;

    fn new(domain: &[u8]) -> Self {
        let mut out = Self(Vec::with_capacity(Self::CAPACITY));
        out.part(domain);
        out
    }

    fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_reads_back_from_its_text() {
        for purpose in Purpose::ALL {
            assert_eq!(purpose.as_str().parse(), Ok(*purpose));
        }
        assert_eq!("Database".parse::<Purpose>(), Err(UnknownPurpose));
    }

    #[test]
    fn bytes_cannot_move_from_one_part_of_a_context_to_the_next() {
        let context = |kind, column, row| Context { owner: Owner::Platform, kind, column, row };
        let all = [
            context("ab", "c", b"d"),
            context("a", "bc", b"d"),
            context("ab", "cd", b""),
            context("abc", "", b"d"),
            context("", "abc", b"d"),
            context("", "", b"abcd"),
        ];
        let encoded: std::collections::BTreeSet<_> = all.iter().map(Context::encode).collect();
        assert_eq!(encoded.len(), all.len());
    }

    #[test]
    fn an_owner_and_a_kind_cannot_be_taken_for_each_other() {
        let id = TenantId::from_bytes(*b"0123456789abcdef");
        let tenant = Context { owner: Owner::Tenant(id), kind: "k", column: "c", row: b"" };
        let forged = Context { owner: Owner::Platform, kind: "0123456789abcdef", column: "k", row: b"c" };
        assert_ne!(tenant.encode(), forged.encode());
    }
}
