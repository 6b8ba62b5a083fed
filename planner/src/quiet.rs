//! When nothing is done: hours of the day that a person chose, and pauses until further notice.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use swarmguard_wire::Timestamp;

use crate::plan::Wait;

const DAY_MINUTES: u64 = 24 * 60;
/// The first day of the epoch was a Thursday.
const FIRST_WEEKDAY: u64 = 3;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Hours of the day, in UTC, on some days of the week. They may pass midnight; the day is the one they begin on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// Bit 0 is Monday.
    days: u8,
    /// Minutes since midnight.
    from: u64,
    /// Minutes from there, 1 to 1,440.
    length: u64,
}

impl QuietHours {
    /// Reads `22:00-06:00`, `sat,sun 00:00-24:00` or `mon-fri 09:00-17:30`.
    pub fn parse(text: &str) -> Option<Self> {
        let (days, hours) = match text.trim().rsplit_once(' ') {
            Some((days, hours)) => (parse_days(days)?, hours),
            None => (0x7f, text.trim()),
        };
        let (from, to) = hours.split_once('-')?;
        let (from, to) = (parse_minutes(from).filter(|from| *from < DAY_MINUTES)?, parse_minutes(to)?);
        let length = if to > from { to - from } else { to + DAY_MINUTES - from };
        Some(Self { days, from, length })
    }

    /// Until when they last, if `now` is in them.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let minute = now.as_micros() / 60_000_000;
        let today = minute / DAY_MINUTES;
        // They may have begun yesterday.
        [today, today.saturating_sub(1)].into_iter().find_map(|day| {
            let weekday = (day + FIRST_WEEKDAY) % 7;
            let begin = day * DAY_MINUTES + self.from;
            let end = begin + self.length;
            let is_in = self.days & (1 << weekday) != 0 && (begin..end).contains(&minute);
            is_in.then(|| Timestamp::from_micros(end * 60_000_000))
        })
    }
}

fn parse_minutes(text: &str) -> Option<u64> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute) = (hour.parse::<u64>().ok()?, minute.parse::<u64>().ok()?);
    Some(hour * 60 + minute).filter(|all| minute < 60 && *all <= DAY_MINUTES)
}

fn parse_days(text: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name.trim().to_ascii_lowercase());
    text.split(',').try_fold(0, |days, part| {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        // Friday to Monday passes Sunday.
        let count = (last + 7 - first) % 7 + 1;
        Some((0..count).fold(days, |days, offset| days | 1 << ((first + offset) % 7)))
    })
}

/// A person's word that nothing is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Until when; absent: until it is taken back.
    pub until: Option<Timestamp>,
    /// Why, for others to read.
    pub reason: Option<String>,
}

impl Pause {
    /// Whether it holds at a time by the wall clock.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// All pauses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pauses {
    /// Of everything.
    pub all: Option<Pause>,
    /// Of services, by name.
    pub services: BTreeMap<String, Pause>,
}

/// Most services paused one by one: they are kept in one small object of the Swarm.
pub const PAUSES_MAX: usize = 500;

impl Pauses {
    /// The pause that holds for a service.
    pub fn of(&self, service: &str, now: Timestamp) -> Option<&Pause> {
        let holding = |pause: &&Pause| pause.holds(now);
        self.all.as_ref().filter(holding).or_else(|| self.services.get(service).filter(holding))
    }

    /// Forgets pauses that are over.
    pub fn forget(&mut self, now: Timestamp) {
        self.all = self.all.take().filter(|pause| pause.holds(now));
        self.services.retain(|_, pause| pause.holds(now));
    }
}

/// Why nothing is done at a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Quiet {
    /// The policy's quiet hours.
    Hours {
        /// Until when.
        until: Timestamp,
        /// Seconds until then, rounded up.
        seconds_left: u64,
    },
    /// A person's pause.
    Paused {
        /// Whether it is of everything.
        all: bool,
        /// Seconds until it is over, rounded up; absent: until it is taken back.
        seconds_left: Option<u64>,
        /// What the person said.
        why: Option<String>,
    },
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hours { seconds_left, .. } => write!(f, "these are quiet hours, for {} more", Wait(*seconds_left)),
            Self::Paused { all, seconds_left, why } => {
                write!(f, "{} is paused", if *all { "everything" } else { "it" })?;
                if let Some(seconds) = seconds_left {
                    write!(f, " for {} more", Wait(*seconds))?;
                }
                why.as_ref().map_or(Ok(()), |why| write!(f, " ({why})"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday 1 January 1970, and some days and minutes on.
    fn at(day: u64, hour: u64, minute: u64) -> Timestamp {
        Timestamp::from_micros((day * DAY_MINUTES + hour * 60 + minute) * 60_000_000)
    }

    #[test]
    fn quiet_hours_may_pass_midnight() {
        let night = QuietHours::parse("22:00-06:00").unwrap();
        assert_eq!(night.until(at(3, 23, 0)), Some(at(4, 6, 0)));
        assert_eq!(night.until(at(4, 5, 59)), Some(at(4, 6, 0)));
        assert_eq!(night.until(at(4, 6, 0)), None);
        assert_eq!(night.until(at(4, 21, 59)), None);
        assert_eq!(night.until(at(0, 1, 0)), None, "there was no day before");
    }

    #[test]
    fn days_are_those_on_which_the_hours_begin() {
        let weekend = QuietHours::parse("sat,sun 20:00-04:00").unwrap();
        assert_eq!(weekend.until(at(1, 21, 0)), None, "a Friday");
        assert_eq!(weekend.until(at(2, 21, 0)), Some(at(3, 4, 0)), "a Saturday");
        assert_eq!(weekend.until(at(4, 3, 0)), Some(at(4, 4, 0)), "a Monday, of Sunday's hours");
        assert_eq!(weekend.until(at(4, 21, 0)), None);
        let all_day = QuietHours::parse("fri-mon 00:00-24:00").unwrap();
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|day| all_day.until(at(day, 12, 0)).is_some()),
            [false, true, true, true, true, false]
        );
    }

    #[test]
    fn quiet_hours_of_one_day_end_on_it() {
        let work = QuietHours::parse("09:00-17:30").unwrap();
        assert_eq!(work.until(at(3, 8, 59)), None);
        assert_eq!(work.until(at(3, 9, 0)), Some(at(3, 17, 30)));
        assert_eq!(work.until(at(3, 17, 30)), None);
    }

    #[test]
    fn hours_that_end_when_they_begin_are_a_whole_day() {
        let day = QuietHours::parse("thu 10:00-10:00").unwrap();
        assert_eq!(day.until(at(0, 9, 59)), None);
        assert_eq!(day.until(at(0, 10, 0)), Some(at(1, 10, 0)));
        assert_eq!(day.until(at(1, 9, 59)), Some(at(1, 10, 0)));
        assert_eq!(day.until(at(1, 10, 0)), None);
    }

    #[test]
    fn a_day_may_be_named_twice() {
        let days = QuietHours::parse("thu,thu-fri 00:00-24:00").unwrap();
        assert_eq!([0, 1, 2].map(|day| days.until(at(day, 12, 0)).is_some()), [true, true, false]);
    }

    #[test]
    fn hours_that_are_none_are_refused() {
        for text in
            ["", "22:00", "22-06", "24:00-06:00", "22:60-06:00", "25:00-26:00", "someday 22:00-06:00", "mon 1:00"]
        {
            assert_eq!(QuietHours::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_pause_of_all_holds_for_each_and_ends_by_itself() {
        let pause = |until| Pause { until, reason: None };
        let mut pauses = Pauses { all: Some(pause(Some(at(1, 0, 0)))), services: BTreeMap::new() };
        pauses.services.insert("web".into(), pause(None));
        assert!(pauses.of("db", at(0, 23, 59)).is_some());
        assert!(pauses.of("db", at(1, 0, 0)).is_none());
        assert!(pauses.of("web", at(9, 0, 0)).is_some());
        pauses.forget(at(1, 0, 0));
        assert_eq!((pauses.all, pauses.services.len()), (None, 1));
    }
}
