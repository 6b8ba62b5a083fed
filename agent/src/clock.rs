//! How far a collector's clock is ahead, from the answers it gave lately.
//!
//! Of the last few exchanges the one with the shortest way is believed, as NTP's clock filter does (RFC 5905, section
//! 10): a request that waited somewhere tells little.

use std::collections::VecDeque;

use swarmguard_wire::time::{ClockOffset, Exchange};

/// Exchanges kept: with a report every five seconds, the last forty seconds.
const EXCHANGES_MAX: usize = 8;

/// The last exchanges with one collector.
#[derive(Debug, Default)]
pub struct ClockFilter {
    exchanges: VecDeque<Exchange>,
}

impl ClockFilter {
    /// Adds an exchange.
    pub fn push(&mut self, exchange: Exchange) {
        if self.exchanges.len() == EXCHANGES_MAX {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back(exchange);
    }

    /// The collector's clock minus this one's; absent before the first answer.
    pub fn offset(&self) -> Option<ClockOffset> {
        self.exchanges.iter().min_by_key(|exchange| exchange.round_trip()).map(Exchange::offset)
    }
}

#[cfg(test)]
mod tests {
    use swarmguard_wire::Timestamp;

    use super::*;

    #[test]
    fn the_shortest_way_is_believed_and_old_ones_are_forgotten() {
        let at = Timestamp::from_micros;
        let exchange = |there: u64| Exchange {
            sent: at(1_000_000),
            received: at(1_000_000 + 5_000 + there),
            answered: at(1_000_000 + 5_000 + there),
            returned: at(1_000_000 + there + 100),
        };
        let mut filter = ClockFilter::default();
        assert_eq!(filter.offset(), None);
        filter.push(exchange(100));
        filter.push(exchange(50_000));
        assert_eq!(filter.offset(), Some(ClockOffset(5_000)), "the slow exchange is not believed");
        (0..EXCHANGES_MAX).for_each(|_| filter.push(exchange(300)));
        assert_eq!(filter.offset(), Some(ClockOffset(5_100)), "the first exchange is forgotten");
    }
}
