//! What goes wrong in a world, and when: drawn from a seed, and then a list that can be shortened.

use std::time::Duration;

use crate::rng::Rng;

/// One thing that goes wrong, or that a person does. Which service, task or node it is about is drawn from `draw`, so
/// that leaving out another event does not change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// After the world's beginning.
    pub after: Duration,
    /// What.
    pub what: What,
    /// Decides about whom.
    pub draw: u64,
}

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A container gets sick of CPU or of memory.
    Sick,
    /// A service gets more to do than its replicas can bear, for so many seconds.
    Busy(u64),
    /// The same until the world's end.
    BusyOn,
    /// A container is high for a single tick.
    Spike,
    /// A container dies.
    Crash,
    /// A node stops, for so many seconds.
    NodeDown(u64),
    /// A node is cut off from manager and collector, for so many seconds.
    CutOff(u64),
    /// A node hangs, for so many seconds: Swarm hears its heartbeats, and nothing that runs there starts, ends or is measured.
    Hangs(u64),
    /// A node's agent is silent, for so many seconds; rather where somebody is sick.
    AgentSilent(u64),
    /// A collector is killed; the next one starts after so many seconds.
    CollectorKilled(u64),
    /// A collector is stopped, and goes on after so many seconds as if nothing had been.
    CollectorAsleep(u64),
    /// Another manager leads the Swarm, where there are several.
    LeaderMoves,
    /// Messages are lost, late and doubled, for so many seconds.
    BadNetwork(u64),
    /// The manager's answers are lost and its updates raced, for so many seconds.
    BadManager(u64),
    /// A node's clock steps, by hours or by seconds.
    ClockSteps,
    /// The wall clock beside the collectors steps.
    WallSteps,
    /// A person pauses a service, or all, for so many seconds.
    Pause(u64),
    /// A service's owner changes it.
    Owner(Owner),
}

impl What {
    /// Whether it is what SwarmGuard acts on.
    #[must_use]
    pub fn is_reason(self) -> bool {
        matches!(self, Self::Sick | Self::Busy(_) | Self::BusyOn | Self::Spike)
    }
}

/// What a service's owner may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// `docker service update` with a new template.
    Deploys,
    /// `docker stack deploy`: the whole spec anew, without what is not in the owner's file.
    DeploysStack,
    /// `docker service scale`.
    Scales,
    /// `docker service rollback`.
    RollsBack,
    /// `swarmguard.enable` becomes false.
    Disables,
    /// `docker service rm`.
    Removes,
}

/// Which kind of world a seed gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One in which things go wrong.
    Faults,
    /// One in which they go wrong in the midst of actions.
    Aimed,
    /// A day of a Swarm that is noisy and healthy.
    CalmDay,
    /// An hour of such a Swarm, with a tick each second.
    CalmHour,
}

impl Kind {
    /// What stands before the seed of a world that is kept; nothing for those with faults.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Faults => "",
            Self::Aimed => "aimed ",
            Self::CalmDay => "calm ",
            Self::CalmHour => "calm-hour ",
        }
    }

    /// The kind of a world that is kept, and what stands after that word.
    fn of_kept(world: &str) -> (Self, &str) {
        let word = |kind: &Self| world.strip_prefix(kind.word()).map(|rest| (*kind, rest));
        [Self::Aimed, Self::CalmDay, Self::CalmHour].iter().find_map(word).unwrap_or((Self::Faults, world))
    }
}

/// A world's length and its events in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The seed of everything else: nodes, services, policy, timings.
    pub seed: u64,
    /// How long things may go wrong.
    pub length: Duration,
    /// Whether it is a day in which ticks are rare.
    pub is_day: bool,
    /// Whether nothing goes wrong but noise: then nothing is to be done at all.
    pub is_calm: bool,
    /// Whether what goes wrong waits for the next action, for [`AIMED_FOR`] at most.
    pub is_aimed: bool,
    /// What goes wrong.
    pub events: Vec<Event>,
}

/// What is to go wrong in the midst of an action does so without one after so long.
pub const AIMED_FOR: Duration = Duration::from_secs(60);

/// One world in so many is a day long.
pub const DAYS_IN: u64 = 10;

/// Of nodes that are lost for others one in so many hangs.
const HANGS_IN: u64 = 4;

/// What happens on a calm day, or in a calm hour.
const CALM_EVENTS: u32 = 200;

const DAY: Duration = Duration::from_secs(24 * 3_600);

const HOUR: Duration = Duration::from_secs(3_600);

impl Script {
    /// The script of a seed.
    #[must_use]
    pub fn of(kind: Kind, seed: u64) -> Self {
        match kind {
            Kind::Faults => Self::new(seed),
            Kind::Aimed => Self::aimed(seed),
            Kind::CalmDay => Self::calm(seed, DAY, true),
            Kind::CalmHour => Self::calm(seed, HOUR, false),
        }
    }

    /// One with faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5C21);
        let is_day = seed.is_multiple_of(DAYS_IN);
        let length = if is_day { DAY } else { Duration::from_secs(rng.between(120, 600)) };
        let events = rng.between(1, 14);
        let draw = |_| {
            let after = Duration::from_millis(rng.between(5_000, u64::try_from(length.as_millis()).unwrap_or(5_000)));
            let (mut what, draw) = (what(&mut rng), rng.draw());
            if let What::CutOff(length) = what
                && draw.is_multiple_of(HANGS_IN)
            {
                what = What::Hangs(length);
            }
            Event { after, what, draw }
        };
        let events = in_order((0..events).map(draw).collect());
        Self { seed, length, is_day, is_calm: false, is_aimed: false, events }
    }

    /// One with reasons to act, and with faults that wait for an action to go wrong in.
    fn aimed(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xA13D);
        let length = Duration::from_secs(rng.between(200, 600));
        let (reasons, faults) = (rng.between(2, 6), rng.between(1, 8));
        let last = u64::try_from((length - AIMED_FOR).as_millis()).unwrap_or(5_000);
        let draw = |number| {
            let what = loop {
                let what = if number >= reasons && rng.chance(25) { What::LeaderMoves } else { what(&mut rng) };
                if what.is_reason() == (number < reasons) {
                    break what;
                }
            };
            Event { after: Duration::from_millis(rng.between(5_000, last)), what, draw: rng.draw() }
        };
        let events = in_order((0..reasons + faults).map(draw).collect());
        Self { seed, length, is_day: false, is_calm: false, is_aimed: true, events }
    }

    fn calm(seed: u64, length: Duration, is_day: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0xCA13);
        // So far apart that no two spikes are ticks in a row.
        let apart = length / CALM_EVENTS;
        // Ten minutes of a day.
        let silence_max = apart.as_secs() * 600 / (DAY / CALM_EVENTS).as_secs();
        let draw = |number| {
            let after = apart * number + Duration::from_secs(rng.between(5, apart.as_secs() / 2));
            let what = match rng.between(0, 9) {
                0 => What::Crash,
                1 => What::Owner(Owner::Deploys),
                2 => What::AgentSilent(rng.between(10, silence_max)),
                3 => What::BadNetwork(rng.between(5, 90)),
                4 => What::LeaderMoves,
                5 => What::CollectorKilled(rng.between(1, 20)),
                6 => What::ClockSteps,
                _ => What::Spike,
            };
            Event { after, what, draw: rng.draw() }
        };
        let events = in_order((0..CALM_EVENTS).map(draw).collect());
        Self { seed, length, is_day, is_calm: true, is_aimed: false, events }
    }

    /// A world of this seed with these of its events alone, by their numbers: what a world that failed was shortened to.
    /// Nothing where it has no event of such a number.
    #[must_use]
    pub fn with_events(kind: Kind, seed: u64, numbers: &[usize]) -> Option<Self> {
        let whole = Self::of(kind, seed);
        let events = numbers.iter().map(|number| whole.events.get(*number).cloned()).collect::<Option<_>>()?;
        Some(Self { events: in_order(events), ..whole })
    }

    /// The numbers of `shorter`'s events among these.
    #[must_use]
    pub fn numbers_of(&self, shorter: &Self) -> Vec<usize> {
        let is_in = |event: &Event| shorter.events.contains(event);
        self.events.iter().enumerate().filter(|(_, event)| is_in(event)).map(|(number, _)| number).collect()
    }

    /// The fewest of its events that still fail, by leaving out one after the other.
    #[must_use]
    pub fn shortened(&self, fails: &dyn Fn(&Self) -> bool) -> Self {
        let mut shortest = self.clone();
        // What could not be left out may be once another is.
        loop {
            let (before, mut place) = (shortest.events.len(), 0);
            while place < shortest.events.len() {
                let mut shorter = shortest.clone();
                shorter.events.remove(place);
                if fails(&shorter) { shortest = shorter } else { place += 1 }
            }
            if shortest.events.len() == before {
                return shortest;
            }
        }
    }
}

/// Worlds that were shortened and kept, each with what is said about it. A line is a seed and the numbers of its events, `calm`
/// before it for a calm day, `calm-hour` for a calm hour, and words after `#`; `cargo xtask simulate` prints it. One that is no
/// such line, or names an event that the world does not have, is given back.
pub fn kept(text: &str) -> impl Iterator<Item = Result<(Script, &str), &str>> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| kept_line(line).ok_or(line))
}

fn kept_line(line: &str) -> Option<(Script, &str)> {
    let (world, what) = line.split_once('#')?;
    let (kind, numbers) = Kind::of_kept(world);
    let mut numbers = numbers.split_whitespace();
    let seed = numbers.next()?.parse().ok()?;
    let events: Vec<usize> = numbers.map(|number| number.parse().ok()).collect::<Option<_>>()?;
    Some((Script::with_events(kind, seed, &events)?, what.trim()))
}

fn in_order(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|event| event.after);
    events
}

fn what(rng: &mut Rng) -> What {
    match rng.between(0, 99) {
        0..=24 => What::Sick,
        25..=32 => What::Busy(rng.between(10, 120)),
        33..=34 => What::BusyOn,
        35..=37 => What::Spike,
        38..=39 => What::ClockSteps,
        40 => What::WallSteps,
        41..=42 => What::Pause(rng.between(5, 300)),
        43..=46 => What::Crash,
        47..=52 => What::NodeDown(rng.between(5, 120)),
        53..=58 => What::CutOff(rng.between(2, 90)),
        59..=64 => What::AgentSilent(rng.between(5, 200)),
        65..=69 => What::CollectorKilled(rng.between(1, 20)),
        70..=71 => What::CollectorAsleep(rng.between(1, 40)),
        72 => What::LeaderMoves,
        73..=77 => What::BadNetwork(rng.between(5, 90)),
        78..=82 => What::BadManager(rng.between(5, 90)),
        83..=87 => What::Owner(Owner::Deploys),
        88..=90 => What::Owner(Owner::DeploysStack),
        91..=94 => What::Owner(Owner::Scales),
        95..=96 => What::Owner(Owner::RollsBack),
        97..=98 => What::Owner(Owner::Disables),
        _ => What::Owner(Owner::Removes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_that_is_kept_is_the_same_again() {
        for kind in [Kind::Faults, Kind::Aimed, Kind::CalmDay, Kind::CalmHour] {
            let whole = Script::of(kind, 7);
            let shorter = Script { events: whole.events[..2].to_vec(), ..whole.clone() };
            let line = format!("{}7 0 1 # Why", kind.word());
            assert_eq!(kept(&line).collect::<Vec<_>>(), [Ok((shorter, "Why"))]);
        }
    }

    #[test]
    fn a_line_that_is_no_world_or_names_an_event_that_it_has_not_is_given_back() {
        for line in ["7 0 1", "calm # Why", "x 1 # Why", "7 1 x # Why", "7 99 # Why"] {
            assert_eq!(kept(line).collect::<Vec<_>>(), [Err(line)]);
        }
        assert_eq!(kept("# a remark\n\n").count(), 0);
    }
}
