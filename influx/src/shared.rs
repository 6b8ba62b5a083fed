//! What the two ends share: the queue, the counts, and whether the other end is still there.
//!
//! Not a way in or out by itself: [`Sink`](crate::Sink) and [`Writer`](crate::Writer) are. The lock is held for a few
//! assignments at a time, never across an await, so neither end ever waits for the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::queue::Queue;

/// What has become of the points since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Points the database has taken.
    pub points_stored: u64,
    /// Points dropped here: the queue was full, or the time to shut down was over.
    pub points_dropped: u64,
    /// Points the database will never take. Of a partial write that does not say how many, one.
    pub points_rejected: u64,
    /// Points that could not be written as a line; see [`Lines::take_left_out`](crate::Lines::take_left_out).
    pub points_left_out: u64,
    /// Batches the database has dealt with, whatever became of their points.
    pub batches_sent: u64,
    /// Attempts that ended with the batch kept to be sent again.
    pub retries: u64,
    /// Bodies written to the database, compressed, repetitions included; without HTTP's own bytes.
    pub bytes_sent: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Compressed bytes waiting or being sent now.
    pub queue_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the writer: a batch was queued, the sink is gone, or it is time to shut down. Only the writer waits.
    pub(crate) wake: Notify,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) queue: Queue,
    pub(crate) stats: Stats,
    pub(crate) sink_is_open: bool,
    pub(crate) writer_is_gone: bool,
    pub(crate) shutting_down: bool,
}

impl Shared {
    pub(crate) fn new(queue_bytes_max: usize) -> Self {
        let state = State {
            queue: Queue::new(queue_bytes_max),
            stats: Stats::default(),
            sink_is_open: true,
            writer_is_gone: false,
            shutting_down: false,
        };
        Self { state: Mutex::new(state), wake: Notify::new() }
    }

    /// Never held across an await, and nobody panics while holding it; if somebody did, the counts are still counts.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing will be sent any more: what waits, and what comes later, is dropped. Says how many points wait.
    pub(crate) fn close(&self) -> u64 {
        let mut state = self.lock();
        state.writer_is_gone = true;
        let dropped = state.queue.abandon();
        state.stats.points_dropped += dropped;
        dropped
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = self.lock();
        Stats { queue_bytes: u64::try_from(state.queue.bytes()).unwrap_or(u64::MAX), ..state.stats }
    }
}

/// Reads the counts, also after the writer has ended.
#[derive(Debug, Clone)]
pub struct StatsReader(pub(crate) Arc<Shared>);

impl StatsReader {
    /// What has become of the points so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }
}
