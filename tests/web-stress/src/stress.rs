//! The three stresses behind one door: what runs, what starts, what is stopped.
//!
//! Each kind has one [`slot::Slot`] whose threads follow its plan; a new plan of a kind replaces the
//! running one and ramps on from its level. Nothing here knows HTTP.

pub(crate) mod ramp;
mod slot;

mod cpu;
mod memory;
pub(crate) mod network;

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ramp::Shape;

/// All stresses of the process.
#[derive(Default)]
pub(crate) struct Stresses {
    cpu: cpu::CpuStress,
    memory: memory::MemoryStress,
    network: network::NetworkStress,
}

impl Stresses {
    /// Ramps the CPU use of this whole process to `cores`.
    pub(crate) fn start_cpu(&self, cores: f64, shape: Shape, now: Instant) -> io::Result<()> {
        self.cpu.start(cores, shape, now)
    }

    /// Ramps the memory held by the stress to `target_mib`.
    pub(crate) fn start_memory(&self, target_mib: u64, shape: Shape, now: Instant) -> io::Result<()> {
        self.memory.start(target_mib, shape, now)
    }

    /// Ramps the traffic sent to `to` up to `target_mbps`.
    pub(crate) fn start_network(&self, target_mbps: u64, to: SocketAddr, shape: Shape, now: Instant) -> io::Result<()> {
        self.network.start(target_mbps, to, shape, now)
    }

    /// The names of the kinds running at `now`.
    pub(crate) fn active(&self, now: Instant) -> Vec<&'static str> {
        let kinds = [
            ("cpu", self.cpu.is_active(now)),
            ("memory", self.memory.is_active(now)),
            ("network", self.network.is_active(now)),
        ];
        let running = kinds.into_iter().filter(|(_, active)| *active);
        running.map(|(name, _)| name).collect()
    }

    /// Ends every plan and names the kinds that were running; their threads let go within a slice.
    pub(crate) fn stop(&self, now: Instant) -> Vec<&'static str> {
        let stopped = self.active(now);
        self.cpu.stop();
        self.memory.stop();
        self.network.stop();
        stopped
    }
}

/// Locks, also after a panic elsewhere: the state is whole between any two statements under it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
