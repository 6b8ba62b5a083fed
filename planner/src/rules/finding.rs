//! What a container's last samples show together: a condition, and for how many ticks in a row.

use swarmguard_wire::{ContainerId, NodeId, Timestamp};

use super::condition::{Condition, condition, rank};
use crate::planted::{Bug, has};
use crate::policy::Policy;
use crate::window::{Sample, Window};

/// A container over a threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The container.
    pub container: ContainerId,
    /// The node it runs on.
    pub node: NodeId,
    /// What its newest sample shows.
    pub condition: Condition,
    /// Ticks in a row that show it.
    pub streak: u32,
    /// The first of them.
    pub first: Sample,
    /// The newest.
    pub newest: Sample,
}

/// A running container of a service, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The container.
    pub(crate) container: ContainerId,
    /// The node it runs on.
    pub(crate) node: &'a NodeId,
    /// Since when it runs, or later.
    pub(crate) since: Option<Timestamp>,
    /// What its node's agent said.
    pub(crate) by_agent: Option<&'a Window>,
    /// What people said.
    pub(crate) by_hand: Option<&'a Window>,
}

/// The containers of a service that are over a threshold, the one that needs help most first.
///
/// Rows begin anew after `since`, the end of the last action on the service: its effect shows only then. The Swarm was
/// seen at `seen_at`.
pub(crate) fn findings<'a>(
    containers: impl Iterator<Item = Known<'a>>,
    policy: &Policy,
    since: Option<Timestamp>,
    seen_at: Timestamp,
    now: Timestamp,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for known in containers {
        // Beyond doubt in the future: a clock that is wrong, by which it would never settle.
        let running_since = known.since.filter(|since| *since <= seen_at + policy.startup_period);
        let settled_at = running_since.map(|since| since + policy.startup_period);
        let look = Look { container: known.container, node: known.node, settled_at, since, policy, now };
        findings.extend([known.by_agent, known.by_hand].into_iter().flatten().filter_map(|window| look.at(window)));
    }
    // A row that is complete comes before one that is not. Equals are told apart by the container's identifier, so that
    // the same facts give the same choice.
    let order = |finding: &Finding| (finding.is_complete(policy), rank(&finding.condition), finding.streak);
    findings.sort_by(|a, b| order(b).cmp(&order(a)).then_with(|| a.container.cmp(&b.container)));
    findings
}

impl Finding {
    /// Whether as many ticks in a row show it as are needed.
    pub fn is_complete(&self, policy: &Policy) -> bool {
        match self.condition {
            Condition::Busy => self.streak >= policy.scaling.consecutive_breaches,
            Condition::Sick => self.streak >= policy.migration.consecutive_breaches,
            Condition::Unclear(_) | Condition::Calm | Condition::Idle => false,
        }
    }

    /// Higher is more urgent: the condition first, then how much the container has to do.
    pub(crate) fn urgency(&self) -> f32 {
        let most = self.newest.cpu_percent.into_iter().chain(self.newest.memory_percent).fold(0.0, f32::max);
        f32::from(rank(&self.condition)) * 10_000.0 + most.clamp(0.0, 9_999.0)
    }
}

/// A look at one container of a service.
struct Look<'a> {
    container: ContainerId,
    node: &'a NodeId,
    /// Before that its CPU is not looked at.
    settled_at: Option<Timestamp>,
    /// Samples up to then do not count.
    since: Option<Timestamp>,
    policy: &'a Policy,
    now: Timestamp,
}

impl Look<'_> {
    fn at(&self, window: &Window) -> Option<Finding> {
        let newest = *window.newest()?;
        if self.now.since(newest.sampled_at) > self.policy.metric_window && !has(Bug::StaleSample) {
            return None;
        }
        let newest_condition = self.condition(&newest, self.policy);
        if newest_condition == Condition::Calm {
            return None;
        }
        // A row begins and ends with ticks that show it; between them a value may waver.
        let (lenient, shown) = (self.policy.lenient(), rank(&newest_condition));
        let counts = |sample: &Sample| self.since.is_none_or(|since| sample.sampled_at > since);
        let shows = |sample: &Sample, policy: &Policy| rank(&self.condition(sample, policy)) == shown;
        // A window has each tick once.
        let mut tick = newest.tick;
        let row = window.newest_first().take_while(|sample| {
            let follows = sample.tick == newest.tick || sample.tick.checked_add(1) == Some(tick);
            tick = sample.tick;
            follows && counts(sample) && shows(sample, &lenient)
        });
        let oldest = (0..row.count()).rev().find(|back| window.back(*back).is_some_and(|it| shows(it, self.policy)));
        let streak = oldest.map_or(0, |back| back as u32 + 1);
        let first = oldest.and_then(|back| window.back(back)).copied().unwrap_or(newest);
        let Self { container, node, .. } = self;
        let finding = Finding {
            container: *container,
            node: (*node).clone(),
            condition: newest_condition,
            streak,
            first,
            newest,
        };
        Some(finding)
    }

    fn condition(&self, sample: &Sample, policy: &Policy) -> Condition {
        if self.settled_at.is_some_and(|settled| sample.sampled_at < settled) {
            return condition(&Sample { cpu_percent: None, ..*sample }, policy);
        }
        condition(sample, policy)
    }
}
