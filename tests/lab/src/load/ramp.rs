//! When each request of a load is due: the rate goes up evenly, holds, and goes down evenly.

use std::time::Duration;

/// How the rate changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ramp {
    /// From nothing to the whole rate.
    pub up: Duration,
    /// How long at the whole rate; without, until the load is stopped.
    pub hold: Option<Duration>,
    /// From the whole rate to nothing.
    pub down: Duration,
}

impl Ramp {
    /// How long after the start the request of this number is due, counted from zero; `None` after the last one.
    ///
    /// Within a ramp of length `T` up to `r` requests a second, `r t² / 2T` requests are due at `t`.
    pub(super) fn due_after(&self, sequence: u64, per_second: u32) -> Option<Duration> {
        let rate = u64::from(per_second.max(1));
        let up = half(self.up, rate);
        let Some(at_full) = sequence.checked_sub(up) else {
            return Some(Duration::from_secs_f64((2.0 * sequence as f64 * self.up.as_secs_f64() / rate as f64).sqrt()));
        };
        // Multiplied before it is divided, so that no rounding adds up.
        let held = Duration::from_nanos(at_full.saturating_mul(1_000_000_000) / rate);
        let Some(hold) = self.hold else { return Some(self.up + held) };
        if held < hold {
            return Some(self.up + held);
        }
        let before = u64::try_from(hold.as_nanos() * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX);
        let left = half(self.down, rate).checked_sub(at_full.saturating_sub(before))?.checked_sub(1)?;
        let from_end =
            Duration::from_secs_f64((2.0 * (left + 1) as f64 * self.down.as_secs_f64() / rate as f64).sqrt());
        Some(self.up + hold + self.down.saturating_sub(from_end))
    }

    /// How long it takes as a whole; `None` if it is only ended by stopping it.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        Some(self.up + self.hold? + self.down)
    }
}

/// Requests due within a ramp.
fn half(ramp: Duration, rate: u64) -> u64 {
    u64::try_from(ramp.as_nanos() * u128::from(rate) / 2_000_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn due(ramp: Ramp, per_second: u32) -> Vec<f64> {
        (0..).map_while(|sequence| ramp.due_after(sequence, per_second)).map(|due| due.as_secs_f64()).collect()
    }

    fn between(due: &[f64], from: f64, to: f64) -> usize {
        due.iter().filter(|at| (from..to).contains(*at)).count()
    }

    #[test]
    fn pacing_does_not_drift() {
        assert_eq!(Ramp::default().due_after(0, 3), Some(Duration::ZERO));
        assert_eq!(Ramp::default().due_after(3_000_000, 3), Some(Duration::from_secs(1_000_000)));
    }

    #[test]
    fn the_rate_goes_up_evenly_holds_and_goes_down_evenly() {
        let due = due(Ramp { up: 10 * SECOND, hold: Some(5 * SECOND), down: 4 * SECOND }, 100);
        assert_eq!(due.len(), 500 + 500 + 200);
        assert!(due.is_sorted());
        let near = |found: usize, expected: usize| assert!(found.abs_diff(expected) <= 1, "{found} {expected}");
        near(between(&due, 0.0, 1.0), 5);
        near(between(&due, 4.0, 5.0), 45);
        near(between(&due, 9.0, 10.0), 95);
        near(between(&due, 12.0, 13.0), 100);
        near(between(&due, 15.0, 16.0), 88);
        near(between(&due, 18.0, 19.0), 13);
    }

    #[test]
    fn a_load_without_ramps_ends_after_its_time() {
        let due = due(Ramp { hold: Some(2 * SECOND), ..Ramp::default() }, 10);
        assert_eq!((due.len(), due.last()), (20, Some(&1.9)));
    }
}
