//! What was measured of one container, and of one node, at one tick.
//!
//! Absent is not zero: whatever the kernel could not tell is `None`. Percentages are of one core in `cpu_percent`, as
//! `docker stats` shows them, and of all the container may use everywhere else.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ids::{ContainerId, Name, ServiceRef, TaskId};

/// Where a container's network counters come from: one byte in a message, a word where people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkSource {
    /// `/proc/<pid>/net/dev` of the container's own network namespace, loopback left out.
    ProcNetDev,
    /// A kernel program that counts the packets of the container's cgroup, loopback left out.
    Ebpf,
}

impl NetworkSource {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProcNetDev => "proc_net_dev",
            Self::Ebpf => "ebpf",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::ProcNetDev => 0,
            Self::Ebpf => 1,
        }
    }
}

impl Serialize for NetworkSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.as_str())
        } else {
            serializer.serialize_u8(self.code())
        }
    }
}

impl<'de> Deserialize<'de> for NetworkSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Self::ProcNetDev),
            1 => Ok(Self::Ebpf),
            other => {
                let expected = &"0 (proc_net_dev) or 1 (ebpf)";
                Err(de::Error::invalid_value(de::Unexpected::Unsigned(other.into()), expected))
            }
        }
    }
}

/// A container's or node's network traffic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Received since the last tick, in Mbit/s (10⁶ bits).
    pub rx_mbps: f32,
    /// Sent since the last tick, in Mbit/s.
    pub tx_mbps: f32,
    /// The busier direction, in percent of the node's link (more than 100 where traffic stays on
    /// the node); absent when the link's speed is unknown.
    pub percent: Option<f32>,
    /// Where the counters were read.
    pub source: NetworkSource,
}

/// One container at one tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSample {
    /// Docker's identifier of the container.
    pub id: ContainerId,
    /// Its Swarm service; absent for a container started by hand.
    pub service: Option<ServiceRef>,
    /// Its Swarm task.
    pub task: Option<TaskId>,
    /// The container's name; sent only where there is no service to name it by.
    pub name: Option<Name>,
    /// Whether Docker checks its health, so that a running task is a healthy one; absent when not known.
    pub has_healthcheck: Option<bool>,
    /// CPU time used since the last tick, in percent of one core: 0 to 100 × cores.
    pub cpu_percent: Option<f32>,
    /// CPU time in percent of what the container may use: its quota, else the whole node.
    pub cpu_limit_percent: Option<f32>,
    /// Memory used, page cache that can be dropped not counted, in MiB.
    pub memory_mb: Option<f32>,
    /// The same in percent of the container's limit, else of the node's memory.
    pub memory_percent: Option<f32>,
    /// Network traffic; absent for host-network containers on nodes without kernel programs: their namespace shows the
    /// whole node's traffic.
    pub network: Option<Network>,
    /// Share of the CPU periods since the last tick in which the quota ran out, in percent; absent without a quota.
    pub throttled_percent: Option<f32>,
    /// Processes of the container killed for lack of memory since it started.
    pub oom_kills: Option<u64>,
    /// TCP segments sent again since the last tick, in percent of the packets sent; absent without kernel programs.
    pub tcp_retransmit_percent: Option<f32>,
    /// Share of the last ten seconds in which a task of the container waited for a processor, in percent; absent where
    /// the kernel does not count pressure. The three of these are up to thirty ticks old, ten of a busy container.
    pub cpu_pressure_percent: Option<f32>,
    /// The same for memory.
    pub memory_pressure_percent: Option<f32>,
    /// The same for a disk.
    pub io_pressure_percent: Option<f32>,
}

/// One node at one tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeSample {
    /// Logical processors.
    pub cores: u16,
    /// CPU time used since the last tick, in percent of all cores: 0 to 100.
    pub cpu_percent: Option<f32>,
    /// Memory in all, in MiB.
    pub memory_total_mb: Option<f32>,
    /// Memory that is not available to a new process, in percent of all.
    pub memory_percent: Option<f32>,
    /// Traffic of the node's interface.
    pub network: Option<Network>,
    /// The speed of its link, in Mbit/s.
    pub link_mbps: Option<f32>,
    /// Files of the node and of containers that could not be read or understood since the agent started; their values were absent.
    pub readings_failed: u64,
    /// Containers whose traffic the kernel programs do not count: no place, too deep, or in no cgroup of their own.
    pub network_uncounted: u32,
}
