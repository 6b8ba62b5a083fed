//! How much is being done already: by actions under way, and by those planned a moment ago in the same plan.
//!
//! A plan that looked only at what was there before it would send two services to the same node, and begin more than
//! may be under way.

use std::collections::BTreeMap;

use swarmguard_wire::{Name, NodeId, Timestamp};

use crate::memory::Memory;
use crate::plan::{Action, Withheld, seconds_left};
use crate::policy::Policy;

/// What is taken of the limits.
#[derive(Debug, Clone)]
pub struct Claims {
    in_flight: usize,
    within_hour: usize,
    hour_is_over: Timestamp,
    nodes: BTreeMap<NodeId, u32>,
}

impl Claims {
    /// Of the actions under way.
    pub(crate) fn of(memory: &Memory, policy: &Policy, now: Timestamp) -> Self {
        let mut nodes = BTreeMap::new();
        for node in memory.nodes_in_flight() {
            *nodes.entry(node.clone()).or_insert(0) += 1;
        }
        Self {
            in_flight: memory.in_flight_count(),
            within_hour: memory.begun_within_hour(now),
            hour_is_over: memory.hour_is_over(now, policy.limits.actions_per_hour as usize),
            nodes,
        }
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
    pub(crate) fn allow(&self, policy: &Policy, now: Timestamp) -> Result<(), Withheld> {
        let limits = &policy.limits;
        if self.in_flight >= limits.actions_in_flight as usize {
            return Err(Withheld::TooManyInFlight { max: limits.actions_in_flight });
        }
        if self.within_hour >= limits.actions_per_hour as usize {
            let max = limits.actions_per_hour;
            return Err(Withheld::TooManyPerHour { max, seconds_left: seconds_left(self.hour_is_over, now) });
        }
        Ok(())
    }

    /// Whether one more action may leave this node.
    pub(crate) fn allow_from(&self, id: &NodeId, node: &Name, policy: &Policy) -> Result<(), Withheld> {
        let max = policy.limits.actions_per_node;
        if self.on(id) >= max { Err(Withheld::NodeInFlight { node: node.clone(), max }) } else { Ok(()) }
    }
}
