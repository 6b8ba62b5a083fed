//! The collector's clock: the one place where it is read.
//!
//! Wall time is read once, at the first call; from then on it advances by the monotonic clock. A step of the wall clock
//! (NTP on a machine that started without a battery clock) can so neither make old facts fresh nor end a cooldown.

//!
//! What people mean by an hour or a date is told by the wall clock as it is now: [`wall_ahead`].

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use swarmguard_wire::Timestamp;
use swarmguard_wire::time::ClockOffset;

/// The present time, which never goes back.
pub fn now() -> Timestamp {
    static START: OnceLock<(Instant, Timestamp)> = OnceLock::new();
    let (begun, wall) = START.get_or_init(|| (Instant::now(), SystemTime::now().into()));
    *wall + begun.elapsed()
}

/// How far the wall clock is ahead of [`now`]: zero until somebody sets it.
pub fn wall_ahead() -> ClockOffset {
    let (ours, wall) = (now(), Timestamp::from(SystemTime::now()));
    let micros = |time: Timestamp| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    ClockOffset(micros(wall).saturating_sub(micros(ours)))
}
