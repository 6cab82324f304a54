//! Numbers of tenant networks: one per tenant of a host.

/// The number of a tenant network on its host: 1 to 155, the N of 10.(100+N).0.0/16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkNumber(u8);

/// Says why a number is not one of a tenant network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("network number `{0}` is not within 1 to {max}", max = NetworkNumber::MAX)]
pub struct NumberError(u32);

impl NetworkNumber {
    /// The highest number: 10.255.0.0/16 is the last network of its kind.
    pub const MAX: u8 = 155;

    /// The number itself.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0
    }

    /// Every number, from the lowest.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=Self::MAX).map(Self)
    }
}

impl TryFrom<u32> for NetworkNumber {
    type Error = NumberError;

    fn try_from(number: u32) -> Result<Self, NumberError> {
        // INVARIANT: within 1 to `MAX`, so that 100 more fits an address's byte.
        match u8::try_from(number) {
            Ok(value @ 1..=Self::MAX) => Ok(Self(value)),
            Ok(_) | Err(_) => Err(NumberError(number)),
        }
    }
}

impl core::fmt::Display for NetworkNumber {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}
