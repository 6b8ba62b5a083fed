//! The Swarm's managers, one of which leads, and the collector beside each.

use std::time::Duration;

use swarmguard_planner::facts::Leader;
use swarmguard_planner::memory::Past;
use swarmguard_wire::{Name, Timestamp};

use super::BEGINNING;
use crate::collector::{Collector, Unreliable};
use crate::rng::Rng;

/// After the leader is lost, managers elect another one so late. SwarmKit's is between 10 and 20 s.
const ELECTION: Duration = Duration::from_secs(12);

/// For so long after an election managers answer, and name no leader.
const NAMELESS: Duration = Duration::from_millis(700);

/// A manager and its collector.
#[derive(Debug)]
pub(super) struct Seat {
    /// Absent while it is dead.
    pub(super) collector: Option<Collector>,
    /// What one that died left on its disk.
    pub(super) journal: Vec<(String, Past)>,
    /// It is stopped (`SIGSTOP`) until then, and knows nothing of it.
    pub(super) asleep_until: Timestamp,
    /// Whether the manager is one of the Swarm.
    pub(super) is_connected: bool,
    /// When the manager led last; long ago if it never did.
    led_until: Timestamp,
}

/// All managers.
#[derive(Debug)]
pub(super) struct Managers {
    pub(super) seats: Vec<Seat>,
    leads: usize,
    leaderless_until: Timestamp,
    elected_at: Timestamp,
}

impl Seat {
    /// Its collector dies.
    pub(super) fn kill(&mut self) {
        if let Some(collector) = self.collector.take() {
            self.journal = collector.journal;
        }
    }
}

impl Managers {
    pub(super) fn new(count: usize, mut collector: impl FnMut(Timestamp) -> Collector) -> Self {
        // Actions are called after the millisecond in which a collector has started.
        let started_at = |number: usize| BEGINNING + Duration::from_millis(number as u64);
        let seat = |number| Seat {
            collector: Some(collector(started_at(number))),
            journal: Vec::new(),
            asleep_until: Timestamp::default(),
            is_connected: true,
            led_until: Timestamp::default(),
        };
        let (leaderless_until, elected_at) = (Timestamp::default(), Timestamp::default());
        Self { seats: (0..count).map(seat).collect(), leads: 0, leaderless_until, elected_at }
    }

    /// Whether the manager of this number leads.
    pub(super) fn leads(&self, number: usize) -> bool {
        self.leads == number
    }

    /// The one that leads.
    pub(super) fn leader(&self) -> Option<&Seat> {
        self.seats.get(self.leads)
    }

    /// For how long the manager of this number has not led.
    pub(super) fn not_led_for(&self, number: usize, now: Timestamp) -> Duration {
        if self.leads(number) {
            return Duration::ZERO;
        }
        self.seats.get(number).map_or(Duration::MAX, |seat| now.since(seat.led_until))
    }

    /// Another one leads from now on, if there is one that can.
    pub(super) fn elect_another(&mut self, rng: &mut Rng, now: Timestamp) -> bool {
        let able = |number: &usize| *number != self.leads && self.seats.get(*number).is_some_and(|it| it.is_connected);
        let others: Vec<usize> = (0..self.seats.len()).filter(able).collect();
        let Some(next) = rng.pick(&others).copied() else { return false };
        if let Some(before) = self.seats.get_mut(self.leads) {
            before.led_until = now;
        }
        (self.leads, self.elected_at) = (next, now);
        true
    }

    /// Whether the one that leads can have been lost: it does so for longer than it takes to elect another.
    pub(super) fn may_be_lost(&self, now: Timestamp) -> bool {
        now.since(self.elected_at) >= ELECTION
    }

    /// The manager of this number is lost: if it led, another is elected after a while.
    pub(super) fn lose(&mut self, number: usize, rng: &mut Rng, now: Timestamp) -> bool {
        if let Some(seat) = self.seats.get_mut(number) {
            seat.is_connected = false;
        }
        let was_leader = self.leads(number);
        if was_leader && self.elect_another(rng, now) {
            self.leaderless_until = now + ELECTION;
        }
        was_leader
    }

    /// Whether a manager but the one of this number is lost: then no more may be, or there is no quorum.
    pub(super) fn others_are_whole(&self, number: usize) -> bool {
        self.seats.iter().enumerate().all(|(other, seat)| other == number || seat.is_connected)
    }

    /// What the manager of this number says about who leads, if it answers at all.
    pub(super) fn told(&self, number: usize, now: Timestamp) -> Option<Leader> {
        let answers = self.seats.get(number).is_some_and(|seat| seat.is_connected) && now >= self.leaderless_until;
        // Who has just been elected is not told at once.
        if answers && now.since(self.leaderless_until) < NAMELESS {
            return Some(Leader::Unknown);
        }
        let elsewhere = || Leader::Elsewhere { node: Name::new(&format!("node{}", self.leads + 1)) };
        answers.then(|| if self.leads(number) { Leader::Here } else { elsewhere() })
    }

    /// The collectors that are alive and awake, each with its number.
    pub(super) fn awake(&mut self, now: Timestamp) -> impl Iterator<Item = (usize, &mut Collector)> {
        let awake = self.seats.iter_mut().enumerate().filter(move |(_, seat)| seat.asleep_until <= now);
        awake.filter_map(|(number, seat)| Some((number, seat.collector.as_mut()?)))
    }

    /// When one of their actions goes on.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let due = |seat: &Seat| Some(seat.collector.as_ref()?.next_due()?.max(seat.asleep_until));
        self.seats.iter().filter_map(due).min()
    }

    /// How the manager of this number takes what it is asked.
    pub(super) fn unreliable(&self, number: usize, is_bad: bool, now: Timestamp) -> Unreliable {
        if self.told(number, now).is_none() {
            Unreliable { lost_update: 100, lost_read: 100, ..Unreliable::default() }
        } else if is_bad {
            Unreliable { lost_update: 15, lost_answer: 15, raced: 15, lost_read: 30 }
        } else {
            Unreliable::default()
        }
    }
}
