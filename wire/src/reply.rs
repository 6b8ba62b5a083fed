//! The collector's answer to an alert or a report: when it came, and what to watch for.
//!
//! Policy lives in the collector. Of several collectors each says what it needs, and agents do what is enough for all of
//! them; a change reaches every node at its next report.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// In points of percent: a container that was above a threshold goes on being alerted on, and its row of ticks goes on,
/// until it is so far below.
pub const HYSTERESIS: f32 = 5.0;

/// What an agent is to alert on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Alert when `cpu_limit_percent` is above this.
    pub cpu_percent: f32,
    /// Alert when `memory_percent` is above this.
    pub memory_percent: f32,
    /// Whether to send alerts at all; reports are always sent.
    pub alert_immediately: bool,
    /// Milliseconds between ticks for an agent that was not given an interval of its own.
    pub interval_ms: u32,
}

impl Default for Policy {
    /// What an agent watches for until a collector answers.
    fn default() -> Self {
        Self { cpu_percent: 75.0, memory_percent: 80.0, alert_immediately: true, interval_ms: 1_000 }
    }
}

impl Policy {
    /// What is enough for both: the lowest thresholds, the shortest interval, and alerts if either asks for them. A collector
    /// that has not read the Swarm yet knows of no service's own thresholds, which must not hide what another asks for.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        Self {
            cpu_percent: self.cpu_percent.min(other.cpu_percent),
            memory_percent: self.memory_percent.min(other.memory_percent),
            alert_immediately: self.alert_immediately || other.alert_immediately,
            interval_ms: self.interval_ms.min(other.interval_ms),
        }
    }
}

/// The answer to an alert or a report.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// When the message was received (T2), by the collector's clock.
    pub received_at: Timestamp,
    /// When this answer was made, by the collector's clock.
    pub answered_at: Timestamp,
    /// What to alert on from now.
    pub policy: Policy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_policies_the_strictest_of_each_is_enough_for_both() {
        let one = Policy { cpu_percent: 50.0, memory_percent: 90.0, alert_immediately: false, interval_ms: 2_000 };
        let other = Policy { cpu_percent: 75.0, memory_percent: 80.0, alert_immediately: true, interval_ms: 1_000 };
        let both = Policy { cpu_percent: 50.0, memory_percent: 80.0, alert_immediately: true, interval_ms: 1_000 };
        assert_eq!((one.strictest(other), other.strictest(one)), (both, both));
    }
}
