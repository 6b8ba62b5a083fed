//! Memory stress: pages really written, and really given back.
//!
//! Memory is taken 1 MiB at a time inside slabs reserved whole. A slab is larger than any threshold
//! below which glibc's allocator keeps freed memory to itself, so it is a mapping of its own:
//! reserving costs nothing, shrinking gives pages back, dropping unmaps. Every byte is written
//! with pseudo-random data, which neither page merging nor compressed swap can fold together.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ramp::{Shape, whole_units};
use super::slot::{Order, Slot};
use crate::cpu_time::mix;

const MIB: usize = 1 << 20;
/// glibc raises its threshold for mappings up to 32 MiB (`DEFAULT_MMAP_THRESHOLD_MAX`); twice that
/// is always a mapping.
const SLAB_MIB: usize = 64;
const TICK: Duration = Duration::from_millis(20);
/// Between two MiB of a growth, so that under a CPU quota the server gets its turn.
const BREATH: Duration = Duration::from_micros(500);

/// The memory stress of the process.
#[derive(Default)]
pub(super) struct MemoryStress {
    slot: Arc<Slot<()>>,
}

impl MemoryStress {
    pub(super) fn start(&self, target_mib: u64, shape: Shape, now: Instant) -> io::Result<()> {
        let order = Order { target: target_mib as f64, shape, threads: 1, setting: () };
        self.slot.start(order, now, work)
    }

    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.slot.is_active(now)
    }

    pub(super) fn stop(&self) {
        self.slot.stop();
    }
}

fn work(slot: &Slot<()>) {
    let mut held = Held::default();
    while let Some(turn) = slot.turn(Instant::now()) {
        let wanted_mib = whole_units(turn.level);
        // A refused allocation is tried again at the next tick: the target stands.
        let grown = held.mib() < wanted_mib && held.grow();
        held.shrink_to(wanted_mib);
        std::thread::sleep(if grown { BREATH } else { TICK });
    }
}

/// The memory held: all slabs but the last are full.
#[derive(Default)]
struct Held {
    slabs: Vec<Vec<u64>>,
    seed: u64,
}

const WORDS_PER_MIB: usize = MIB / size_of::<u64>();

impl Held {
    fn mib(&self) -> usize {
        self.slabs.iter().map(|slab| slab.len() / WORDS_PER_MIB).sum()
    }

    /// Takes and writes one more MiB; `false` if the memory is refused.
    fn grow(&mut self) -> bool {
        let full = SLAB_MIB * WORDS_PER_MIB;
        if self.slabs.last().is_none_or(|slab| slab.len() >= full) {
            self.slabs.push(Vec::new());
        }
        let Some(slab) = self.slabs.last_mut() else {
            return false;
        };
        if slab.try_reserve_exact(full - slab.len()).is_err() {
            return false;
        }
        for _ in 0..WORDS_PER_MIB {
            self.seed = mix(self.seed.max(1));
            slab.push(self.seed);
        }
        true
    }

    /// Gives back what is beyond `mib`.
    fn shrink_to(&mut self, mib: usize) {
        self.slabs.truncate(mib.div_ceil(SLAB_MIB));
        let before_last = self.slabs.len().saturating_sub(1) * SLAB_MIB;
        if let Some(slab) = self.slabs.last_mut() {
            let words = mib.saturating_sub(before_last) * WORDS_PER_MIB;
            if slab.len() > words {
                slab.truncate(words);
                slab.shrink_to_fit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_and_shrinks_by_whole_mebibytes_across_slabs() {
        let mut held = Held::default();
        for expected in 1..=SLAB_MIB + 2 {
            assert!(held.grow());
            assert_eq!(held.mib(), expected);
        }
        for mib in [SLAB_MIB + 2, SLAB_MIB + 1, SLAB_MIB, 3, 0] {
            held.shrink_to(mib);
            assert_eq!(held.mib(), mib);
        }
        assert!(held.slabs.is_empty());
    }

    #[test]
    fn a_shrunk_slab_can_grow_again() {
        let mut held = Held::default();
        assert!(held.grow() && held.grow());
        held.shrink_to(1);
        assert!(held.grow());
        assert_eq!(held.mib(), 2);
    }

    #[test]
    fn no_two_pages_hold_the_same_data() {
        let mut held = Held::default();
        assert!(held.grow());
        let mut firsts: Vec<u64> = held.slabs[0].iter().copied().step_by(512).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), MIB / 4096);
    }
}
