//! The collector's clock: the one place where it is read.
//!
//! Wall time is read once, at the first call; from then on it advances by the monotonic clock. A step of the wall clock
//! (NTP on a machine that started without a battery clock) can so neither make old facts fresh nor end a cooldown.
//!
//! What people mean by an hour or a date is told by the wall clock as it is now: [`wall_ahead`]. So is when something was
//! done, wherever people or databases are told.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use swarmguard_wire::Timestamp;
use swarmguard_wire::time::ClockOffset;

/// The present time, which never goes back.
pub fn now() -> Timestamp {
    static START: OnceLock<(Instant, Timestamp)> = OnceLock::new();
    let (begun, wall) = START.get_or_init(|| (Instant::now(), SystemTime::now().into()));
    *wall + begun.elapsed()
}

/// Clocks that are read one after the other differ by what that takes; less than this matters to nobody.
const STEP_MIN: Duration = Duration::from_secs(1);

/// How far the wall clock is ahead of [`now`]: zero until somebody sets it.
pub fn wall_ahead() -> ClockOffset {
    ahead(now(), SystemTime::now().into())
}

fn ahead(ours: Timestamp, wall: Timestamp) -> ClockOffset {
    if wall.since(ours).max(ours.since(wall)) < STEP_MIN {
        return ClockOffset::default();
    }
    let micros = |time: Timestamp| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    ClockOffset(micros(wall).saturating_sub(micros(ours)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_ahead_by_its_steps_and_not_by_what_reading_it_takes() {
        let at = Timestamp::from_micros;
        let check = |wall, expected| assert_eq!(ahead(at(5_000_000), at(wall)), ClockOffset(expected), "{wall}");
        check(5_000_007, 0);
        check(4_999_999, 0);
        check(6_000_000, 1_000_000);
        check(3_500_000, -1_500_000);
    }
}
