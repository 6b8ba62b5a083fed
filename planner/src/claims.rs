//! How much is being done already: by actions under way, and by those planned a moment ago in the same plan.
//!
//! A plan that looked only at what was there before it would send two services to the same node, and begin more than
//! may be under way.

use std::collections::BTreeMap;

use swarmguard_wire::{Name, NodeId, Timestamp};

use crate::facts::Swarm;
use crate::memory::Memory;
use crate::plan::{Action, Withheld, seconds_left};
use crate::planted::{Bug, has};
use crate::policy::Policy;
use crate::rules::Case;

/// What is taken of the limits.
#[derive(Debug, Clone)]
pub struct Claims {
    in_flight: usize,
    within_hour: usize,
    nodes: BTreeMap<NodeId, u32>,
}

impl Claims {
    /// Of the actions under way.
    /// Those of a collector before this one, which stand only in the services' labels, are among them.
    pub fn of(memory: &Memory, swarm: &Swarm, now: Timestamp) -> Self {
        let mut nodes = BTreeMap::new();
        let unended: Vec<&Vec<NodeId>> = unended(memory, swarm).collect();
        for node in memory.nodes_in_flight().chain(unended.iter().copied().flatten()) {
            *nodes.entry(node.clone()).or_insert(0) += 1;
        }
        Self { in_flight: memory.in_flight_count() + unended.len(), within_hour: memory.begun_within_hour(now), nodes }
    }

    /// How many actions are under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// One more.
    pub(crate) fn add(&mut self, action: &Action) {
        self.in_flight += 1;
        self.within_hour += 1;
        for node in action.nodes() {
            *self.nodes.entry(node).or_insert(0) += 1;
        }
    }

    /// How many actions leave this node or go to it.
    pub(crate) fn on(&self, node: &NodeId) -> u32 {
        self.nodes.get(node).copied().unwrap_or(0)
    }

    /// Whether one more action may begin.
    pub(crate) fn allow(&self, case: &Case<'_>) -> Result<(), Withheld> {
        self.below(|of| of, case)
    }

    /// Whether one more may that can wait: it leaves half of the limits to those that cannot.
    pub(crate) fn allow_to_wait(&self, case: &Case<'_>) -> Result<(), Withheld> {
        self.below(|of| of.div_ceil(2), case)
    }

    fn below(&self, part: fn(u32) -> u32, case: &Case<'_>) -> Result<(), Withheld> {
        let of = case.policy.limits.actions_in_flight;
        if self.in_flight >= part(of) as usize && !has(Bug::TooManyInFlight) {
            return Err(Withheld::TooManyInFlight { max: part(of), of });
        }
        let of = case.policy.limits.actions_per_hour;
        if self.within_hour >= part(of) as usize && !has(Bug::HourLimit) {
            let over = case.memory.hour_is_over(case.now, part(of) as usize);
            return Err(Withheld::TooManyPerHour { max: part(of), of, seconds_left: seconds_left(over, case.now) });
        }
        Ok(())
    }

    /// Whether one more action may leave this node.
    pub(crate) fn allow_from(&self, id: &NodeId, node: &Name, policy: &Policy) -> Result<(), Withheld> {
        let max = policy.limits.actions_per_node;
        if self.on(id) >= max && !has(Bug::NodeLimit) {
            Err(Withheld::NodeInFlight { node: node.clone(), max })
        } else {
            Ok(())
        }
    }
}

/// The nodes of each action that a collector before this one began. A mark that cannot be read is left out: nobody will
/// ever end that, and it would stand in the way of all others.
fn unended<'a>(memory: &'a Memory, swarm: &'a Swarm) -> impl Iterator<Item = &'a Vec<NodeId>> {
    let marked = swarm.services.iter().filter_map(|(id, service)| Some((id, &service.action.as_ref()?.nodes)));
    marked.filter(|(id, _)| memory.in_flight(id).is_none()).map(|(_, nodes)| nodes)
}
