//! When to tick: one wake-up of the process for each tick.
//!
//! The kernel's timer says when. tokio's own timers are kept in steps of 64 ms for what is farther away, and wake the
//! process twice for each deadline: at its step, and at the deadline. That is a tenth of what the agent costs.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Ticks at a steady rhythm. After a pause (a suspended machine, a stopped process) one tick is enough: the missed ones
/// would be empty.
#[derive(Debug)]
pub struct Ticker {
    timer: AsyncFd<OwnedFd>,
    interval: Duration,
}

impl Ticker {
    /// The first tick is a whole interval away.
    ///
    /// # Errors
    /// When the kernel gives no timer: there are too many open files.
    pub fn every(interval: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(unsafe_code, reason = "a descriptor must stay open while the runtime watches it")]
        // SAFETY: the `AsyncFd` owns it, and nobody closes or replaces it before.
        let timer = unsafe { AsyncFd::register(timer) }?;
        let mut ticker = Self { timer, interval };
        ticker.change(interval)?;
        Ok(ticker)
    }

    /// The time between ticks.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Changes the time between ticks. The next is a whole new interval away: a rate over almost no time would be
    /// nonsense.
    ///
    /// # Errors
    /// When the kernel refuses, which it does for no interval that can be configured. The rhythm is then as it was.
    pub fn change(&mut self, interval: Duration) -> io::Result<()> {
        // An interval of zero would stop the timer.
        let time = Timespec::try_from(interval.max(Duration::from_millis(1))).map_err(io::Error::other)?;
        let rhythm = Itimerspec { it_interval: time, it_value: time };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &rhythm)?;
        self.interval = interval;
        Ok(())
    }

    /// Resolves at the next tick. A call that is dropped loses no tick.
    pub async fn tick(&mut self) {
        let mut expirations = [0; 8];
        loop {
            // Fails only when the runtime is gone, and then nobody waits.
            let Ok(mut ready) = self.timer.readable().await else { return std::future::pending().await };
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?));
            if let Ok(Ok(_)) = read {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn ticks_keep_their_rhythm_however_long_each_takes() {
        let begun = Instant::now();
        let mut ticker = Ticker::every(INTERVAL).unwrap();
        for number in 1..=5 {
            ticker.tick().await;
            assert!(begun.elapsed() >= INTERVAL * number, "tick {number} after {:?}", begun.elapsed());
            std::thread::sleep(INTERVAL / 2);
        }
    }

    #[tokio::test]
    async fn missed_ticks_are_one() {
        let mut ticker = Ticker::every(INTERVAL).unwrap();
        std::thread::sleep(INTERVAL * 5);
        let waited_for = Instant::now();
        ticker.tick().await;
        ticker.tick().await;
        // The second is the next of the rhythm, less than an interval away; ticks that were made up for would be there.
        ticker.tick().await;
        assert!(waited_for.elapsed() >= INTERVAL, "{:?}", waited_for.elapsed());
    }

    #[tokio::test]
    async fn a_changed_interval_begins_anew() {
        let mut ticker = Ticker::every(Duration::from_secs(3600)).unwrap();
        ticker.change(INTERVAL).unwrap();
        assert_eq!(ticker.interval(), INTERVAL);
        let begun = Instant::now();
        ticker.tick().await;
        assert!(begun.elapsed() >= INTERVAL / 2);
    }

    #[tokio::test]
    async fn an_interval_that_is_refused_changes_nothing() {
        let mut ticker = Ticker::every(INTERVAL).unwrap();
        assert!(ticker.change(Duration::MAX).is_err());
        assert_eq!(ticker.interval(), INTERVAL);
        ticker.tick().await;
    }
}
