//! A report: the node and all its containers, every few ticks, whether or not anything is wrong.
//!
//! Choosing where to move a container, and knowing that one is healthy again, rest on reports. They are larger than
//! alerts and less urgent: an alert never waits behind one.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::NodeRef;
use crate::sample::{ContainerSample, NodeSample};
use crate::time::{ClockOffset, Timestamp};

/// A report goes out so often, or at every tick where ticks are rarer. A collector's window must span two of them.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Most containers in one report; those beyond it are counted in [`Report::containers_omitted`].
pub const REPORT_CONTAINERS_MAX: usize = 2_000;

/// The longest encoded report, in bytes: [`REPORT_CONTAINERS_MAX`] containers of the largest size.
pub const REPORT_BYTES_MAX: usize = 1 << 20;

/// The state of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report<'a> {
    /// When the samples were taken, by the agent's clock.
    pub sampled_at: Timestamp,
    /// When the report was sent, by the agent's clock.
    pub sent_at: Timestamp,
    /// The collector's clock minus the agent's; absent until the first answer.
    pub clock_offset: Option<ClockOffset>,
    /// The tick's number since the agent started.
    pub tick: u64,
    /// Milliseconds between ticks.
    pub interval_ms: u32,
    /// The node that reports.
    pub node: Cow<'a, NodeRef>,
    /// What was measured of the node.
    pub sample: NodeSample,
    /// All containers, at most [`REPORT_CONTAINERS_MAX`].
    pub containers: Cow<'a, [ContainerSample]>,
    /// Containers that did not fit.
    pub containers_omitted: u32,
    /// Alerts that could not be delivered since the agent started.
    pub alerts_dropped: u64,
}
