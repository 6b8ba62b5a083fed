//! An alert: one container over a threshold, at the tick it was seen in.
//!
//! At most [`ALERT_BYTES_MAX`] bytes by construction: every identifier has a fixed or bounded length and every name is
//! cut, so the sender need not check. An alert repeats at each tick for as long as the breach lasts; losing one only
//! delays a decision by one tick.

use serde::{Deserialize, Serialize};

use crate::ids::NodeRef;
use crate::sample::ContainerSample;
use crate::time::{ClockOffset, Timestamp};

/// The longest encoded alert, in bytes.
pub const ALERT_BYTES_MAX: usize = 500;

/// One container over a threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// When the sample was taken (T0), by the agent's clock.
    pub sampled_at: Timestamp,
    /// When the alert was sent (T1), by the agent's clock.
    pub sent_at: Timestamp,
    /// The collector's clock minus the agent's; absent until the first answer.
    pub clock_offset: Option<ClockOffset>,
    /// The tick's number since the agent started: breaches are consecutive when these are.
    pub tick: u64,
    /// The node the container runs on.
    pub node: NodeRef,
    /// The container and what was measured of it.
    pub container: ContainerSample,
}
