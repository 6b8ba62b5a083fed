//! The collector's clock: the one place where it is read.
//!
//! Wall time is read once, at the first call; from then on it advances by the monotonic clock. A step of the wall clock
//! (NTP on a machine that started without a battery clock) can so neither make old facts fresh nor end a cooldown.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use swarmguard_wire::Timestamp;

/// The present time, which never goes back.
pub fn now() -> Timestamp {
    static START: OnceLock<(Instant, Timestamp)> = OnceLock::new();
    let (begun, wall) = START.get_or_init(|| (Instant::now(), SystemTime::now().into()));
    *wall + begun.elapsed()
}
