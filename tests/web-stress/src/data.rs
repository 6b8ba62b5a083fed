//! One request of the pretended application: some CPU, a body, and memory kept for a while.
//!
//! Short bursts run where they are; longer ones go to a worker thread, so that `/health` is never
//! behind more than a few milliseconds of work. All sizes have maxima, and so has the sum of what
//! is held: beyond it a request is served and just not remembered, like a full session cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::cpu_time::{burn, mix};
use crate::query::{Query, QueryError};

/// The parameters `/api/data` takes.
pub(crate) const KEYS: &[&str] = &["cpu_us", "kb", "hold_kb", "hold_ms"];

const CPU_US_DEFAULT: u64 = 500;
const CPU_US_MAX: u64 = 5_000_000;
const BODY_KIB_DEFAULT: u64 = 4;
const BODY_KIB_MAX: u64 = 4_096;
const HOLD_KIB_MAX: u64 = 4_096;
const HOLD_MS_MAX: u64 = 600_000;
/// All memory held for all requests together.
const HELD_KIB_MAX: u64 = 1_048_576;
/// A burst up to this long may run on the thread that answers everything else.
const INLINE_US_MAX: u64 = 2_000;
const KIB: usize = 1024;

/// What one request asks of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    cpu_us: u64,
    body_kib: u64,
    hold_kib: u64,
    hold_ms: u64,
}

impl Work {
    /// Reads the parameters; each has a default and a maximum.
    pub(crate) fn parse(query: &Query) -> Result<Self, QueryError> {
        Ok(Self {
            cpu_us: query.optional("cpu_us", 0..=CPU_US_MAX)?.unwrap_or(CPU_US_DEFAULT),
            body_kib: query.optional("kb", 0..=BODY_KIB_MAX)?.unwrap_or(BODY_KIB_DEFAULT),
            hold_kib: query.optional("hold_kb", 0..=HOLD_KIB_MAX)?.unwrap_or(0),
            hold_ms: query.optional("hold_ms", 0..=HOLD_MS_MAX)?.unwrap_or(0),
        })
    }

    /// Does the work and returns the body, and how many KiB are held for it.
    pub(crate) async fn run(self, held: &Arc<Held>) -> (Bytes, u64) {
        let amount = Duration::from_micros(self.cpu_us);
        if self.cpu_us <= INLINE_US_MAX {
            burn(amount);
        } else {
            // The only error is a panic or a runtime that shuts down; either ends the process.
            let _ = tokio::task::spawn_blocking(move || burn(amount)).await;
        }
        let held_kib = held.keep(self.hold_kib, Duration::from_millis(self.hold_ms));
        (Bytes::from(vec![b'.'; bytes(self.body_kib)]), held_kib)
    }
}

/// The sum of memory held for requests.
#[derive(Debug, Default)]
pub(crate) struct Held {
    kib: AtomicU64,
}

impl Held {
    /// Holds `kib` of written memory for `time`; returns how much is held, all or nothing.
    fn keep(self: &Arc<Self>, kib: u64, time: Duration) -> u64 {
        if kib == 0 || time.is_zero() || !self.admit(kib) {
            return 0;
        }
        let words = bytes(kib) / size_of::<u64>();
        let noise = std::iter::successors(Some(kib), |seed| Some(mix(*seed)));
        let memory: Vec<u64> = noise.take(words).collect();
        let held = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            drop(memory);
            held.kib.fetch_sub(kib, Ordering::Relaxed);
        });
        kib
    }

    fn admit(&self, kib: u64) -> bool {
        let add = |sum: u64| sum.checked_add(kib).filter(|sum| *sum <= HELD_KIB_MAX);
        self.kib.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }
}

fn bytes(kib: u64) -> usize {
    // Every size has a maximum of a few MiB.
    usize::try_from(kib).unwrap_or(usize::MAX).saturating_mul(KIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Result<Work, QueryError> {
        Work::parse(&Query::parse(Some(raw), KEYS)?)
    }

    #[test]
    fn without_parameters_a_request_is_small_and_holds_nothing() {
        let expected = Work { cpu_us: 500, body_kib: 4, hold_kib: 0, hold_ms: 0 };
        assert_eq!(parse(""), Ok(expected));
    }

    #[test]
    fn every_parameter_has_a_maximum() {
        for raw in ["cpu_us=5000001", "kb=4097", "hold_kb=4097", "hold_ms=600001"] {
            assert!(matches!(parse(raw), Err(QueryError::OutOfRange { .. })), "{raw}");
        }
    }

    #[test]
    fn the_sum_of_held_memory_is_bounded() {
        let held = Held::default();
        assert!(held.admit(HELD_KIB_MAX - 1));
        assert!(!held.admit(2));
        assert!(held.admit(1));
        assert!(!held.admit(1));
    }
}
