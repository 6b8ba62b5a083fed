//! What is known now: facts as they come, and the names by which people and agents call things.
//!
//! Handlers record, the control loop reads. Times of agents are brought to this collector's clock here, and here only.

use std::time::Duration;

use swarmguard_planner::facts::{NodeReport, Swarm, UnderWay};
use swarmguard_planner::quiet::{PAUSES_MAX, Pauses};
use swarmguard_planner::window::Sample;
use swarmguard_planner::{Facts, Policy};
use swarmguard_wire::time::ClockOffset;
use swarmguard_wire::verbose::{CONTAINER_PREFIX_MIN, VerboseAlert, VerboseMetrics};
use swarmguard_wire::{Alert, ContainerId, ContainerSample, Name, NodeId, NodeRef, Report, ServiceId, Timestamp};

use crate::state::PauseWish;

/// An agent's clock is believed if it puts a message at most so far from when it came.
const TRANSIT_MAX: Duration = Duration::from_secs(5);

/// Why an alert that names things in words was not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ResolveError {
    /// The Swarm was not read yet.
    #[error("the Swarm's state is not known yet: try again")]
    NotReady,
    /// No service has the name.
    #[error("no service is called {name:?}")]
    Service {
        /// The name given.
        name: String,
    },
    /// No node has the name.
    #[error("no node is called {name:?}")]
    Node {
        /// The name given.
        name: String,
    },
    /// The container's digits are too few to be sure.
    #[error("container_id {prefix:?} is too short: expected at least {CONTAINER_PREFIX_MIN} digits")]
    Prefix {
        /// The digits given.
        prefix: String,
    },
    /// No running task of the service on the node has such a container.
    #[error("not one running container of service {service:?} on node {node:?} has an id that starts with {prefix:?}")]
    Container {
        /// The digits given.
        prefix: String,
        /// The service given.
        service: String,
        /// The node given.
        node: String,
    },
}

/// Why a pause was not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PauseError {
    /// No service has the name.
    #[error("no service is called {name:?}")]
    Service {
        /// The name given.
        name: String,
    },
    /// Too many are paused.
    #[error("{PAUSES_MAX} services are paused already: pause all instead")]
    Full,
}

/// Facts and their recording.
#[derive(Debug, Default)]
pub struct Fleet {
    facts: Facts,
}

impl Fleet {
    /// The facts, to plan with.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How far the wall clock is ahead now.
    pub fn record_wall(&mut self, ahead: ClockOffset) {
        self.facts.wall_ahead = ahead;
    }

    /// The lowest thresholds that labels choose for a service, the highest number where none does: agents alert beyond
    /// them.
    pub fn labelled_thresholds(&self, policy: &Policy) -> (f32, f32) {
        let labels =
            self.facts.swarm().into_iter().flat_map(|swarm| swarm.services.values().map(|service| &service.labels));
        let chosen = labels.filter(|labels| labels.choose() && !labels.are_off()).map(|labels| labels.over(policy).0);
        let thresholds = chosen.map(|chosen| chosen.alert_thresholds());
        thresholds.fold((f32::MAX, f32::MAX), |most, other| (most.0.min(other.0), most.1.min(other.1)))
    }

    /// What people paused, replaced whole.
    pub fn record_pauses(&mut self, pauses: Pauses) {
        self.facts.pauses = pauses;
    }

    /// Does what a person says of a pause.
    ///
    /// # Errors
    /// When the service is not known, or as many are paused one by one as can be.
    pub fn pause(&mut self, wish: &PauseWish) -> Result<(), PauseError> {
        if let PauseWish { service: Some(name), pause: Some(_) } = wish {
            self.can_pause(name)?;
        }
        wish.apply(&mut self.facts.pauses);
        Ok(())
    }

    fn can_pause(&self, name: &str) -> Result<(), PauseError> {
        let mut known = self.facts.swarm().into_iter().flat_map(|swarm| swarm.services.values());
        if !known.any(|service| service.name.as_str() == name) {
            return Err(PauseError::Service { name: name.to_owned() });
        }
        let services = &self.facts.pauses.services;
        if services.len() >= PAUSES_MAX && !services.contains_key(name) {
            return Err(PauseError::Full);
        }
        Ok(())
    }

    /// Forgets what was not heard of for long.
    pub fn forget(&mut self, now: Timestamp) {
        self.facts.forget(now);
    }

    /// After an action the old view of its service is wrong: until the next one it counts as being acted on. One that may
    /// still be under way goes on counting against the limits.
    pub fn distrust(&mut self, service: &ServiceId, under_way: Option<UnderWay>, is_unfinished: bool) {
        let known = self.facts.swarm_mut().and_then(|swarm| swarm.services.get_mut(service));
        if let Some(service) = known {
            service.action_marked = true;
            service.action = service.action.take().or(under_way).filter(|_| is_unfinished);
        }
    }

    /// The Swarm's state, replaced whole.
    pub fn record_swarm(&mut self, swarm: Swarm, now: Timestamp) {
        self.facts.forget(now);
        self.facts.record_swarm(swarm);
    }

    /// An alert that came at `received_at`.
    pub fn record_alert(&mut self, alert: &Alert, received_at: Timestamp) {
        let sent = Sent { sampled_at: alert.sampled_at, sent_at: alert.sent_at, offset: alert.clock_offset };
        self.record(&alert.container, alert.tick, sent.by_our_clock(received_at));
    }

    /// A report that came at `received_at`.
    pub fn record_report(&mut self, report: &Report<'_>, received_at: Timestamp) {
        let sent = Sent { sampled_at: report.sampled_at, sent_at: report.sent_at, offset: report.clock_offset };
        let times = sent.by_our_clock(received_at);
        for container in report.containers.iter() {
            self.record(container, report.tick, times);
        }
        // A node that is in no Swarm has no place in a plan.
        let Some(id) = self.node_id(&report.node) else { return };
        let known = self.facts.swarm().is_none_or(|swarm| swarm.nodes.contains_key(&id));
        if !known {
            return;
        }
        let node = NodeReport {
            name: report.node.name.clone(),
            received_at,
            cpu_percent: report.sample.cpu_percent,
            memory_percent: report.sample.memory_percent,
            network_percent: report.sample.network.and_then(|network| network.percent),
            link_mbps: report.sample.link_mbps,
            containers: report.containers.len(),
        };
        self.facts.record_report(id, node);
    }

    fn record(&mut self, container: &ContainerSample, tick: u64, times: Times) {
        let sample = Sample {
            tick,
            sampled_at: times.sampled_at,
            sent_at: times.sent_at,
            received_at: times.received_at,
            has_healthcheck: container.has_healthcheck,
            cpu_percent: container.cpu_limit_percent,
            memory_percent: container.memory_percent,
            network_percent: container.network.and_then(|network| network.percent),
        };
        self.facts.record_sample(container.id, sample);
    }

    fn node_id(&self, node: &NodeRef) -> Option<NodeId> {
        node.id.clone().or_else(|| self.node_named(node.name.as_str()))
    }

    fn node_named(&self, name: &str) -> Option<NodeId> {
        let mut named = self.facts.swarm()?.nodes.iter().filter(|(_, node)| node.hostname.as_str() == name);
        match (named.next(), named.next()) {
            (Some((id, _)), None) => Some(id.clone()),
            // Two nodes of one name: neither is meant for sure.
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    /// An alert in words, that came at `received_at`. `follows_within` is how close two of them have to be to count as
    /// ticks in a row, since they carry no tick.
    ///
    /// # Errors
    /// When a name is not known; nothing is recorded then.
    pub fn record_verbose(
        &mut self,
        alert: &VerboseAlert,
        received_at: Timestamp,
        follows_within: Duration,
    ) -> Result<(), ResolveError> {
        let (node, container) = self.resolve(alert)?;
        let newest = self.facts.by_hand().get(&container).and_then(|window| window.newest());
        let tick = newest.map_or(1, |newest| {
            let gap = if received_at.since(newest.received_at) <= follows_within { 1 } else { 2 };
            newest.tick.saturating_add(gap)
        });
        // Its own time only says how long it was on its way, and only if that is plausible.
        let claimed = seconds_since_epoch(alert.timestamp);
        let sent = Sent { sampled_at: claimed, sent_at: claimed, offset: Some(ClockOffset::default()) };
        let times = sent.by_our_clock(received_at);
        let VerboseMetrics { cpu_percent, memory_percent, network_percent, network_rx_mbps, network_tx_mbps, .. } =
            alert.metrics;
        // Without a share of the link it is worked out, if the node's agent has told the link's speed.
        let link_mbps = self.facts.reports.get(&node).and_then(|report| report.link_mbps).filter(|mbps| *mbps > 0.0);
        let busier = network_rx_mbps.into_iter().chain(network_tx_mbps).reduce(f32::max);
        let network_percent = network_percent.or_else(|| Some(busier? / link_mbps? * 100.0));
        let sample = Sample {
            tick,
            sampled_at: times.sampled_at,
            sent_at: times.sent_at,
            received_at,
            has_healthcheck: None,
            cpu_percent,
            memory_percent,
            network_percent,
        };
        self.facts.record_by_hand(container, sample);
        Ok(())
    }

    fn resolve(&self, alert: &VerboseAlert) -> Result<(NodeId, ContainerId), ResolveError> {
        let swarm = self.facts.swarm().ok_or(ResolveError::NotReady)?;
        let (service, prefix) = (alert.service_name.clone(), alert.container_id.clone());
        let node = self.node_named(&alert.node).ok_or_else(|| ResolveError::Node { name: alert.node.clone() })?;
        let named = swarm.services.values().find(|found| found.name == Name::new(&service));
        let named = named.ok_or_else(|| ResolveError::Service { name: service.clone() })?;
        if prefix.len() < CONTAINER_PREFIX_MIN {
            return Err(ResolveError::Prefix { prefix });
        }
        let here = named.tasks.values().filter(|task| task.is_running() && task.node.as_ref() == Some(&node));
        let mut found = here.filter_map(|task| task.container).filter(|id| id.to_string().starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(container), None) => Ok((node, container)),
            // Several: none is meant for sure.
            (None | Some(_), _) => Err(ResolveError::Container { prefix, service, node: alert.node.clone() }),
        }
    }
}

/// Absurd values are no problem: what is far from the present is not believed.
fn seconds_since_epoch(seconds: f64) -> Timestamp {
    let since = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Timestamp::default() + since
}

/// A message's times by the agent's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sent {
    /// When the sample was taken.
    pub sampled_at: Timestamp,
    /// When the message was sent.
    pub sent_at: Timestamp,
    /// How far our clock is ahead of the agent's, as the agent has found; absent before our first answer.
    pub offset: Option<ClockOffset>,
}

/// The same by ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// When the sample was taken.
    pub sampled_at: Timestamp,
    /// When the message was sent.
    pub sent_at: Timestamp,
    /// When it came.
    pub received_at: Timestamp,
}

impl Sent {
    /// An agent's clock may be anything: without an offset, or with one that puts the message implausibly far from its
    /// arrival, it is taken to have been sent when it came, and only the agent's own difference is believed.
    pub fn by_our_clock(&self, received_at: Timestamp) -> Times {
        let shifted = self.offset.map(|offset| self.sent_at.shifted(offset).min(received_at));
        let sent_at = shifted.filter(|sent| received_at.since(*sent) <= TRANSIT_MAX).unwrap_or(received_at);
        let held = self.sent_at.since(self.sampled_at);
        Times { sampled_at: sent_at - held, sent_at, received_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn check(offset: Option<i64>, agent_sent: u64, expected: (u64, u64)) {
        let sent = Sent {
            sampled_at: Timestamp::from_micros(agent_sent - 300),
            sent_at: Timestamp::from_micros(agent_sent),
            offset: offset.map(ClockOffset),
        };
        let times = sent.by_our_clock(Timestamp::from_micros(100 * SECOND));
        assert_eq!((times.sampled_at.as_micros(), times.sent_at.as_micros()), expected, "offset {offset:?}");
    }

    #[test]
    fn an_agents_times_are_told_by_our_clock() {
        check(Some(0), 100 * SECOND - 700, (100 * SECOND - 1000, 100 * SECOND - 700));
        check(Some(-50 * 1_000_000), 150 * SECOND - 700, (100 * SECOND - 1000, 100 * SECOND - 700));
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_not_believed() {
        check(None, 5 * SECOND, (100 * SECOND - 300, 100 * SECOND));
        check(Some(0), 5 * SECOND, (100 * SECOND - 300, 100 * SECOND));
        check(Some(0), 500 * SECOND, (100 * SECOND - 300, 100 * SECOND));
    }
}
