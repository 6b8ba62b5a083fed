//! Time as numbers: microseconds since the epoch, and how far two machines' clocks are apart.
//!
//! Nothing here reads a clock. The offset between an agent and a collector is estimated from one request and its
//! answer as in NTP (RFC 5905, section 8), so that T0 to T6 of a recovery can be told in one clock, the collector's.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 00:00 UTC, by the clock of the machine that took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How much later `self` is than `earlier`; zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Milliseconds from `origin` to `self`, negative if `self` is the earlier.
    pub fn millis_after(self, origin: Self) -> f64 {
        let forward = self.since(origin).as_secs_f64();
        let backward = origin.since(self).as_secs_f64();
        (forward - backward) * 1000.0
    }

    /// The same moment by a clock that is `offset` ahead of the one that took it.
    pub fn shifted(self, offset: ClockOffset) -> Self {
        Self(self.0.saturating_add_signed(offset.0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        Self(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What to add to the sender's clock to get the receiver's, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClockOffset(pub i64);

/// One request and its answer, each end by its own clock.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// The request left, by the sender's clock.
    pub sent: Timestamp,
    /// The request arrived, by the receiver's clock.
    pub received: Timestamp,
    /// The answer left, by the receiver's clock.
    pub answered: Timestamp,
    /// The answer arrived, by the sender's clock.
    pub returned: Timestamp,
}

impl Exchange {
    /// The receiver's clock minus the sender's, exact if both ways took equally long.
    pub fn offset(&self) -> ClockOffset {
        let there = difference(self.received, self.sent);
        let back = difference(self.answered, self.returned);
        ClockOffset(there.midpoint(back))
    }

    /// Time spent on the way, both ways together: the bound of the offset's error.
    pub fn round_trip(&self) -> Duration {
        self.returned.since(self.sent).saturating_sub(self.answered.since(self.received))
    }
}

fn difference(a: Timestamp, b: Timestamp) -> i64 {
    let magnitude = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
    if a.0 >= b.0 { magnitude(a.0 - b.0) } else { -magnitude(b.0 - a.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ahead: i64, there: u64, held: u64, back: u64) -> (i64, u128) {
        let sent = Timestamp(1_000_000_000);
        let received = Timestamp(sent.0 + there).shifted(ClockOffset(ahead));
        let answered = received + Duration::from_micros(held);
        let returned = Timestamp(sent.0 + there + held + back);
        let exchange = Exchange { sent, received, answered, returned };
        (exchange.offset().0, exchange.round_trip().as_micros())
    }

    #[test]
    fn the_offset_is_exact_when_both_ways_take_equally_long() {
        assert_eq!(check(0, 100, 50, 100), (0, 200));
        assert_eq!(check(5_000_000, 100, 50, 100), (5_000_000, 200));
        assert_eq!(check(-5_000_000, 100, 50, 100), (-5_000_000, 200));
    }

    #[test]
    fn the_offset_is_wrong_by_at_most_half_the_round_trip() {
        let (offset, round_trip) = check(1_000, 900, 0, 100);
        assert!(u128::from(offset.abs_diff(1_000)) * 2 <= round_trip);
    }

    #[test]
    fn milliseconds_after_an_origin_have_a_sign() {
        let origin = Timestamp(1_000_000);
        assert_eq!((origin + Duration::from_micros(1500)).millis_after(origin), 1.5);
        assert_eq!((origin - Duration::from_micros(1500)).millis_after(origin), -1.5);
    }
}
