//! Lines are collected until there are enough of them, or it is time.
//!
//! Neither a clock nor a queue: time is an argument, and whoever closes a batch takes its lines away. A batch passes a
//! maximum by at most one line.
//!
//! Nodes that were switched on together would write to the database in the same second for ever, so each has a phase of
//! its own: its first batch closes after a part of the interval that its name decides, and the rhythm is kept.

use std::time::{Duration, Instant};

use crate::endpoint::Precision;
use crate::line::Lines;

/// When a batch is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At this many lines.
    pub lines_max: u32,
    /// At this many bytes, not compressed.
    pub bytes_max: usize,
    /// After this time, if there is at least one line.
    pub flush_interval: Duration,
}

/// Why a batch is closed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// It has its maximum of lines.
    Lines,
    /// It has its maximum of bytes.
    Bytes,
    /// Its time is over.
    Time,
}

/// The lines of the batch that is being filled, and when it closes.
#[derive(Debug)]
pub struct Batch {
    lines: Lines,
    limits: Limits,
    /// Part of the interval before the first flush.
    phase: Duration,
    /// Unknown until the first time is heard of.
    flush_at: Option<Instant>,
}

impl Batch {
    /// An empty batch of the node called `node`.
    #[must_use]
    pub fn new(precision: Precision, limits: Limits, node: &str) -> Self {
        Self { lines: Lines::new(precision), limits, phase: phase(node, limits.flush_interval), flush_at: None }
    }

    /// The lines, to be read, added to, or cleared when the batch has been closed.
    pub const fn lines(&mut self) -> &mut Lines {
        &mut self.lines
    }

    /// Whether another point would pass a maximum.
    #[must_use]
    pub fn full(&self) -> Option<Close> {
        if self.lines.points() >= self.limits.lines_max {
            return Some(Close::Lines);
        }
        (self.lines.as_bytes().len() >= self.limits.bytes_max).then_some(Close::Bytes)
    }

    /// Whether to close at `now`. A time of flushing that has come is used up, also when there is nothing to flush.
    pub fn due(&mut self, now: Instant) -> Option<Close> {
        let flush_at = *self.flush_at.get_or_insert(now + self.phase);
        let time_is_over = now >= flush_at;
        if time_is_over {
            self.flush_at = Some(next_in_rhythm(flush_at, now, self.limits.flush_interval));
        }
        let by_time = (time_is_over && !self.lines.is_empty()).then_some(Close::Time);
        self.full().or(by_time)
    }
}

/// The first time after `now` that lies whole intervals after `flush_at`: a machine that slept does not catch up.
fn next_in_rhythm(flush_at: Instant, now: Instant, interval: Duration) -> Instant {
    let missed = now.saturating_duration_since(flush_at).as_nanos().checked_div(interval.as_nanos()).unwrap_or(0);
    let steps = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
    flush_at + interval.saturating_mul(steps)
}

/// The part of `interval` that belongs to `node`, in whole milliseconds.
fn phase(node: &str, interval: Duration) -> Duration {
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(fnv1a(node.as_bytes()).checked_rem(interval_ms).unwrap_or(0))
}

/// FNV-1a, 64 bits, of Fowler, Noll and Vo. The same on every machine and in every version, as the hashers of
/// the standard library do not promise to be; and good enough to spread names that differ in one digit.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: Limits = Limits { lines_max: 3, bytes_max: 100, flush_interval: Duration::from_secs(10) };

    /// A batch whose phase has been heard of at `start`, and what is left of it.
    fn batch(start: Instant) -> (Batch, Duration) {
        let mut batch = Batch::new(Precision::Seconds, LIMITS, "node-1");
        assert_eq!(batch.due(start), None);
        let phase = batch.phase;
        (batch, phase)
    }

    fn add(batch: &mut Batch, text: &str) {
        batch.lines().point("m").field("x", text).close(0);
    }

    #[test]
    fn a_batch_closes_at_its_maximum_of_lines() {
        let start = Instant::now();
        let (mut batch, _) = batch(start);
        for _ in 0..2 {
            add(&mut batch, "");
            assert_eq!((batch.full(), batch.due(start)), (None, None));
        }
        add(&mut batch, "");
        assert_eq!((batch.full(), batch.due(start)), (Some(Close::Lines), Some(Close::Lines)));
    }

    #[test]
    fn a_batch_closes_at_its_maximum_of_bytes() {
        let start = Instant::now();
        let (mut batch, _) = batch(start);
        add(&mut batch, &"x".repeat(100));
        assert_eq!(batch.due(start), Some(Close::Bytes));
    }

    #[test]
    fn a_batch_closes_in_a_steady_rhythm_that_begins_with_the_phase() {
        let start = Instant::now();
        let (mut batch, phase) = batch(start);
        let nearly = Duration::from_millis(1);
        for round in 0..3 {
            add(&mut batch, "");
            let time = start + phase + LIMITS.flush_interval * round;
            if phase > nearly {
                assert_eq!(batch.due(time - nearly), None);
            }
            // A tick that comes late does not push the rhythm back.
            assert_eq!(batch.due(time + SECOND), Some(Close::Time));
            batch.lines().clear();
        }
    }

    #[test]
    fn an_empty_batch_is_not_closed() {
        let start = Instant::now();
        let (mut batch, phase) = batch(start);
        assert_eq!(batch.due(start + phase), None);
        add(&mut batch, "");
        assert_eq!(batch.due(start + phase + SECOND), None, "its time is used up");
        assert_eq!(batch.due(start + phase + LIMITS.flush_interval), Some(Close::Time));
    }

    #[test]
    fn a_machine_that_slept_flushes_once_and_keeps_its_phase() {
        let start = Instant::now();
        let (mut batch, phase) = batch(start);
        add(&mut batch, "");
        let woken = start + phase + LIMITS.flush_interval * 360 + SECOND;
        assert_eq!(batch.due(woken), Some(Close::Time));
        assert_eq!(batch.due(woken + 8 * SECOND), None);
        assert_eq!(batch.due(woken + 9 * SECOND), Some(Close::Time));
    }

    #[test]
    fn an_interval_of_zero_closes_at_every_tick() {
        let start = Instant::now();
        let mut batch = Batch::new(Precision::Seconds, Limits { flush_interval: Duration::ZERO, ..LIMITS }, "n");
        for _ in 0..3 {
            add(&mut batch, "");
            assert_eq!(batch.due(start), Some(Close::Time));
            batch.lines().clear();
        }
    }

    #[test]
    fn the_phases_of_like_named_nodes_are_spread_over_the_interval() {
        let mut per_second = [0; 10];
        for node in 0..1000 {
            let phase = phase(&format!("worker-{node}"), LIMITS.flush_interval);
            assert!(phase < LIMITS.flush_interval);
            per_second[usize::try_from(phase.as_secs()).unwrap()] += 1;
        }
        assert!(per_second.iter().all(|count| (60..=140).contains(count)), "{per_second:?}");
    }

    #[test]
    fn fnv1a_is_the_published_one() {
        // From the authors' own test vectors.
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(fnv1a(text.as_bytes()), hash);
        }
    }
}
