//! What came of a question, and how a chain of records leads from a name to addresses.

use crate::host_name::HostName;
use crate::is_public;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{DNSClass, Name, RData, Record};
use std::net::{IpAddr, Ipv4Addr};

/// The most addresses of a name that are kept: more than a client tries, few enough for one answer.
pub const ADDRESSES_MAX: usize = 16;

/// The most aliases between a name and its addresses, as other resolvers have it.
pub const ALIASES_MAX: usize = 8;

/// The longest that anything is kept, in seconds: a host that moved is found again within minutes, whatever its
/// zone once said.
pub const TTL_MAX_S: u32 = 300;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The name stands for these addresses.
    Found(Found),
    /// The name is there, and has no address of the kind.
    NoAddress,
    /// There is no such name.
    NoSuchName,
    /// The name is no host's, or stands for nothing on the public internet.
    Refused,
    /// Nobody answers that kind of question here.
    NotImplemented,
    /// The question speaks another version of EDNS (RFC 6891).
    BadVersion,
    /// Nobody knows: whoever was asked did not answer, or made no sense.
    Failed,
}

/// What a name stands for: at least one address, and the aliases that lead to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    aliases: Vec<Alias>,
    addresses: Vec<Ipv4Addr>,
    /// Of the addresses; they share one (RFC 2181 section 5.2).
    ttl_s: u32,
}

#[derive(Clone, PartialEq, Eq)]
struct Alias {
    target: Name,
    ttl_s: u32,
}

/// Says why a chain of records leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// An alias leads back to a name that was there already.
    #[error("the aliases lead in a circle")]
    Circle,
    /// The chain is too long.
    #[error("more than {ALIASES_MAX} aliases stand in a row")]
    TooLong,
}

// === impl Outcome ===

impl Outcome {
    /// The stable text, for metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Found(_) => "found",
            Self::NoAddress => "no_address",
            Self::NoSuchName => "no_such_name",
            Self::Refused => "refused",
            Self::NotImplemented => "not_implemented",
            Self::BadVersion => "bad_version",
            Self::Failed => "failed",
        }
    }

    /// How long the answer may be kept, in seconds: as long as its shortest-lived record, and not at all without
    /// one (RFC 8484 section 5.1).
    #[must_use]
    pub fn max_age_s(&self) -> u32 {
        match self {
            Self::Found(found) => found.ttl_s(),
            Self::NoAddress
            | Self::NoSuchName
            | Self::Refused
            | Self::NotImplemented
            | Self::BadVersion
            | Self::Failed => 0,
        }
    }

    pub(crate) const fn code(&self) -> ResponseCode {
        match self {
            Self::Found(_) | Self::NoAddress => ResponseCode::NoError,
            Self::NoSuchName => ResponseCode::NXDomain,
            Self::Refused => ResponseCode::Refused,
            Self::NotImplemented => ResponseCode::NotImp,
            Self::BadVersion => ResponseCode::BADVERS,
            Self::Failed => ResponseCode::ServFail,
        }
    }

    /// Follows the aliases from `host` to its addresses, within `records` alone. What does not belong to the chain
    /// is left out, however it got there.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn follow(host: &HostName, records: &[Record]) -> Result<Self, ChainError> {
        let mut aliases: Vec<Alias> = Vec::new();
        let mut name = host.wire();
        let of = |name: &Name| {
            let name = name.clone();
            records.iter().filter(move |record| record.name == name && record.dns_class == DNSClass::IN)
        };
        while let Some((target, ttl)) = of(name).find_map(alias) {
            if target == host.wire() || aliases.iter().any(|alias| alias.target == *target) {
                return Err(ChainError::Circle);
            }
            if aliases.len() == ALIASES_MAX {
                return Err(ChainError::TooLong);
            }
            aliases.push(Alias { target: target.clone(), ttl_s: bounded(ttl) });
            name = target;
        }
        let mut addresses: Vec<Ipv4Addr> = Vec::new();
        let mut ttl_s = TTL_MAX_S;
        for (address, ttl) in of(name).filter_map(address) {
            ttl_s = ttl_s.min(bounded(ttl));
            if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Ok(Self::NoAddress);
        }
        Ok(Self::Found(Found { aliases, addresses, ttl_s }))
    }

    /// Drops the addresses that are not public, and says how many there were. A name that stands for nothing else
    /// is refused.
    #[must_use]
    pub fn public(self) -> (Self, usize) {
        let Self::Found(mut found) = self else { return (self, 0) };
        let all = found.addresses.len();
        found.addresses.retain(|address| is_public(IpAddr::V4(*address)));
        let dropped = all - found.addresses.len();
        let outcome = if found.addresses.is_empty() { Self::Refused } else { Self::Found(found) };
        (outcome, dropped)
    }
}

// === impl Found ===

impl Found {
    /// The addresses: one or more, at most [`ADDRESSES_MAX`].
    #[must_use]
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    /// How long all of it may be kept, in seconds; at most [`TTL_MAX_S`].
    #[must_use]
    pub fn ttl_s(&self) -> u32 {
        self.aliases.iter().map(|alias| alias.ttl_s).fold(self.ttl_s, u32::min)
    }

    /// The same, `s` seconds later.
    #[must_use]
    pub(crate) fn aged(&self, s: u32) -> Self {
        let mut aged = self.clone();
        aged.ttl_s = aged.ttl_s.saturating_sub(s);
        for alias in &mut aged.aliases {
            alias.ttl_s = alias.ttl_s.saturating_sub(s);
        }
        aged
    }

    /// The records of the chain, from `name` on.
    pub(crate) fn records(&self, name: &Name) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.aliases.len() + self.addresses.len());
        let mut name = name;
        for alias in &self.aliases {
            let target = RData::CNAME(CNAME(alias.target.clone()));
            records.push(Record::from_rdata(name.clone(), alias.ttl_s, target));
            name = &alias.target;
        }
        let address =
            |address: &Ipv4Addr| Record::from_rdata(name.clone(), self.ttl_s, RData::A(A(*address)));
        records.extend(self.addresses.iter().map(address));
        records
    }
}

impl core::fmt::Debug for Found {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Found")
            .field("addresses", &self.addresses)
            .field("ttl_s", &self.ttl_s())
            .finish_non_exhaustive()
    }
}

fn alias(record: &Record) -> Option<(&Name, u32)> {
    match &record.data {
        RData::CNAME(CNAME(target)) => Some((target, record.ttl)),
        _ => None,
    }
}

fn address(record: &Record) -> Option<(Ipv4Addr, u32)> {
    match &record.data {
        RData::A(A(address)) => Some((*address, record.ttl)),
        _ => None,
    }
}

/// A TTL within bounds; one with its highest bit set is none (RFC 2181 section 8).
const fn bounded(ttl: u32) -> u32 {
    if ttl > i32::MAX.unsigned_abs() {
        0
    } else if ttl > TTL_MAX_S {
        TTL_MAX_S
    } else {
        ttl
    }
}
