//! CPU stress: threads burn what the process as a whole still owes to its target.
//!
//! The target is in cores; the caller makes it from a percentage of what the container may use.
//! The [`Pacer`] integrates the target over time and subtracts the CPU time the kernel has charged
//! to the whole process, so what the server itself uses is part of the target, and the mean over a
//! window is held by construction. The burn is spread in slices of a few milliseconds: a container
//! with a small CFS quota would otherwise spend its period at once and leave the server frozen.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::lock;
use super::ramp::{Shape, whole_units};
use super::slot::{Order, Slot};
use crate::cpu_time;

/// A thread wakes this often. CFS counts quota over 100 ms, so a period is spread over 20 slices.
const SLICE: Duration = Duration::from_millis(5);
/// A debt or credit beyond this much time at the present level is forgiven. More would show: 80 ms
/// made up for within 2 s are 4 %.
const DEBT_S_MAX: f64 = 0.08;
/// After a pause this long, an earlier stress has ended and its accounts are closed.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The CPU stress of the process.
#[derive(Default)]
pub(super) struct CpuStress {
    slot: Arc<Slot<()>>,
    pacer: Arc<Mutex<Pacer>>,
}

impl CpuStress {
    /// Ramps to `cores`, with as many threads as that takes, rounded up.
    pub(super) fn start(&self, cores: f64, shape: Shape, now: Instant) -> io::Result<()> {
        let order = Order { target: cores, shape, threads: whole_units(cores.ceil()).max(1), setting: () };
        let pacer = Arc::clone(&self.pacer);
        self.slot.start(order, now, move |slot| work(slot, &pacer))
    }

    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.slot.is_active(now)
    }

    pub(super) fn stop(&self) {
        self.slot.stop();
    }
}

fn work(slot: &Slot<()>, pacer: &Mutex<Pacer>) {
    let mut next = Instant::now();
    while let Some(turn) = slot.turn(Instant::now()) {
        let debt_s = lock(pacer).debt_s(Instant::now(), cpu_time::process(), turn.level);
        cpu_time::burn(share(debt_s, turn.threads));
        next += SLICE;
        let now = Instant::now();
        match next.checked_duration_since(now) {
            Some(rest) => std::thread::sleep(rest),
            None => next = now,
        }
    }
}

/// One thread's part of the debt for one slice.
fn share(debt_s: f64, threads: usize) -> Duration {
    let part_s = (debt_s / threads as f64).clamp(0.0, SLICE.as_secs_f64());
    Duration::from_secs_f64(part_s)
}

/// The account: CPU time due, less CPU time used.
#[derive(Debug, Default)]
struct Pacer {
    last: Option<(Instant, Duration)>,
    debt_s: f64,
}

impl Pacer {
    /// The CPU seconds owed at `now`, when the process has used `used` since it began and `level`
    /// cores are due; negative if more was used than was due.
    fn debt_s(&mut self, now: Instant, used: Duration, level: f64) -> f64 {
        let last = self.last.replace((now, used));
        let known = last.filter(|(at, _)| now.saturating_duration_since(*at) < PAUSE_MAX);
        let Some((last_at, last_used)) = known else {
            self.debt_s = 0.0;
            return self.debt_s;
        };
        let due_s = level * now.saturating_duration_since(last_at).as_secs_f64();
        // Two threads may read the clock in one order and take the lock in the other.
        let used_s = used.as_secs_f64() - last_used.as_secs_f64();
        let bound_s = level * DEBT_S_MAX;
        self.debt_s = (self.debt_s + due_s - used_s).clamp(-bound_s, bound_s);
        self.debt_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Runs the pacer for two seconds of made-up time beside a server using `server_cores`; returns
    /// the cores used in all.
    fn simulate(level: f64, threads: usize, server_cores: f64) -> f64 {
        let begin = Instant::now();
        let mut pacer = Pacer::default();
        let mut used = Duration::ZERO;
        let mut at = Duration::ZERO;
        while at < 2_000 * MS {
            for _ in 0..threads {
                used += share(pacer.debt_s(begin + at, used, level), threads);
            }
            at += SLICE;
            used += SLICE.mul_f64(server_cores);
        }
        used.as_secs_f64() / 2.0
    }

    #[test]
    fn the_mean_over_two_seconds_is_the_target_whatever_the_server_uses() {
        for (level, threads, server) in [(0.2, 1, 0.0), (0.24, 1, 0.1), (1.6, 2, 0.3), (0.05, 1, 0.01)] {
            let cores = simulate(level, threads, server);
            assert!((cores / level - 1.0).abs() < 0.02, "{level} became {cores}");
        }
    }

    #[test]
    fn a_server_beyond_the_target_is_left_alone() {
        assert!(simulate(0.2, 1, 0.5) < 0.51);
    }

    #[test]
    fn time_lost_to_throttling_is_made_up_only_within_bounds() {
        let (begin, mut pacer) = (Instant::now(), Pacer::default());
        pacer.debt_s(begin, Duration::ZERO, 0.3);
        let debt_s = pacer.debt_s(begin + 900 * MS, Duration::ZERO, 0.3);
        assert!((debt_s - 0.3 * DEBT_S_MAX).abs() < 1e-9);
    }

    #[test]
    fn a_stress_after_a_pause_begins_without_debt() {
        let (begin, mut pacer) = (Instant::now(), Pacer::default());
        pacer.debt_s(begin, Duration::ZERO, 0.3);
        let debt_s = pacer.debt_s(begin + 2_000 * MS, Duration::ZERO, 0.3);
        assert_eq!(debt_s, 0.0);
    }

    #[test]
    fn no_thread_burns_longer_than_its_slice() {
        assert_eq!(share(10.0, 1), SLICE);
        assert_eq!(share(-1.0, 1), Duration::ZERO);
        assert_eq!(share(0.004, 2), 2 * MS);
    }
}
