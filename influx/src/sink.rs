//! The near end: where points are put without ever waiting.
//!
//! Collects them into a batch, packs it when it closes, and leaves it in the queue for the
//! [`Writer`](crate::Writer). Knows nothing of the network, and no clock: the time of a tick is an argument.

use std::sync::Arc;
use std::time::Instant;

use crate::batch::Batch;
use crate::line::{Point, Series};
use crate::pack::pack;
use crate::shared::{Shared, Stats};

/// Where points are put. No method waits for the network; closing a batch costs the time to compress it, so
/// [`commit`](Self::commit) belongs at the end of a tick, after everything urgent.
///
/// Dropping the sink closes its last batch and lets the writer end when everything is sent.
#[derive(Debug)]
pub struct Sink {
    pub(crate) batch: Batch,
    pub(crate) shared: Arc<Shared>,
}

impl Sink {
    /// Begins a point, after closing the batch if it is full.
    pub fn point(&mut self, measurement: &str) -> Point<'_> {
        self.make_room();
        self.batch.lines().point(measurement)
    }

    /// Begins a point of a series, after closing the batch if it is full.
    pub fn point_of(&mut self, series: &Series) -> Point<'_> {
        self.make_room();
        self.batch.lines().point_of(series)
    }

    /// Ends a tick at `now`: closes the batch and queues it if it is full or its time is over.
    pub fn commit(&mut self, now: Instant) {
        if self.batch.due(now).is_some() {
            self.flush();
        }
    }

    /// Closes the batch and queues it now, if it holds anything.
    pub fn flush(&mut self) {
        let lines = self.batch.lines();
        let left_out = lines.take_left_out();
        let points = lines.points();
        let packed = (points > 0).then(|| pack(lines.as_bytes(), points));
        lines.clear();
        let mut state = self.shared.lock();
        state.stats.points_left_out += left_out;
        state.stats.points_dropped += match packed {
            None => return,
            Some(Ok(packed)) if !state.writer_is_gone => state.queue.push(packed),
            Some(Ok(_) | Err(_)) => u64::from(points),
        };
        drop(state);
        self.shared.wake.notify_one();
    }

    /// What has become of the points so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    fn make_room(&mut self) {
        if self.batch.full().is_some() {
            self.flush();
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.flush();
        self.shared.lock().sink_is_open = false;
        self.shared.wake.notify_one();
    }
}
