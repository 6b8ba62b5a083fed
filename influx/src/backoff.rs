//! How long to wait before the next attempt.
//!
//! A pause that doubles from one failure to the next, with jitter: all agents lose the database in the same moment and
//! must not come back in the same moment. Neither a clock nor a random generator of the system: the seed is an argument,
//! so that a test and a post-mortem see the same pauses.

use std::time::Duration;

/// The first pause, before jitter.
pub const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// The longest pause, before a database asks for more.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The pauses of one series of failures after another.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// Pauses from `first`, doubling up to `max`, with jitter decided by `seed`, which should differ between nodes.
    #[must_use]
    pub const fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self { first, max, next: first, random: seed }
    }

    /// How long to wait after another failure: between half of the growing pause and all of it, and never less than
    /// `at_least`.
    pub fn pause(&mut self, at_least: Duration) -> Duration {
        let whole = self.next.min(self.max);
        self.next = whole.saturating_mul(2);
        let half = whole / 2;
        let half_ns = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let jitter_ns = self.random().checked_rem(half_ns.saturating_add(1)).unwrap_or(0);
        (half + Duration::from_nanos(jitter_ns)).max(at_least)
    }

    /// The last attempt succeeded: the next failure is a first one.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): good from any seed on, also from zero.
    const fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(PAUSE_FIRST, PAUSE_MAX, seed)
    }

    #[test]
    fn the_pause_doubles_from_one_second_to_sixty() {
        for seed in 0..100 {
            let mut backoff = backoff(seed);
            for whole in [1, 2, 4, 8, 16, 32, 60, 60, 60].map(Duration::from_secs) {
                let pause = backoff.pause(Duration::ZERO);
                assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
            }
        }
    }

    #[test]
    fn a_success_begins_again() {
        let mut backoff = backoff(1);
        for _ in 0..10 {
            backoff.pause(Duration::ZERO);
        }
        backoff.reset();
        assert!(backoff.pause(Duration::ZERO) <= PAUSE_FIRST);
    }

    #[test]
    fn the_longer_of_both_pauses_counts_and_the_growth_goes_on_beneath() {
        let mut backoff = backoff(1);
        let asked = Duration::from_secs(20);
        for _ in 0..5 {
            assert_eq!(backoff.pause(asked), asked);
        }
        backoff.pause(asked);
        assert!(backoff.pause(asked) >= Duration::from_secs(30));
    }

    #[test]
    fn nodes_come_back_at_different_times() {
        let mut pauses: Vec<_> = (0..100).map(|seed| backoff(seed).pause(Duration::ZERO).as_millis()).collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 80, "{} different milliseconds", pauses.len());
    }

    #[test]
    fn splitmix64_is_the_published_one() {
        let mut backoff = backoff(1_234_567);
        assert_eq!(backoff.random(), 6_457_827_717_110_365_317);
        assert_eq!(backoff.random(), 3_203_168_211_198_807_973);
    }
}
