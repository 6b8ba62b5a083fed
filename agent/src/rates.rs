//! Counters to rates, as pure functions.
//!
//! A counter that went backwards was reset (a container restarted, a cgroup was made anew): the rate of that tick is
//! unknown, not negative and not huge.

use std::time::Duration;

/// What a counter gained between two ticks; `None` if it went backwards or one of the two is unknown.
pub fn gained(before: Option<u64>, now: Option<u64>) -> Option<u64> {
    now?.checked_sub(before?)
}

/// CPU time gained over the time passed, in percent of one core.
pub fn cpu_percent(gained_ns: u64, elapsed: Duration) -> Option<f32> {
    ratio_percent(gained_ns as f64 / 1e9, elapsed.as_secs_f64())
}

/// Bytes gained over the time passed, in Mbit/s (10⁶ bits).
pub fn mbps(gained_bytes: u64, elapsed: Duration) -> Option<f32> {
    let seconds = elapsed.as_secs_f64();
    (seconds > 0.0).then(|| round(gained_bytes as f64 * 8.0 / 1e6 / seconds))
}

/// `part` in percent of `whole`; `None` where there is no whole.
pub fn ratio_percent(part: f64, whole: f64) -> Option<f32> {
    (whole > 0.0).then(|| round(part / whole * 100.0))
}

/// Two decimals are what can be measured at one tick a second, and keep the lines short.
pub fn round(value: f64) -> f32 {
    ((value * 100.0).round() / 100.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_counter_that_went_backwards_gives_no_rate() {
        assert_eq!(gained(Some(10), Some(30)), Some(20));
        assert_eq!(gained(Some(30), Some(10)), None);
        assert_eq!(gained(None, Some(10)), None);
        assert_eq!(gained(Some(10), None), None);
    }

    #[test]
    fn a_hundred_percent_is_one_core() {
        assert_eq!(cpu_percent(1_000_000_000, SECOND), Some(100.0));
        assert_eq!(cpu_percent(4_000_000_000, 2 * SECOND), Some(200.0));
    }

    #[test]
    fn no_time_passed_gives_no_rate() {
        assert_eq!(cpu_percent(1, Duration::ZERO), None);
        assert_eq!(mbps(1, Duration::ZERO), None);
    }

    #[test]
    fn a_megabit_is_a_million_bits() {
        assert_eq!(mbps(1_250_000, SECOND), Some(10.0));
    }

    #[test]
    fn figures_have_two_decimals() {
        assert_eq!(ratio_percent(1.0, 3.0), Some(33.33));
        assert_eq!(ratio_percent(1.0, 0.0), None);
    }
}
