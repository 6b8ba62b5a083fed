//! What was done before: which services are being acted on, and which were lately.
//!
//! The control loop tells it when an action starts and ends; how much was done in the last hour is counted too. What must
//! survive the loop's own death is in the services' labels; what is kept here the collector's journal restores.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use swarmguard_wire::{NodeId, ServiceId, Timestamp};

use crate::cooldown::Cooldown;
use crate::facts::{Leader, Mode, Scaled, Service, Swarm, UnderWay};
use crate::plan::ActionKind;
use crate::planted::{Bug, has};
use crate::policy::HOUR;

/// Most services remembered; the ones acted on longest ago are forgotten first.
pub const SERVICES_MAX: usize = 10_000;

/// The pause after a first refusal: a service that has just changed is planned for anew at the next look.
pub const REFUSAL_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause after refusals.
pub const REFUSAL_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Doublings beyond this would exceed the longest pause anyway.
const REFUSALS_COUNTED_MAX: u32 = 10;

/// Most actions and most moves of a service counted; a policy that allows more within an hour allows any number.
pub const COUNTED_MAX: usize = 10_000;

/// What was done to each service, and in all.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    services: BTreeMap<ServiceId, ServiceMemory>,
    /// When actions began, oldest first.
    begun: VecDeque<Timestamp>,
}

#[derive(Debug, Clone, Default)]
struct ServiceMemory {
    in_flight: Option<InFlight>,
    /// When migrations ended, oldest first.
    moves: VecDeque<Timestamp>,
    refusals: u32,
    refused_until: Timestamp,
    migrated: Cooldown,
    scaled_up: Cooldown,
    scaled_down: Cooldown,
    /// A note of replicas that somebody has voided: should their number ever be the same again, it is not SwarmGuard's.
    voided: Option<Scaled>,
    touched_at: Timestamp,
}

#[derive(Debug, Clone)]
struct InFlight {
    action: UnderWay,
    begun: Timestamp,
    /// Another collector, the one beside the Swarm's leader, is at work on it.
    is_anothers: bool,
}

/// An action of former times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The service.
    pub service: ServiceId,
    /// What it did.
    pub kind: ActionKind,
    /// When it began.
    pub begun: Timestamp,
    /// Who ended it, and when; absent where that is not known.
    pub ended: Option<(EndedBy, Timestamp)>,
}

/// Who ended an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// SwarmGuard did: it was done, or taken back.
    Us,
    /// Somebody changed the service while it was under way.
    Somebody,
    /// Nobody yet: it is taken over again.
    Nobody,
}

impl Memory {
    /// An action has begun that leaves or reaches `nodes`.
    pub fn started(&mut self, service: &ServiceId, kind: ActionKind, nodes: Vec<NodeId>, now: Timestamp) {
        let memory = self.services.entry(service.clone()).or_default();
        memory.in_flight = Some(InFlight { action: UnderWay { kind, nodes }, begun: now, is_anothers: false });
        memory.touched_at = now;
        push(&mut self.begun, now);
        self.forget_beyond(SERVICES_MAX);
    }

    /// An action has ended, well or not: its cooldown starts. Only one that is over, and that nobody else cut short, is a move.
    pub fn ended(&mut self, service: &ServiceId, kind: ActionKind, by: EndedBy, now: Timestamp) {
        let memory = self.services.entry(service.clone()).or_default();
        memory.in_flight = None;
        memory.touched_at = now;
        memory.refusals = 0;
        match kind {
            ActionKind::Migrate => {
                memory.migrated.start(now);
                if by == EndedBy::Us {
                    push(&mut memory.moves, now);
                }
            }
            ActionKind::ScaleUp => memory.scaled_up.start(now),
            ActionKind::ScaleDown => memory.scaled_down.start(now),
        }
    }

    /// An action was refused before anything was changed: it has not begun, and no cooldown starts, but a pause that
    /// doubles with each refusal in a row.
    pub fn refused(&mut self, service: &ServiceId, now: Timestamp) {
        let memory = self.services.entry(service.clone()).or_default();
        let refused = memory.in_flight.take();
        memory.touched_at = now;
        let doubled = REFUSAL_PAUSE_MIN.saturating_mul(1 << memory.refusals.min(REFUSALS_COUNTED_MAX));
        memory.refused_until = now + doubled.min(REFUSAL_PAUSE_MAX);
        memory.refusals = memory.refusals.saturating_add(1);
        // Times are in order, so the one that it began at is found from the end.
        let place = refused.and_then(|refused| self.begun.iter().rposition(|begun| *begun == refused.begun));
        if let Some(place) = place {
            self.begun.remove(place);
        }
    }

    /// Until when nothing is tried after refusals; `None` if that time has passed.
    pub fn refused_until(&self, service: &ServiceId, now: Timestamp) -> Option<Timestamp> {
        self.services.get(service).map(|memory| memory.refused_until).filter(|until| now < *until)
    }

    /// Remembers what was done before this memory began, oldest first.
    pub fn restore(&mut self, past: Past, now: Timestamp) {
        if has(Bug::ForgetsPast) {
            return;
        }
        let Past { service, kind, begun, ended } = past;
        self.started(&service, kind, Vec::new(), begun.min(now));
        match ended {
            Some((by, at)) => self.ended(&service, kind, by, at.min(now)),
            None => self.forget_in_flight(&service),
        }
    }

    /// What comes of it is not known: it counts as begun. Should it still be under way, its mark will tell.
    fn forget_in_flight(&mut self, service: &ServiceId) {
        if let Some(memory) = self.services.get_mut(service) {
            memory.in_flight = None;
        }
    }

    /// From now on another collector is at work on whatever is under way.
    pub fn leave_to_others(&mut self) {
        self.services.values_mut().filter_map(|memory| memory.in_flight.as_mut()).for_each(|it| it.is_anothers = true);
    }

    /// Looks what others have done: which actions the collector beside the Swarm's leader is at work on, while that is
    /// another one, and which notes of replicas somebody has voided.
    pub fn saw(&mut self, swarm: &Swarm, now: Timestamp) {
        self.saw_actions(swarm, now);
        self.saw_notes(swarm);
        self.forget_beyond(SERVICES_MAX);
    }

    /// A mark that comes and goes tells of an action as well as if it were one's own: whoever leads next knows the cooldowns.
    fn saw_actions(&mut self, swarm: &Swarm, now: Timestamp) {
        if swarm.leader == Leader::Here {
            let anothers = self.services.iter().filter_map(|(id, memory)| {
                let in_flight = memory.in_flight.as_ref().filter(|it| it.is_anothers)?;
                Some((id.clone(), in_flight.action.kind))
            });
            for (id, kind) in anothers.collect::<Vec<_>>() {
                if swarm.services.get(&id).is_some_and(|service| service.action_marked) {
                    // What is left of it is taken over by its mark.
                    self.forget_in_flight(&id);
                } else {
                    self.ended(&id, kind, EndedBy::Us, now);
                }
            }
            return;
        }
        let known =
            self.services.iter().filter_map(|(id, memory)| Some((id.clone(), memory.in_flight.as_ref()?.action.kind)));
        for (id, kind) in known.collect::<Vec<_>>() {
            let is_over = swarm.services.get(&id).is_none_or(|service| !service.action_marked);
            if is_over {
                self.ended(&id, kind, EndedBy::Us, now);
            } else if let Some(in_flight) = self.services.get_mut(&id).and_then(|memory| memory.in_flight.as_mut()) {
                in_flight.is_anothers = true;
            }
        }
        for (id, service) in swarm.services.iter().filter(|_| !has(Bug::ForgetsOthers)) {
            let Some(action) = service.action.as_ref().filter(|_| self.in_flight(id).is_none()) else { continue };
            self.started(id, action.kind, action.nodes.clone(), now);
            if let Some(in_flight) = self.services.get_mut(id).and_then(|memory| memory.in_flight.as_mut()) {
                in_flight.is_anothers = true;
            }
        }
    }

    fn saw_notes(&mut self, swarm: &Swarm) {
        for (id, service) in &swarm.services {
            let Some(scaled) = &service.scaled else { continue };
            let Mode::Replicated { replicas } = service.mode else { continue };
            // While an action is under way the note is the one before it.
            if replicas != scaled.to && !service.action_marked && self.in_flight(id).is_none() {
                self.services.entry(id.clone()).or_default().voided = Some(scaled.clone());
            }
        }
    }

    /// How many replicas a service had before SwarmGuard added some, if nobody else has changed their number since.
    pub fn scaled_from(&self, id: &ServiceId, service: &Service) -> Option<u64> {
        let scaled = service.scaled.as_ref()?;
        let is_void = self.services.get(id).is_some_and(|memory| memory.voided.as_ref() == Some(scaled));
        let holds = service.mode == Mode::Replicated { replicas: scaled.to } && !is_void;
        holds.then_some(scaled.from)
    }

    /// The action that is being executed on a service.
    pub fn in_flight(&self, service: &ServiceId) -> Option<ActionKind> {
        self.services.get(service).and_then(|memory| memory.in_flight.as_ref()).map(|it| it.action.kind)
    }

    /// The same, whole.
    pub fn under_way(&self, service: &ServiceId) -> Option<UnderWay> {
        self.services.get(service)?.in_flight.as_ref().map(|it| it.action.clone())
    }

    /// How many actions are being executed.
    pub fn in_flight_count(&self) -> usize {
        self.services.values().filter(|memory| memory.in_flight.is_some()).count()
    }

    /// The nodes that actions being executed leave or reach, each as often as it is.
    pub fn nodes_in_flight(&self) -> impl Iterator<Item = &NodeId> {
        self.services.values().filter_map(|memory| memory.in_flight.as_ref()).flat_map(|it| &it.action.nodes)
    }

    /// How many actions have begun within the last hour.
    pub fn begun_within_hour(&self, now: Timestamp) -> usize {
        within_hour(&self.begun, now)
    }

    /// How many migrations of a service have ended within the last hour.
    pub fn moves_within_hour(&self, service: &ServiceId, now: Timestamp) -> usize {
        self.services.get(service).map_or(0, |memory| within_hour(&memory.moves, now))
    }

    /// The cooldown of one kind of action on a service.
    pub fn cooldown(&self, service: &ServiceId, kind: ActionKind) -> Cooldown {
        let memory = self.services.get(service);
        match kind {
            ActionKind::Migrate => memory.map(|memory| memory.migrated),
            ActionKind::ScaleUp => memory.map(|memory| memory.scaled_up),
            ActionKind::ScaleDown => memory.map(|memory| memory.scaled_down),
        }
        .unwrap_or_default()
    }

    /// Until the oldest of what is counted is more than an hour old, in a row that is at its limit.
    pub fn hour_is_over(&self, now: Timestamp, limit: usize) -> Timestamp {
        over(&self.begun, now, limit)
    }

    /// The same for the migrations of a service.
    pub fn moves_are_over(&self, service: &ServiceId, now: Timestamp, limit: usize) -> Timestamp {
        self.services.get(service).map_or(now, |memory| over(&memory.moves, now, limit))
    }

    /// When the last action on a service ended: what was measured before says nothing about its effect.
    pub fn last_ended(&self, service: &ServiceId) -> Option<Timestamp> {
        let memory = self.services.get(service)?;
        [memory.migrated, memory.scaled_up, memory.scaled_down].iter().filter_map(Cooldown::ended_at).max()
    }

    fn forget_beyond(&mut self, max: usize) {
        while self.services.len() > max {
            let idle = self.services.iter().filter(|(_, memory)| memory.in_flight.is_none());
            let Some(oldest) = idle.min_by_key(|(_, memory)| memory.touched_at).map(|(id, _)| id.clone()) else {
                return;
            };
            self.services.remove(&oldest);
        }
    }
}

fn push(times: &mut VecDeque<Timestamp>, now: Timestamp) {
    while times.len() >= COUNTED_MAX || times.front().is_some_and(|oldest| now.since(*oldest) > HOUR) {
        times.pop_front();
    }
    // What is restored is in the order in which it began.
    times.insert(times.partition_point(|time| *time <= now), now);
}

fn within_hour(times: &VecDeque<Timestamp>, now: Timestamp) -> usize {
    times.iter().rev().take_while(|time| now.since(**time) < HOUR).count()
}

/// When fewer than `limit` of these times lie within an hour.
fn over(times: &VecDeque<Timestamp>, now: Timestamp, limit: usize) -> Timestamp {
    let oldest = times.len().checked_sub(limit.max(1)).and_then(|place| times.get(place));
    oldest.map_or(now, |oldest| *oldest + HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_more_than_an_hour_ago_are_forgotten_when_another_comes() {
        let second = |second: u64| Timestamp::from_micros(second * 1_000_000);
        let mut times = VecDeque::new();
        for at in [0, 1, 2, HOUR.as_secs() + 1] {
            push(&mut times, second(at));
        }
        assert_eq!(times, [1, 2, HOUR.as_secs() + 1].map(second));
    }

    #[test]
    fn what_began_first_and_ended_last_counts_from_its_end() {
        let second = |second: u64| Timestamp::from_micros(second * 1_000_000);
        let mut times = VecDeque::new();
        [3, 1, 2].map(second).into_iter().for_each(|at| push(&mut times, at));
        assert_eq!(times, [1, 2, 3].map(second));
    }
}
