//! How a level changes over time: linear to the target, held, then gone. A pure function of time.
//!
//! The unit is the caller's: cores, MiB or Mbit/s.

use std::time::Duration;

/// The times of a stress, common to all kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How long the way to the target takes; may be zero.
    pub(crate) ramp: Duration,
    /// How long the target is then held.
    pub(crate) hold: Duration,
}

/// A way from one level to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ramp {
    /// The level at the beginning: zero, or that of the stress which is replaced.
    pub(crate) from: f64,
    /// The level to reach.
    pub(crate) target: f64,
    /// When.
    pub(crate) shape: Shape,
}

impl Ramp {
    /// The level after `elapsed`; `None` once the hold is over.
    pub(crate) fn level(&self, elapsed: Duration) -> Option<f64> {
        let Shape { ramp, hold } = self.shape;
        if elapsed >= ramp.saturating_add(hold) {
            return None;
        }
        if elapsed >= ramp {
            return Some(self.target);
        }
        let part = elapsed.as_secs_f64() / ramp.as_secs_f64();
        Some(self.from + (self.target - self.from) * part)
    }
}

/// The whole units in a level.
#[expect(
    clippy::cast_sign_loss,
    reason = "levels lie between two targets, which come from unsigned parameters; the cast also saturates"
)]
pub(crate) fn whole_units(level: f64) -> usize {
    level.floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: f64, ramp_s: u64, hold_s: u64, at_ms: u64, expected: Option<f64>) {
        let shape = Shape { ramp: Duration::from_secs(ramp_s), hold: Duration::from_secs(hold_s) };
        let target = 80.0;
        let ramp = Ramp { from, target, shape };
        assert_eq!(ramp.level(Duration::from_millis(at_ms)), expected, "at {at_ms} ms");
    }

    #[test]
    fn the_way_up_is_linear_from_zero() {
        check(0.0, 10, 5, 0, Some(0.0));
        check(0.0, 10, 5, 2_500, Some(20.0));
        check(0.0, 10, 5, 5_000, Some(40.0));
    }

    #[test]
    fn a_replacement_goes_on_from_the_present_level_up_or_down() {
        check(40.0, 10, 5, 0, Some(40.0));
        check(40.0, 10, 5, 5_000, Some(60.0));
        check(100.0, 10, 5, 5_000, Some(90.0));
    }

    #[test]
    fn the_target_is_held_for_the_duration_and_then_nothing() {
        check(0.0, 10, 5, 10_000, Some(80.0));
        check(0.0, 10, 5, 14_999, Some(80.0));
        check(0.0, 10, 5, 15_000, None);
    }

    #[test]
    fn without_a_ramp_the_target_is_there_at_once() {
        check(0.0, 0, 5, 0, Some(80.0));
        check(0.0, 0, 5, 5_000, None);
    }

    #[test]
    fn units_are_counted_when_whole() {
        assert_eq!([0.0, 0.99, 1.0, 63.5].map(whole_units), [0, 0, 1, 63]);
    }
}
