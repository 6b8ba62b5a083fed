//! CPU time: read for the process and the thread, and spent on purpose.
//!
//! Everything is CPU time as the kernel accounts it, not wall time: a burst costs what it was asked
//! to cost however busy the machine is.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Rounds of the mixer between two looks at the clock: a few microseconds, while a look is less.
const ROUNDS_PER_LOOK: u32 = 2_000;

/// CPU time of all threads of this process since it began.
pub(crate) fn process() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// Spends `amount` of CPU time in the calling thread.
pub(crate) fn burn(amount: Duration) {
    let end = read(ClockId::ThreadCPUTime) + amount;
    let mut seed = 1;
    while read(ClockId::ThreadCPUTime) < end {
        for _ in 0..ROUNDS_PER_LOOK {
            seed = mix(seed);
        }
        black_box(seed);
    }
}

/// One step of the xorshift64 generator (Marsaglia, "Xorshift RNGs", 2003); never zero from a
/// seed that is not zero.
pub(crate) fn mix(mut seed: u64) -> u64 {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    seed
}

fn read(clock: ClockId) -> Duration {
    // CPU clocks count up from zero, so the conversion, which refuses negative times, succeeds.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_costs_at_least_what_was_asked() {
        let amount = Duration::from_millis(3);
        let before = read(ClockId::ThreadCPUTime);
        burn(amount);
        assert!(read(ClockId::ThreadCPUTime) - before >= amount);
    }

    #[test]
    fn the_mixer_neither_stalls_nor_repeats_soon() {
        let first = mix(1);
        let mut seed = first;
        for _ in 0..10_000 {
            seed = mix(seed);
            assert!(seed != 0 && seed != first);
        }
    }
}
