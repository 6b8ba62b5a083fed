//! What the kernel programs and the agent both know: the records in their maps, and how many of them there are.
//!
//! The layouts are fixed by `#[repr(C)]` and asserted below, because the two sides are built by different compilers.

#![no_std]

use core::sync::atomic::AtomicU64;

/// Most containers counted at once. Each has one [`Traffic`] for each processor, all of it allocated at the start:
/// 512 KiB on a Raspberry Pi with four processors, 8 MiB on a server with 64.
pub const CONTAINERS_MAX: u32 = 2_048;

/// Deepest place of a container's cgroup below the root of the hierarchy that is looked at: Docker's own is 2, a
/// Docker in a container in a Docker is 4.
pub const LEVELS_MAX: u32 = 16;

/// Traffic of one container on one processor, a cache line of its own. Only programs on that processor add to it, and
/// only they: it never goes back, also not when its place is given to another container.
///
/// Additions are atomic all the same: a program for a packet that is sent can be interrupted by one for a packet that
/// comes in.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes received, from the IP header on; of packets that the kernel has put together, each with its header.
    pub rx_bytes: AtomicU64,
    /// Packets received, as they were on the link.
    pub rx_packets: AtomicU64,
    /// Bytes sent.
    pub tx_bytes: AtomicU64,
    /// Packets sent.
    pub tx_packets: AtomicU64,
    /// TCP segments among them that had been sent before.
    pub tcp_retransmits: AtomicU64,
}

const _: () = assert!(size_of::<Traffic>() == 64 && align_of::<Traffic>() == 64);

/// A process was killed for lack of memory. Which container's it was is read from the cgroups' own counts.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomKill {
    /// The process, as the host numbers it.
    pub pid: u32,
}

const _: () = assert!(size_of::<OomKill>() == 4);
