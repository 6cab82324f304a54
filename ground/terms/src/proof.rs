//! Types that carry proof: bytes from outside are `Unverified`, and only the notary makes `Verified`.

/// A value from outside that nobody has checked yet.
///
/// It gives nothing away but what checking it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified<T>(T);

/// A value whose signature was checked.
///
/// `engines/notary` is the only room that may call [`Verified::attest`]; `xtask tidy` holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Unverified<T> {
    /// Marks a value as coming from outside.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the code that checks it.
    pub const fn unchecked(&self) -> &T {
        &self.0
    }

    /// Takes the value out, for the code that checks it.
    pub fn into_unchecked(self) -> T {
        self.0
    }
}

impl<T> Verified<T> {
    /// Attests that the signature over `value` was checked.
    // INVARIANT: called by engines/notary alone, after the check.
    pub const fn attest(value: T) -> Self {
        Self(value)
    }

    /// Takes the checked value out.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// Reads a part out of a checked value, keeping the proof.
    ///
    /// `part` sees only checked bytes, so what it returns is as trustworthy as they are.
    ///
    /// # Errors
    /// Whatever `part` returns.
    pub fn try_map<U, E>(self, part: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        part(self.0).map(Verified)
    }
}

impl<T> core::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
