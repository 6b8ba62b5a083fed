//! One kind's plan and the count of threads that follow it.
//!
//! Threads are never told to stop one by one: each asks for its [`Turn`] every slice, and ends when
//! there is none for it. The invariant, kept under one lock: a thread counts itself out in the very
//! step that tells it to end, so a new plan always knows how many threads it still has to start.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::lock;
use super::ramp::{Ramp, Shape};

/// Stacks of stress threads hold a few small frames.
const STACK_BYTES: usize = 128 * 1024;

/// The plan of one kind of stress, with a setting of that kind.
pub(super) struct Slot<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    plan: Option<Plan<T>>,
    threads: usize,
}

struct Plan<T> {
    ramp: Ramp,
    begun: Instant,
    threads: usize,
    setting: T,
}

/// What a thread has to do in the next slice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Turn<T> {
    /// The level of the whole kind.
    pub(super) level: f64,
    /// How many threads share it.
    pub(super) threads: usize,
    /// The kind's own setting.
    pub(super) setting: T,
}

/// A plan to be started.
pub(super) struct Order<T> {
    /// The level to reach.
    pub(super) target: f64,
    /// When.
    pub(super) shape: Shape,
    /// How many threads follow it; at least 1.
    pub(super) threads: usize,
    /// The kind's own setting.
    pub(super) setting: T,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { plan: None, threads: 0 }) }
    }
}

impl<T: Copy + Send + 'static> Slot<T> {
    /// Puts the order in place of the running plan and starts the threads that are missing.
    ///
    /// # Errors
    /// If a thread cannot be started; the plan then runs with those there are, if any.
    pub(super) fn start(
        self: &Arc<Self>,
        order: Order<T>,
        now: Instant,
        body: impl Fn(&Self) + Clone + Send + 'static,
    ) -> io::Result<()> {
        let missing = self.replace(order, now);
        for started in 0..missing {
            let (slot, body) = (Arc::clone(self), body.clone());
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            if let Err(error) = thread.spawn(move || body(&slot)) {
                self.forget(missing - started);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The next slice of work; `None` tells the asking thread to end, and has counted it out.
    pub(super) fn turn(&self, now: Instant) -> Option<Turn<T>> {
        let mut state = lock(&self.state);
        let turn = state.plan.as_ref().and_then(|plan| {
            let level = plan.level(now)?;
            (state.threads <= plan.threads).then_some(Turn { level, threads: plan.threads, setting: plan.setting })
        });
        if turn.is_none() {
            state.threads = state.threads.saturating_sub(1);
        }
        turn
    }

    /// Ends the plan.
    pub(super) fn stop(&self) {
        lock(&self.state).plan = None;
    }

    /// Whether a plan runs at `now`.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        let state = lock(&self.state);
        state.plan.as_ref().is_some_and(|plan| plan.level(now).is_some())
    }

    /// Takes the order over and counts in the threads it lacks, whose number it returns.
    fn replace(&self, order: Order<T>, now: Instant) -> usize {
        let mut state = lock(&self.state);
        let from = state.plan.as_ref().and_then(|plan| plan.level(now));
        state.plan = Some(Plan {
            ramp: Ramp { from: from.unwrap_or(0.0), target: order.target, shape: order.shape },
            begun: now,
            threads: order.threads,
            setting: order.setting,
        });
        let missing = order.threads.saturating_sub(state.threads);
        state.threads += missing;
        missing
    }

    fn forget(&self, threads: usize) {
        let mut state = lock(&self.state);
        state.threads = state.threads.saturating_sub(threads);
        if state.threads == 0 {
            state.plan = None;
        }
    }
}

impl<T> Plan<T> {
    fn level(&self, now: Instant) -> Option<f64> {
        self.ramp.level(now.saturating_duration_since(self.begun))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn order(target: f64, ramp_s: u64, threads: usize) -> Order<()> {
        Order {
            target,
            shape: Shape { ramp: Duration::from_secs(ramp_s), hold: Duration::from_secs(10) },
            threads,
            setting: (),
        }
    }

    fn level(slot: &Slot<()>, at: Instant) -> Option<f64> {
        slot.turn(at).map(|turn| turn.level)
    }

    #[test]
    fn a_replacement_starts_only_the_threads_it_lacks_and_from_the_present_level() {
        let (slot, begin) = (Slot::default(), Instant::now());
        assert_eq!(slot.replace(order(10.0, 10, 1), begin), 1);
        let half = begin + Duration::from_secs(5);
        assert_eq!(slot.replace(order(20.0, 10, 3), half), 2);
        assert_eq!(level(&slot, half), Some(5.0));
        assert_eq!(level(&slot, half + Duration::from_secs(10)), Some(20.0));
    }

    #[test]
    fn threads_too_many_end_until_the_number_is_right() {
        let (slot, now) = (Slot::default(), Instant::now());
        slot.replace(order(10.0, 0, 3), now);
        assert_eq!(slot.replace(order(10.0, 0, 2), now), 0);
        assert_eq!(level(&slot, now), None);
        assert_eq!(level(&slot, now), Some(10.0));
    }

    #[test]
    fn after_a_stop_every_thread_ends_and_a_start_replaces_those_that_did() {
        let (slot, now) = (Slot::default(), Instant::now());
        slot.replace(order(10.0, 0, 2), now);
        slot.stop();
        assert!(!slot.is_active(now));
        assert_eq!(level(&slot, now), None);
        assert_eq!(slot.replace(order(10.0, 0, 2), now), 1);
        assert!(slot.is_active(now));
    }

    #[test]
    fn a_plan_is_over_by_itself_after_ramp_and_hold() {
        let (slot, now) = (Slot::default(), Instant::now());
        slot.replace(order(10.0, 5, 1), now);
        assert!(slot.is_active(now + Duration::from_secs(14)));
        assert!(!slot.is_active(now + Duration::from_secs(15)));
        assert_eq!(level(&slot, now + Duration::from_secs(15)), None);
    }
}
