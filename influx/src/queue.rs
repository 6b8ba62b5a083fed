//! Packed batches wait here for the database; when there are too many bytes, the oldest batch goes.
//!
//! Not a spool: it is in memory and ends with the process. The batch that is being sent is still counted and cannot be
//! dropped, since it may just be being stored; when it comes back it is the oldest again and can, so a batch that
//! the database always answers with an error does not hold up the others for ever.
//! Invariant: after each call, the bytes held are at most the maximum and the one batch that is being sent.

use std::collections::VecDeque;

use crate::pack::Packed;

/// What a waiting batch takes besides its body: its place in the queue and the allocator's own. Counted, so that very
/// many very small batches are bounded too.
const OVERHEAD_BYTES: usize = 64;

/// Batches in the order in which they were closed.
#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Packed>,
    waiting_bytes: usize,
    sending: Option<Sending>,
    bytes_max: usize,
}

#[derive(Debug)]
struct Sending {
    bytes: usize,
    points: u32,
}

fn bytes_of(packed: &Packed) -> usize {
    packed.body.len() + OVERHEAD_BYTES
}

impl Queue {
    /// An empty queue of at most `bytes_max` bytes.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { waiting: VecDeque::new(), waiting_bytes: 0, sending: None, bytes_max }
    }

    /// Bytes held, the batch that is being sent included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.waiting_bytes + self.sending.as_ref().map_or(0, |sending| sending.bytes)
    }

    /// Adds the newest batch and says how many points were dropped for it.
    pub fn push(&mut self, packed: Packed) -> u64 {
        self.waiting_bytes += bytes_of(&packed);
        self.waiting.push_back(packed);
        self.drop_oldest()
    }

    /// The oldest batch, to be sent. Nothing while another one is.
    pub fn take(&mut self) -> Option<Packed> {
        if self.sending.is_some() {
            return None;
        }
        let packed = self.waiting.pop_front()?;
        self.waiting_bytes -= bytes_of(&packed);
        self.sending = Some(Sending { bytes: bytes_of(&packed), points: packed.points });
        Some(packed)
    }

    /// The batch that was being sent is done with.
    pub fn settle(&mut self) {
        self.sending = None;
    }

    /// The batch that was being sent is to be sent again, as these: it, or its halves in order. Says how many points
    /// were dropped.
    pub fn put_back(&mut self, packed: impl IntoIterator<Item = Packed, IntoIter: DoubleEndedIterator>) -> u64 {
        self.sending = None;
        for packed in packed.into_iter().rev() {
            self.waiting_bytes += bytes_of(&packed);
            self.waiting.push_front(packed);
        }
        self.drop_oldest()
    }

    /// Empties the queue, the batch that is being sent included, and says how many points that were.
    pub fn abandon(&mut self) -> u64 {
        let sending = self.sending.take().map_or(0, |sending| sending.points);
        self.waiting_bytes = 0;
        self.waiting.drain(..).map(|packed| u64::from(packed.points)).sum::<u64>() + u64::from(sending)
    }

    fn drop_oldest(&mut self) -> u64 {
        let mut dropped = 0;
        while self.bytes() > self.bytes_max {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= bytes_of(&oldest);
            dropped += u64::from(oldest.points);
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A batch of as many points as `name` says, that counts 100 bytes.
    fn batch(points: u32) -> Packed {
        Packed { body: Bytes::from(vec![0; 100 - OVERHEAD_BYTES]), points }
    }

    fn drain(queue: &mut Queue) -> Vec<u32> {
        let mut points = Vec::new();
        while let Some(packed) = queue.take() {
            points.push(packed.points);
            queue.settle();
        }
        points
    }

    #[test]
    fn batches_leave_in_the_order_they_came_in() {
        let mut queue = Queue::new(1000);
        assert_eq!([1, 2, 3].map(|points| queue.push(batch(points))), [0, 0, 0]);
        assert_eq!(queue.bytes(), 300);
        assert_eq!(drain(&mut queue), [1, 2, 3]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn over_the_maximum_the_oldest_goes_and_is_counted() {
        let mut queue = Queue::new(300);
        assert_eq!([1, 2, 4, 8, 16].map(|points| queue.push(batch(points))), [0, 0, 0, 1, 2]);
        assert_eq!((queue.bytes(), drain(&mut queue)), (300, vec![4, 8, 16]));
    }

    #[test]
    fn the_batch_being_sent_is_counted_and_not_dropped() {
        let mut queue = Queue::new(300);
        for points in [1, 2, 4] {
            queue.push(batch(points));
        }
        assert_eq!(queue.take().unwrap().points, 1);
        assert_eq!(queue.take(), None, "one at a time");
        assert_eq!(queue.push(batch(8)), 2);
        assert_eq!(queue.bytes(), 300);
        queue.settle();
        assert_eq!(drain(&mut queue), [4, 8]);
    }

    #[test]
    fn a_batch_put_back_is_the_oldest_again_and_can_be_dropped() {
        let mut queue = Queue::new(300);
        for points in [1, 2, 4] {
            queue.push(batch(points));
        }
        let first = queue.take().unwrap();
        assert_eq!(queue.put_back([first]), 0);
        assert_eq!(queue.push(batch(8)), 1);
        assert_eq!(drain(&mut queue), [2, 4, 8]);
    }

    #[test]
    fn halves_come_back_in_order() {
        let mut queue = Queue::new(1000);
        queue.push(batch(3));
        queue.push(batch(4));
        queue.take().unwrap();
        queue.put_back([batch(1), batch(2)]);
        assert_eq!(drain(&mut queue), [1, 2, 4]);
    }

    #[test]
    fn a_batch_larger_than_the_queue_is_dropped_at_once() {
        let mut queue = Queue::new(50);
        assert_eq!(queue.push(batch(7)), 7);
        assert_eq!((queue.bytes(), queue.take()), (0, None));
    }

    #[test]
    fn abandoning_counts_everything_left() {
        let mut queue = Queue::new(1000);
        for points in [1, 2, 4] {
            queue.push(batch(points));
        }
        queue.take().unwrap();
        assert_eq!((queue.abandon(), queue.bytes(), queue.take()), (7, 0, None));
    }
}
