//! Where everything is, so that a plan does not have to search: worked out for each look at the Swarm, and told from then on
//! what is said of a container.
//!
//! Nodes go by their number in the order of their identifiers, and so do services: a plan for a Swarm of a thousand nodes
//! compares numbers and walks rows, where it would otherwise look up each task's node and container by name.
//!
//! The rows of what was said last only tell where to look: what is decided rests on the samples themselves. A row has what
//! the newest sample has; when all of a container's are forgotten it stays, and what is looked at then is found empty.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use swarmguard_wire::{ContainerId, NodeId, Timestamp};

use super::{HostPort, Resources, Service, Swarm};
use crate::window::{Sample, Window};

/// CPU, memory and network in percent. What is not known adds nothing to a sum and is never the highest: here it is 0.
type Used = [f32; 3];

/// Who said something of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Its node's agent.
    Agent,
    /// A person.
    Hand,
}

/// Right for one state of the Swarm only, and for as long as it is told of every sample.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// Running tasks whose node and container are known; those of a service stand together, in the services' order.
    running: Vec<Running>,
    /// Where those of each service are among them.
    services: Vec<OfService>,
    /// Their containers in order, each with its place in `running`.
    by_container: Vec<(ContainerId, usize)>,
    /// What agents said last of each, by its place: kept beside the samples, so that a plan reads a row of numbers.
    by_agent: Vec<Used>,
    /// The same of what people said.
    by_hand: Vec<Used>,
    /// What is taken of each node.
    taken: Vec<Taken>,
}

/// The running tasks of a service.
#[derive(Debug, Clone, Default)]
pub(crate) struct OfService {
    /// Where they are.
    places: Range<usize>,
    /// Whether those are all.
    are_all: bool,
}

/// A running task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    /// Its container.
    pub(crate) container: ContainerId,
    /// Its node's number.
    pub(crate) node: usize,
    /// Since when it runs, or later.
    pub(crate) since: Option<Timestamp>,
}

/// What the tasks on a node take of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken {
    /// Ports that they publish there.
    pub(crate) ports: BTreeSet<HostPort>,
    /// What they reserve.
    pub(crate) reserved: Resources,
}

impl Index {
    /// Of this state, and of what agents and people have said.
    pub(crate) fn of(
        swarm: &Swarm,
        by_agent: &BTreeMap<ContainerId, Window>,
        by_hand: &BTreeMap<ContainerId, Window>,
    ) -> Self {
        let numbers: BTreeMap<&NodeId, usize> =
            swarm.nodes.keys().enumerate().map(|(number, id)| (id, number)).collect();
        let mut index = Self { taken: vec![Taken::default(); numbers.len()], ..Self::default() };
        for service in swarm.services.values() {
            let (begin, mut are_all) = (index.running.len(), true);
            for (_, task) in service.alive() {
                let node = task.node.as_ref().and_then(|node| numbers.get(node)).copied();
                if let Some(taken) = node.and_then(|node| index.taken.get_mut(node)) {
                    taken.add(service);
                }
                match (node, task.container) {
                    (Some(node), Some(container)) if task.is_running() => {
                        index.by_container.push((container, index.running.len()));
                        index.running.push(Running { container, node, since: task.running_since });
                    }
                    (Some(_) | None, _) => are_all &= !task.is_running(),
                }
            }
            index.services.push(OfService { places: begin..index.running.len(), are_all });
        }
        index.by_container.sort_unstable();
        let said =
            |known| index.windows(known).into_iter().map(|window| used(window.and_then(Window::newest))).collect();
        (index.by_agent, index.by_hand) = (said(by_agent), said(by_hand));
        index
    }

    /// What is taken of each node, in the nodes' order.
    pub(crate) fn taken(&self) -> &[Taken] {
        &self.taken
    }

    /// The running tasks of the service of this number, and whether they are all that it has.
    pub(crate) fn running(&self, service: usize) -> (&[Running], bool) {
        let OfService { places, are_all } = self.services.get(service).cloned().unwrap_or_default();
        (self.running.get(places).unwrap_or_default(), are_all)
    }

    /// The window of each running task's container, by its place. All containers are gone through once in their own order,
    /// which is how they lie in memory.
    fn windows<'a>(&self, known: &'a BTreeMap<ContainerId, Window>) -> Vec<Option<&'a Window>> {
        let mut windows = vec![None; self.running.len()];
        let mut known = known.iter().peekable();
        for (container, place) in &self.by_container {
            while known.next_if(|(id, _)| *id < container).is_some() {}
            let window = known.peek().filter(|(id, _)| *id == container).map(|(_, window)| *window);
            windows.get_mut(*place).into_iter().for_each(|place| *place = window);
        }
        windows
    }

    /// This is what was said last of a container, for each task that is said to have it.
    pub(crate) fn hear(&mut self, by: By, container: &ContainerId, newest: Option<&Sample>) {
        let said = match by {
            By::Agent => &mut self.by_agent,
            By::Hand => &mut self.by_hand,
        };
        let first = self.by_container.partition_point(|(id, _)| id < container);
        let from_first = self.by_container.get(first..).unwrap_or_default();
        for (_, place) in from_first.iter().take_while(|(id, _)| id == container) {
            said.get_mut(*place).into_iter().for_each(|said| *said = used(newest));
        }
    }

    /// What was said last of a service's containers, by its number.
    pub(crate) fn glance(&self, by: By, service: usize) -> Glance {
        let said = match by {
            By::Agent => &self.by_agent,
            By::Hand => &self.by_hand,
        };
        let mut glance = Glance::default();
        let places = self.services.get(service).map(|of| of.places.clone()).unwrap_or_default();
        said.get(places).into_iter().flatten().for_each(|used| glance.add(*used));
        glance
    }
}

fn used(newest: Option<&Sample>) -> Used {
    newest.map_or(Used::default(), |newest| {
        [newest.cpu_percent, newest.memory_percent, newest.network_percent].map(Option::unwrap_or_default)
    })
}

/// The newest samples of a service's containers together, also such as are too old: enough to tell that there is nothing to
/// be done, which is so for most services at most times.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Glance {
    /// The highest CPU and memory.
    pub(crate) most: [f32; 2],
    /// The sums of CPU, memory and network, as far as they are known.
    pub(crate) sum: [f32; 3],
}

impl Glance {
    fn add(&mut self, values: Used) {
        for (most, value) in self.most.iter_mut().zip(values) {
            *most = most.max(value);
        }
        for (sum, value) in self.sum.iter_mut().zip(values) {
            *sum += value;
        }
    }
}

impl Taken {
    fn add(&mut self, service: &Service) {
        self.ports.extend(&service.host_ports);
        self.reserved.nano_cpus = self.reserved.nano_cpus.saturating_add(service.reserved.nano_cpus);
        self.reserved.memory_bytes = self.reserved.memory_bytes.saturating_add(service.reserved.memory_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_is_the_highest_values_and_the_sums_of_all_as_far_as_they_are_known() {
        let mut glance = Glance::default();
        for (cpu_percent, memory_percent, network_percent) in
            [(Some(10.0), Some(70.0), Some(1.0)), (Some(30.0), None, Some(2.0)), (None, Some(20.0), Some(4.0))]
        {
            let at = Timestamp::default();
            glance.add(used(Some(&Sample {
                tick: 1,
                sampled_at: at,
                sent_at: at,
                received_at: at,
                has_healthcheck: None,
                cpu_percent,
                memory_percent,
                network_percent,
            })));
        }
        assert_eq!((glance.most, glance.sum), ([30.0, 70.0], [40.0, 90.0, 7.0]));
    }
}
