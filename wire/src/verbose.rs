//! The alert as people write it: JSON with names instead of identifiers, as in the requirement, so that curl works.
//!
//! It names things as a person would (`web`, the first digits of a container's id); the collector resolves the names
//! against what it knows of the Swarm, and refuses what it cannot resolve.

use serde::{Deserialize, Serialize};

/// The longest JSON alert that is read, in bytes.
pub const VERBOSE_BYTES_MAX: usize = 4_096;

/// An alert in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerboseAlert {
    /// Seconds since the epoch, with a fraction if wanted.
    pub timestamp: f64,
    /// The node's host name.
    pub node: String,
    /// The container's identifier or its first digits, at least [`CONTAINER_PREFIX_MIN`].
    pub container_id: String,
    /// The service's name.
    pub service_name: String,
    /// What was measured.
    pub metrics: VerboseMetrics,
}

/// Fewest digits of a container's identifier that may stand for it.
pub const CONTAINER_PREFIX_MIN: usize = 6;

/// Metrics of a JSON alert; those left out are unknown, not zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerboseMetrics {
    /// CPU in percent of what the container may use, 0 to 100.
    #[serde(default)]
    pub cpu_percent: Option<f32>,
    /// Memory used, in MiB.
    #[serde(default)]
    pub memory_mb: Option<f32>,
    /// Memory in percent of the limit, 0 to 100.
    #[serde(default)]
    pub memory_percent: Option<f32>,
    /// Received, in Mbit/s.
    #[serde(default)]
    pub network_rx_mbps: Option<f32>,
    /// Sent, in Mbit/s.
    #[serde(default)]
    pub network_tx_mbps: Option<f32>,
    /// The busier direction in percent of the link. Without it no rule that needs the network applies.
    #[serde(default)]
    pub network_percent: Option<f32>,
}
