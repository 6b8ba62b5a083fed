//! A container's recent samples, oldest first, at most [`SAMPLES_MAX`] and none older than the fleet's memory.
//!
//! Samples come by alert (at once, while a threshold is crossed) and by report (every few ticks, always). The same
//! tick may come both ways, and messages may come late: the window keeps one sample a tick, in the order of ticks.

use std::collections::VecDeque;
use std::time::Duration;

use swarmguard_wire::Timestamp;

/// Most samples kept of one container: five minutes of alerts at one a second.
pub const SAMPLES_MAX: usize = 300;

/// One container at one tick, by the collector's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The agent's tick. Consecutive ticks have consecutive numbers.
    pub tick: u64,
    /// When the sample was taken (T0).
    pub sampled_at: Timestamp,
    /// When it was sent (T1).
    pub sent_at: Timestamp,
    /// When it was received (T2).
    pub received_at: Timestamp,
    /// Whether its health is checked; absent when not known.
    pub has_healthcheck: Option<bool>,
    /// CPU in percent of what the container may use.
    pub cpu_percent: Option<f32>,
    /// Memory in percent of what the container may use.
    pub memory_percent: Option<f32>,
    /// Network in percent of the node's link, the busier direction.
    pub network_percent: Option<f32>,
}

/// Samples of one container.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Apart from the others, since most plans look no further.
    newest: Option<Sample>,
    /// Those before it.
    older: VecDeque<Sample>,
}

impl Window {
    /// Adds a sample and forgets what is older than `age_max` before it.
    ///
    /// A tick that is known already is not added twice. A tick far below the newest means that the agent started
    /// anew and counts from zero: the old ticks are forgotten, since no order holds between them and the new ones.
    pub fn push(&mut self, sample: Sample, age_max: Duration) {
        if let Some(newest) = &self.newest {
            if newest.tick == sample.tick {
                return;
            }
            if sample.tick < newest.tick {
                let late_not_restarted = sample.sampled_at < newest.sampled_at;
                if late_not_restarted {
                    return;
                }
                *self = Self::default();
            }
        }
        self.older.extend(self.newest.take());
        while self.older.len() >= SAMPLES_MAX
            || self.older.front().is_some_and(|oldest| sample.sampled_at.since(oldest.sampled_at) > age_max)
        {
            self.older.pop_front();
        }
        self.newest = Some(sample);
    }

    /// The newest sample.
    pub fn newest(&self) -> Option<&Sample> {
        self.newest.as_ref()
    }

    /// Samples, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Sample> {
        self.newest.iter().chain(self.older.iter().rev())
    }

    /// The sample of so many before the newest.
    pub fn back(&self, count: usize) -> Option<&Sample> {
        match count.checked_sub(1) {
            None => self.newest.as_ref(),
            Some(count) => self.older.get(self.older.len().checked_sub(count + 1)?),
        }
    }

    /// How many samples are kept.
    pub fn len(&self) -> usize {
        self.older.len() + usize::from(self.newest.is_some())
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.newest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn sample(tick: u64, second: u64) -> Sample {
        let at = Timestamp::from_micros(second * 1_000_000);
        Sample {
            tick,
            sampled_at: at,
            sent_at: at,
            received_at: at,
            has_healthcheck: None,
            cpu_percent: None,
            memory_percent: None,
            network_percent: None,
        }
    }

    fn ticks(window: &Window) -> Vec<u64> {
        window.newest_first().map(|sample| sample.tick).collect()
    }

    fn check(pushed: &[(u64, u64)], expected: &[u64]) {
        let mut window = Window::default();
        for (tick, second) in pushed {
            window.push(sample(*tick, *second), MINUTE);
        }
        assert_eq!(ticks(&window), expected, "after {pushed:?}");
    }

    #[test]
    fn a_tick_that_comes_twice_counts_once() {
        check(&[(1, 1), (2, 2), (2, 2)], &[2, 1]);
    }

    #[test]
    fn a_late_tick_is_left_out() {
        check(&[(1, 1), (3, 3), (2, 2)], &[3, 1]);
    }

    #[test]
    fn an_agent_that_started_anew_starts_a_new_window() {
        check(&[(900, 1), (901, 2), (0, 10), (1, 11)], &[1, 0]);
        check(&[(900, 1), (901, 2), (0, 2)], &[0]);
    }

    #[test]
    fn old_samples_are_forgotten() {
        check(&[(1, 1), (2, 2), (70, 70)], &[70]);
        check(&[(1, 1), (2, 2), (61, 61)], &[61, 2, 1]);
        check(&[(1, 1), (2, 2), (62, 62)], &[62, 2]);
    }

    #[test]
    fn the_number_of_samples_is_bounded() {
        let mut window = Window::default();
        for tick in 0..2 * SAMPLES_MAX as u64 {
            window.push(sample(tick, 1), MINUTE);
        }
        assert_eq!(window.len(), SAMPLES_MAX);
    }

    #[test]
    fn samples_are_counted_back_from_the_newest() {
        let mut window = Window::default();
        assert_eq!(window.back(0), None);
        (1..=3).for_each(|tick| window.push(sample(tick, tick), MINUTE));
        let tick = |back| window.back(back).map(|sample| sample.tick);
        assert_eq!([0, 1, 2, 3].map(tick), [Some(3), Some(2), Some(1), None]);
    }

    #[test]
    fn a_window_is_empty_until_the_first_sample() {
        let mut window = Window::default();
        assert_eq!((window.is_empty(), window.len()), (true, 0));
        window.push(sample(1, 1), MINUTE);
        assert_eq!((window.is_empty(), window.len()), (false, 1));
    }
}
