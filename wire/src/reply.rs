//! The collector's answer to an alert or a report: when it came, and what to watch for.
//!
//! Policy lives in the collector. Agents take their thresholds from whichever answer came last, so a change reaches
//! every node at its next report.

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
