//! The physical limits of this machine, measured in the same run: raw crypto, raw fsync.

use anyhow::Result;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// How long each limit is measured.
const SPAN: Duration = Duration::from_millis(1_500);

/// Turns of a comparison, and how long each side has in one: whatever else the machine does meets both sides.
const TURNS: usize = 31;
const TURN: Duration = Duration::from_millis(50);

/// Two rates that were measured in turns.
pub(crate) struct Compared {
    /// Ours, per second on one core: the median.
    pub(crate) ours: f64,
    /// The limit's, likewise.
    pub(crate) limit: f64,
    /// The median of the turns' ratios.
    pub(crate) ratio: f64,
}

/// Measures `ours` against `limit`, on one core.
pub(crate) fn compare(mut ours: impl FnMut(), mut limit: impl FnMut()) -> Compared {
    let (mut all_ours, mut all_limit, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (this, that) = (per_second(&mut ours, TURN), per_second(&mut limit, TURN));
        all_ours.push(this);
        all_limit.push(that);
        ratios.push(this / that);
    }
    Compared { ours: median(all_ours), limit: median(all_limit), ratio: median(ratios) }
}

/// How often `work` runs in a second, on one core.
pub(crate) fn rate_of(mut work: impl FnMut()) -> f64 {
    per_second(&mut work, SPAN)
}

fn per_second(work: &mut impl FnMut(), span: Duration) -> f64 {
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < span {
        work();
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 0.5)
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
