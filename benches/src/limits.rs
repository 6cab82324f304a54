//! The physical limits of this machine, measured in the same run: raw crypto, raw fsync.

use anyhow::Result;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// How long each limit is measured.
const SPAN: Duration = Duration::from_millis(1_500);

/// How often `work` runs in a second, on one core.
pub(crate) fn per_second(mut work: impl FnMut()) -> f64 {
    for _ in 0..10 {
        work();
    }
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < SPAN {
        work();
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// How often a 4 kB append can be synced in a second, in the folder that the benchmarks use.
pub(crate) fn syncs_per_second() -> Result<f64> {
    let mut file = tempfile::tempfile()?;
    let page = [0x5a_u8; 4_096];
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < SPAN {
        file.write_all(&page)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// The value at `share` of sorted `values`.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}
