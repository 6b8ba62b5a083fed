//! Cooldowns: after an action, the same kind of action on the same service waits.
//!
//! Kept per service and direction, so that a migration does not hold up a scale-up. A cooldown runs from the end of
//! the action, since its effect shows only then.

use std::time::Duration;

use swarmguard_wire::Timestamp;

/// When the last action of one kind ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cooldown {
    ended_at: Option<Timestamp>,
}

impl Cooldown {
    /// Starts at the end of an action, unless another ended later: what was begun first may end last.
    pub fn start(&mut self, ended_at: Timestamp) {
        self.ended_at = self.ended_at.max(Some(ended_at));
    }

    /// When the last action ended, if there was one.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// Until when nothing is to be done; `None` if that time has passed or there was no action.
    pub fn until(&self, length: Duration, now: Timestamp) -> Option<Timestamp> {
        self.ended_at.map(|ended| ended + length).filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cooldown_ends_exactly_when_its_length_has_passed() {
        let second = |s: u64| Timestamp::from_micros(s * 1_000_000);
        let length = Duration::from_secs(30);
        let mut cooldown = Cooldown::default();
        assert_eq!(cooldown.until(length, second(100)), None, "nothing was done yet");
        cooldown.start(second(100));
        assert_eq!(cooldown.until(length, second(100)), Some(second(130)));
        assert_eq!(cooldown.until(length, second(129)), Some(second(130)));
        assert_eq!(cooldown.until(length, second(130)), None);
        cooldown.start(second(90));
        assert_eq!(cooldown.until(length, second(129)), Some(second(130)), "an earlier end takes nothing of it");
    }
}
