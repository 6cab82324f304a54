//! Benchmarks, printed as ratios against the physical limit in the same run.
