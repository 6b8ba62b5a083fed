//! Counters to rates, as pure functions.
//!
//! A counter that went backwards was reset (a container restarted, a cgroup was made anew): the rate of that tick is
//! unknown, not negative and not huge.

use std::time::Duration;

/// What a counter gained between two ticks; `None` if it went backwards or one of the two is unknown.
pub fn gained(before: Option<u64>, now: Option<u64>) -> Option<u64> {
    now?.checked_sub(before?)
}

/// CPU time gained over the time passed, in percent of one core; `None` for more than the node's `cores` can do, with a
/// tenth and 20 ms to spare, since the kernel counts in steps: a counter was set anew, and is beyond where it was.
pub fn cpu_percent(gained_ns: u64, elapsed: Duration, cores: u16) -> Option<f32> {
    let (gained_s, elapsed_s) = (gained_ns as f64 / 1e9, elapsed.as_secs_f64());
    let most_s = elapsed_s * f64::from(cores) * 1.1 + 0.02;
    (gained_s <= most_s).then(|| ratio_percent(gained_s, elapsed_s))?
}

/// No node moves more: ten times the fastest link there is. Beyond it a counter was set anew.
const MBPS_MAX: f64 = 10e6;

/// Bytes gained over the time passed, in Mbit/s (10⁶ bits); `None` for what no node can.
pub fn mbps(gained_bytes: u64, elapsed: Duration) -> Option<f32> {
    let seconds = elapsed.as_secs_f64();
    let mbps = gained_bytes as f64 * 8.0 / 1e6 / seconds;
    (seconds > 0.0 && mbps <= MBPS_MAX).then(|| round(mbps))
}

/// `part` in percent of `whole`; `None` where there is no whole.
pub fn ratio_percent(part: f64, whole: f64) -> Option<f32> {
    (whole > 0.0).then(|| round(part / whole * 100.0))
}

/// The same of a part that is inside the whole; `None` for one that is not: one of the two counters was set anew.
pub fn share_percent(part: u64, whole: u64) -> Option<f32> {
    (part <= whole).then(|| ratio_percent(part as f64, whole as f64))?
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
        assert_eq!(cpu_percent(1_000_000_000, SECOND, 4), Some(100.0));
        assert_eq!(cpu_percent(4_000_000_000, 2 * SECOND, 4), Some(200.0));
    }

    #[test]
    fn a_rate_that_no_machine_has_is_none() {
        assert_eq!(cpu_percent(4_500_000_000, SECOND, 4), None);
        assert_eq!(cpu_percent(u64::MAX, SECOND, 64), None);
        assert_eq!(mbps(u64::MAX, SECOND), None);
    }

    #[test]
    fn no_time_passed_gives_no_rate() {
        assert_eq!(cpu_percent(1, Duration::ZERO, 4), None);
        assert_eq!(mbps(1, Duration::ZERO), None);
    }

    #[test]
    fn a_megabit_is_a_million_bits() {
        assert_eq!(mbps(1_250_000, SECOND), Some(10.0));
    }

    #[test]
    fn a_share_is_at_most_all() {
        assert_eq!(share_percent(3, 4), Some(75.0));
        assert_eq!(share_percent(4, 4), Some(100.0));
        assert_eq!(share_percent(5, 4), None);
        assert_eq!(share_percent(0, 0), None);
    }

    #[test]
    fn figures_have_two_decimals() {
        assert_eq!(ratio_percent(1.0, 3.0), Some(33.33));
        assert_eq!(ratio_percent(1.0, 0.0), None);
    }
}
