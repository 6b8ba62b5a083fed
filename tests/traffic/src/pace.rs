//! When the next datagram is due.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Whoever has been late may catch up on so many at once and no more: more than fit into a buffer would be lost.
const BURST_MAX: u32 = 16;

/// Keeps to a number of datagrams a second.
#[derive(Debug)]
pub(crate) struct Pace {
    gap: Duration,
    next: Instant,
}

impl Pace {
    /// The first is due at once.
    pub(crate) fn new(per_second: NonZeroU32, now: Instant) -> Self {
        Self { gap: Duration::from_secs(1) / per_second.get(), next: now }
    }

    /// How long to wait before the next one is sent.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        let earliest = now.checked_sub(self.gap * BURST_MAX).unwrap_or(now);
        let due = self.next.max(earliest);
        self.next = due + self.gap;
        due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace() -> (Pace, Instant) {
        let begun = Instant::now() + Duration::from_secs(1);
        (Pace::new(NonZeroU32::new(1_000).unwrap(), begun), begun)
    }

    #[test]
    fn each_is_due_one_gap_after_the_one_before() {
        let (mut pace, begun) = pace();
        assert_eq!(pace.wait(begun), Duration::ZERO);
        assert_eq!(pace.wait(begun), MS);
        assert_eq!(pace.wait(begun + MS), MS);
    }

    #[test]
    fn who_has_slept_too_long_catches_up_on_a_few_only() {
        let (mut pace, begun) = pace();
        let late = begun + 500 * MS;
        let at_once = (0..100).take_while(|_| pace.wait(late).is_zero()).count();
        assert_eq!(at_once, BURST_MAX as usize + 1);
    }
}
