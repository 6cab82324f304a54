//! The kernel's entropy. A failure is an error; there is no second source to fall back on.

/// Says that the kernel gave no entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel gave no entropy: {0}")]
pub struct EntropyError(#[from] getrandom::Error);

/// Draws `N` bytes of entropy.
///
/// # Errors
/// When the kernel refuses; the caller must give up, not go on with less.
pub fn fill<const N: usize>() -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Draws `N` bytes of entropy; reads better where the size stands in the call: `bytes::<10>()`.
///
/// # Errors
/// As [`fill`].
pub fn bytes<const N: usize>() -> Result<[u8; N], EntropyError> {
    fill()
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::bytes::<32>().unwrap(), super::bytes::<32>().unwrap());
    }
}
