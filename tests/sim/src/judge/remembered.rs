//! What each collector has to remember: what it did itself, what it saw another do, and what its journal has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use swarmguard_collector::journal::State;
use swarmguard_planner::plan::ActionKind;
use swarmguard_wire::{NodeId, ServiceId, Timestamp};

use super::mark;
use crate::swarmkit::{Service, SwarmKit};

/// An hour, less what passes between a decision and its first update.
const HOUR: Duration = Duration::from_secs(3_590);

/// The end of an action.
#[derive(Debug, Clone, Copy)]
struct End {
    begun: Timestamp,
    at: Timestamp,
    /// Whose it was; nobody's any more where its journal is lost.
    by: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Remembered {
    /// The last of each kind on each service.
    ends: BTreeMap<(ServiceId, ActionKind), End>,
    /// When each collector saw the mark of an action of each kind on each service last.
    marks: BTreeMap<(usize, ServiceId, ActionKind), Timestamp>,
    /// When each collector's actions began.
    begun: BTreeMap<usize, VecDeque<Timestamp>>,
    /// Services whose mark each collector took out, of actions whose end it has not heard of yet.
    taken_out: BTreeSet<(usize, ServiceId)>,
    /// When each collector's moves of each service ended, each with when it began.
    moves: BTreeMap<(usize, ServiceId), VecDeque<(Timestamp, Timestamp)>>,
}

impl Remembered {
    pub(super) fn restarted(&mut self, number: usize, is_lost: bool) {
        // What it saw others do is in no journal.
        self.marks.retain(|(seen_by, ..), _| *seen_by != number);
        self.taken_out.retain(|(by, _)| *by != number);
        if is_lost {
            self.ends.values_mut().filter(|end| end.by == Some(number)).for_each(|end| end.by = None);
            self.begun.remove(&number);
            self.moves.retain(|(by, _), _| *by != number);
        }
    }

    pub(super) fn saw_mark(&mut self, number: usize, service: &ServiceId, kind: ActionKind, now: Timestamp) {
        self.marks.insert((number, service.clone(), kind), now);
    }

    /// A collector ended an action, and Swarm took that.
    pub(super) fn took_out(&mut self, number: usize, service: &ServiceId) {
        self.taken_out.insert((number, service.clone()));
    }

    pub(super) fn ended(
        &mut self,
        number: usize,
        service: &ServiceId,
        kind: ActionKind,
        state: &State,
        begun: Timestamp,
        now: Timestamp,
    ) {
        if *state == State::Refused {
            return;
        }
        self.ends.insert((service.clone(), kind), End { begun, at: now, by: Some(number) });
        let taken_out = self.taken_out.remove(&(number, service.clone()));
        let is_over = matches!(state, State::Completed | State::Reverted | State::Left)
            || taken_out && *state == State::Superseded;
        if kind == ActionKind::Migrate && is_over {
            let moves = self.moves.entry((number, service.clone())).or_default();
            // An owner's rollback brings a mark back, and has what it stands for end once more.
            moves.retain(|(_, of)| *of != begun);
            moves.push_back((now, begun));
        }
    }

    /// Whether this collector knows of an action of that kind that ended so lately.
    pub(super) fn is_cooling(
        &self,
        number: usize,
        service: &ServiceId,
        kind: ActionKind,
        length: Duration,
        now: Timestamp,
    ) -> bool {
        let Some(end) = self.ends.get(&(service.clone(), kind)) else { return false };
        // Of another's action it knows no more than when it saw its mark last.
        let saw = || self.marks.get(&(number, service.clone(), kind)).filter(|seen| **seen >= end.begun).copied();
        let known = if end.by == Some(number) { Some(end.at) } else { saw() };
        known.is_some_and(|known| now.since(known) < length)
    }

    /// One more began; how many of this collector's did within an hour.
    pub(super) fn began(&mut self, number: usize, service: &ServiceId, now: Timestamp) -> usize {
        self.taken_out.retain(|(_, of)| of != service);
        let begun = self.begun.entry(number).or_default();
        begun.push_back(now);
        within_hour(begun, now)
    }

    /// How often this collector moved a service within an hour.
    pub(super) fn moves(&self, number: usize, service: &ServiceId, now: Timestamp) -> usize {
        let moves = self.moves.get(&(number, service.clone()));
        moves.map_or(0, |moves| moves.iter().filter(|(ended, _)| now.since(*ended) < HOUR).count())
    }
}

fn within_hour(times: &mut VecDeque<Timestamp>, now: Timestamp) -> usize {
    while times.front().is_some_and(|oldest| now.since(*oldest) >= HOUR) {
        times.pop_front();
    }
    times.len()
}

/// How many of these services are on the way from or to a node, as their marks say.
pub(super) fn moves_on(kit: &SwarmKit, node: &NodeId, counts: impl Fn(&ServiceId) -> bool) -> usize {
    let is_on = |(id, found): &(&ServiceId, &Service)| {
        mark(&found.spec).is_some_and(|mark| {
            let ends = [&mark["change"]["source"], &mark["change"]["target"]];
            counts(id) && ends.iter().any(|found| found.as_str() == Some(node.as_str()))
        })
    };
    kit.services.iter().filter(is_on).count()
}
