//! Which tenant has which number, and which numbers rest until nobody can mistake a new tenant for an old one.
//!
//! ```text
//! free --allocate, claim--> held --release--> leaving --removed--> resting --quarantine over--> free
//! ```
//! A number rests from the moment its old network was *proven* gone, not from the tenant's end: as long as nobody
//! proved it, the number stays out of use.

use crate::addresses::Addresses;
use crate::number::NetworkNumber;
use crate::routes::{self, HostRoute};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use terms::{TenantId, Timestamp};

/// How long a number rests by default: a day.
pub const QUARANTINE_MS: i64 = 24 * 60 * 60 * 1_000;

/// The shortest rest: longer than any flow of the old tenant lives without a packet
/// ([`crate::topology::ESTABLISHED_TIMEOUT_S`]).
pub const QUARANTINE_MS_MIN: i64 = 3 * 60 * 60 * 1_000;

/// Whose a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// A tenant lives there.
    Held(TenantId),
    /// The tenant left; its network may still stand.
    Leaving(TenantId),
    /// The network was proven gone then.
    Resting(TenantId, Timestamp),
}

/// The numbers of one host that are not free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    holdings: BTreeMap<NetworkNumber, Holding>,
    quarantine_ms: i64,
}

/// Says why a tenant gets no number, or not that one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// Every number is in use.
    #[error("this host has its {max} tenants; place the tenant on another host", max = NetworkNumber::MAX)]
    HostFull,
    /// Some numbers are not in use, but none may be used yet.
    #[error("every number that is not in use rests, the first until {until}", until = end_of_rest(*.0))]
    AllResting(Option<Timestamp>),
    /// Routes of the host claim every number that is free.
    #[error("every free network overlaps a route of this host, such as `{}` through `{}`", .0.destination, .0.link)]
    AllOverlap(HostRoute),
    /// The tenant has a number.
    #[error("tenant `{tenant}` has network number `{number}` on this host already")]
    HasNumber {
        /// Who.
        tenant: TenantId,
        /// Its number.
        number: NetworkNumber,
    },
    /// Another tenant has the number.
    #[error("network number `{number}` belongs to tenant `{tenant}`")]
    Taken {
        /// The number.
        number: NetworkNumber,
        /// Whose it is.
        tenant: TenantId,
    },
    /// The number's last network is not proven gone, or not for long enough.
    #[error("network number `{number}` rests until {until}", until = end_of_rest(*.until))]
    Resting {
        /// The number.
        number: NetworkNumber,
        /// When it may be used again, if its network is proven gone.
        until: Option<Timestamp>,
    },
    /// A route of the host lies across the network.
    #[error("network `{network}` (number `{number}`) overlaps the host's route `{}` through `{}`", .route.destination, .route.link)]
    Overlaps {
        /// The number.
        number: NetworkNumber,
        /// Its network.
        network: Ipv4Net,
        /// The host's route.
        route: HostRoute,
    },
}

/// Says why a number could not be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The tenant has no number here.
    #[error("tenant `{0}` has no network on this host")]
    NoNumber(TenantId),
    /// A network that is in use was said to be gone.
    #[error("network number `{0}` is in use by tenant `{1}`")]
    InUse(NetworkNumber, TenantId),
    /// Nothing was to be removed.
    #[error("network number `{0}` has no network that is to go")]
    NothingToRemove(NetworkNumber),
}

/// Says why stored holdings are not ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumbersError {
    /// Two holdings of one number.
    #[error("network number `{0}` is stored twice")]
    StoredTwice(NetworkNumber),
    /// Two numbers of one tenant.
    #[error("tenant `{0}` is stored with two network numbers")]
    TwoNumbers(TenantId),
    /// The quarantine is shorter than an old flow can live.
    #[error("a quarantine of `{0}` ms is shorter than the {QUARANTINE_MS_MIN} ms that an old flow can live")]
    QuarantineTooShort(i64),
}

impl Numbers {
    /// Builds the state from what was stored of it.
    ///
    /// # Errors
    /// If a number or a tenant is stored twice, or the quarantine is below [`QUARANTINE_MS_MIN`].
    pub fn new(
        quarantine_ms: i64,
        stored: impl IntoIterator<Item = (NetworkNumber, Holding)>,
    ) -> Result<Self, NumbersError> {
        if quarantine_ms < QUARANTINE_MS_MIN {
            return Err(NumbersError::QuarantineTooShort(quarantine_ms));
        }
        // INVARIANT: one holding per number, and at most one held number per tenant.
        let mut numbers = Self { holdings: BTreeMap::new(), quarantine_ms };
        for (number, holding) in stored {
            if let Holding::Held(tenant) = holding
                && numbers.number_of(tenant).is_some()
            {
                return Err(NumbersError::TwoNumbers(tenant));
            }
            if numbers.holdings.insert(number, holding).is_some() {
                return Err(NumbersError::StoredTwice(number));
            }
        }
        Ok(numbers)
    }

    /// Every number that is not free, to be stored.
    pub fn holdings(&self) -> impl Iterator<Item = (NetworkNumber, Holding)> {
        self.holdings.iter().map(|(number, holding)| (*number, *holding))
    }

    /// The number that `tenant` holds.
    #[must_use]
    pub fn number_of(&self, tenant: TenantId) -> Option<NetworkNumber> {
        let held = |holding: &Holding| *holding == Holding::Held(tenant);
        self.holdings.iter().find(|(_, holding)| held(holding)).map(|(number, _)| *number)
    }

    /// Gives `tenant` the lowest free number that no route of the host claims.
    ///
    /// # Errors
    /// If the tenant has a number, or no number may be used. The state is then unchanged.
    pub fn allocate(
        &mut self,
        tenant: TenantId,
        now: Timestamp,
        routes: &[HostRoute],
    ) -> Result<NetworkNumber, AllocationError> {
        self.refuse_second(tenant)?;
        let free = |number: &NetworkNumber| self.usable(*number, now, routes).is_ok();
        let Some(number) = NetworkNumber::all().find(free) else {
            return Err(self.why_none(now, routes));
        };
        self.holdings.insert(number, Holding::Held(tenant));
        Ok(number)
    }

    /// Gives `tenant` the number it asks for.
    ///
    /// # Errors
    /// If the tenant has a number, or this one may not be used. The state is then unchanged.
    pub fn claim(
        &mut self,
        tenant: TenantId,
        number: NetworkNumber,
        now: Timestamp,
        routes: &[HostRoute],
    ) -> Result<(), AllocationError> {
        self.refuse_second(tenant)?;
        self.usable(number, now, routes)?;
        self.holdings.insert(number, Holding::Held(tenant));
        Ok(())
    }

    /// Ends the tenant's hold. Its number waits for the proof that its network is gone.
    ///
    /// # Errors
    /// If the tenant holds no number.
    pub fn release(&mut self, tenant: TenantId) -> Result<NetworkNumber, ReleaseError> {
        let number = self.number_of(tenant).ok_or(ReleaseError::NoNumber(tenant))?;
        self.holdings.insert(number, Holding::Leaving(tenant));
        Ok(number)
    }

    /// Takes note that the network of `number` was proven gone: its quarantine begins. A later proof of the same
    /// changes nothing.
    ///
    /// # Errors
    /// If a tenant holds the number, or nobody left it.
    pub fn removed(&mut self, number: NetworkNumber, now: Timestamp) -> Result<(), ReleaseError> {
        match self.holdings.get(&number) {
            Some(Holding::Leaving(tenant)) => {
                self.holdings.insert(number, Holding::Resting(*tenant, now));
                Ok(())
            }
            Some(Holding::Resting(..)) => Ok(()),
            Some(Holding::Held(tenant)) => Err(ReleaseError::InUse(number, *tenant)),
            None => Err(ReleaseError::NothingToRemove(number)),
        }
    }

    fn refuse_second(&self, tenant: TenantId) -> Result<(), AllocationError> {
        match self.number_of(tenant) {
            Some(number) => Err(AllocationError::HasNumber { tenant, number }),
            None => Ok(()),
        }
    }

    /// Whether `number` may be given to somebody.
    fn usable(
        &self,
        number: NetworkNumber,
        now: Timestamp,
        routes: &[HostRoute],
    ) -> Result<(), AllocationError> {
        match self.holdings.get(&number) {
            Some(Holding::Held(tenant)) => {
                return Err(AllocationError::Taken { number, tenant: *tenant });
            }
            Some(Holding::Leaving(_)) => return Err(AllocationError::Resting { number, until: None }),
            Some(Holding::Resting(_, since)) if now.ms_since(*since) < self.quarantine_ms => {
                return Err(AllocationError::Resting { number, until: Some(self.rested(*since)) });
            }
            Some(Holding::Resting(..)) | None => (),
        }
        let network = Addresses::of(number).network;
        match routes::claim(routes, network) {
            Some(route) => Err(AllocationError::Overlaps { number, network, route: route.clone() }),
            None => Ok(()),
        }
    }

    fn why_none(&self, now: Timestamp, routes: &[HostRoute]) -> AllocationError {
        let held = self.holdings.values().filter(|holding| matches!(holding, Holding::Held(_))).count();
        if held >= usize::from(NetworkNumber::MAX) {
            return AllocationError::HostFull;
        }
        // A number that is past its rest and yet unusable is one that a route claims.
        let refusals = NetworkNumber::all().filter_map(|number| self.usable(number, now, routes).err());
        for refusal in refusals {
            if let AllocationError::Overlaps { route, .. } = refusal {
                return AllocationError::AllOverlap(route);
            }
        }
        let resting = self.holdings.values().filter_map(|holding| match holding {
            Holding::Resting(_, since) => Some(self.rested(*since)),
            Holding::Held(_) | Holding::Leaving(_) => None,
        });
        AllocationError::AllResting(resting.min())
    }

    fn rested(&self, since: Timestamp) -> Timestamp {
        since.plus_ms(self.quarantine_ms)
    }
}

// === impl Default for Numbers ===

impl Default for Numbers {
    fn default() -> Self {
        Self { holdings: BTreeMap::new(), quarantine_ms: QUARANTINE_MS }
    }
}

// === impl AllocationError ===

impl AllocationError {
    /// The refusal's stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::HostFull => "host_full",
            Self::AllResting(_) => "all_networks_resting",
            Self::AllOverlap(_) => "all_networks_overlap",
            Self::HasNumber { .. } => "tenant_has_network",
            Self::Taken { .. } => "network_taken",
            Self::Resting { .. } => "network_resting",
            Self::Overlaps { .. } => "network_overlaps_route",
        }
    }
}

fn end_of_rest(until: Option<Timestamp>) -> String {
    until.map_or_else(|| "its old network is proven gone".to_owned(), |until| until.to_string())
}
