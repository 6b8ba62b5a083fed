//! Latencies in buckets that grow with them: a fixed amount of memory however long a load runs, and percentiles that
//! are right to within 1 %.

use std::time::Duration;

/// Latencies in milliseconds, from the moment a request was due to the end of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LatencyMs {
    /// Half of the requests were faster.
    pub p50: f64,
    /// 95 of 100 were faster.
    pub p95: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// Each power of two is cut into this many buckets: an error of at most 1 / 128.
const STEPS_BITS: u32 = 7;
const STEPS: u64 = 1 << STEPS_BITS;
/// 2^40 microseconds are twelve days.
const EXPONENT_MAX: u32 = 40;

#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; index(1 << EXPONENT_MAX) + 1], total: 0, max_us: 0 }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).min(1 << EXPONENT_MAX);
        self.counts[index(us)] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max_us = self.max_us.max(other.max_us);
    }

    pub(super) fn summary(&self) -> LatencyMs {
        LatencyMs {
            p50: self.percentile_ms(50),
            p95: self.percentile_ms(95),
            p99: self.percentile_ms(99),
            max: to_ms(self.max_us),
        }
    }

    /// The smallest latency that at least `percent` of all were not above, by nearest rank; zero when there are none.
    fn percentile_ms(&self, percent: u64) -> f64 {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return to_ms(upper_us(index).min(self.max_us));
            }
        }
        0.0
    }
}

/// Values below `STEPS` have a bucket each; above, the highest bit picks the group and the next seven the bucket.
fn index(us: u64) -> usize {
    let exponent = us.max(1).ilog2();
    let bucket = if exponent < STEPS_BITS {
        us
    } else {
        let shift = exponent - STEPS_BITS;
        u64::from(shift + 1) * STEPS + ((us >> shift) - STEPS)
    };
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The largest value of a bucket.
fn upper_us(index: usize) -> u64 {
    let bucket = u64::try_from(index).unwrap_or(u64::MAX);
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << shift) - 1
}

fn to_ms(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_less_than_a_hundredth_wide() {
        for us in (0..5000).chain([65_535, 65_536, 1_234_567, 1 << 30, (1 << EXPONENT_MAX) - 1]) {
            let upper = upper_us(index(us));
            assert!(upper >= us && upper - us <= us / 100, "{us} {upper}");
            assert!(us == 0 || index(us - 1) <= index(us));
        }
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut histogram = Histogram::default();
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        let summary = histogram.summary();
        for (found, expected) in [(summary.p50, 50.0), (summary.p95, 95.0), (summary.p99, 99.0)] {
            assert!((found - expected).abs() <= expected / 100.0, "{found} {expected}");
        }
        assert!((summary.max - 100.0).abs() < 1e-9);
    }

    #[test]
    fn one_latency_is_all_percentiles_and_none_is_zero() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.summary(), LatencyMs::default());
        histogram.add(Duration::from_micros(12_345));
        let LatencyMs { p50, p95, p99, max } = histogram.summary();
        assert!([p50, p95, p99].iter().all(|value| (value - max).abs() < 1e-9));
        histogram.add(Duration::MAX);
    }
}
