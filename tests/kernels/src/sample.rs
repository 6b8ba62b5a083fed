//! What the agent counted: one container of `swarmguard-agent sample --format json`.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::boot::Printed;
use crate::transfer::Flow;

/// One cgroup's part of a sample.
#[derive(Debug, Clone)]
pub struct Container(Value);

impl Container {
    /// Finds the cgroup in the sample of this name.
    ///
    /// # Errors
    /// When the sample cannot be read or does not have the cgroup; shows what the agent said instead.
    pub fn of(printed: &Printed, sample: &str, cgroup: &str) -> Result<Self> {
        let text = printed.part(sample)?;
        let log = || format!("the agent said:\n{text}\n{}", printed.part(&format!("{sample} log")).unwrap_or_default());
        let whole: Value = serde_json::from_str(text).with_context(log)?;
        let containers = whole["containers"].as_array().with_context(log)?;
        let found = containers.iter().find(|container| container["name"] == cgroup);
        Ok(Self(found.with_context(|| format!("no container {cgroup}; {}", log()))?.clone()))
    }

    /// A number; nothing where it is absent.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.0[key].as_f64()
    }

    /// Where its network figures come from; nothing where there are none.
    pub fn network_source(&self) -> Option<&str> {
        self.0["network"]["source"].as_str()
    }

    /// What it has sent.
    ///
    /// # Errors
    /// When it is not told.
    pub fn sent(&self) -> Result<Flow> {
        Ok(Flow { bytes: self.counter("network_tx_bytes")?, packets: self.counter("network_tx_packets")? })
    }

    /// What it has received.
    ///
    /// # Errors
    /// When it is not told.
    pub fn received(&self) -> Result<Flow> {
        Ok(Flow { bytes: self.counter("network_rx_bytes")?, packets: self.counter("network_rx_packets")? })
    }

    /// TCP segments sent again.
    ///
    /// # Errors
    /// When it is not told.
    pub fn retransmits(&self) -> Result<u64> {
        self.counter("tcp_retransmits")
    }

    fn counter(&self, key: &str) -> Result<u64> {
        self.0[key].as_u64().with_context(|| format!("no {key} in {}", self.0))
    }
}
