//! Decisions: for each service in trouble an action that names everything, or the reason why nothing is done.
//!
//! The executor chooses nothing: service, version, node to leave, node to reach and replica count stand in the action.
//! A service in whose containers nothing is amiss has no decision.

mod action;
mod grounds;
mod observed;
mod withheld;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use swarmguard_wire::{ContainerId, Name, NodeId, ServiceId, Timestamp};

use crate::claims::Claims;
use crate::facts::index::{By, Index};
use crate::facts::{Facts, Leader, Service, Swarm, UpdateState};
use crate::labels::{Engagement, LabelProblem};
use crate::memory::Memory;
use crate::placement;
use crate::planted::{Bug, has};
use crate::policy::{Policy, SICK_NODES_MIN};
use crate::quiet::Quiet;
use crate::rules::{self, Case, Condition, Finding, Known, Sick};

pub use action::{Action, ActionKind, Migrate, Scale, Trigger, WhyScale};
pub use grounds::{Candidates, Considered, Grounds, Other, Thresholds};
pub use observed::Observed;
pub(crate) use withheld::Wait;
pub use withheld::{NAMED_MAX, Withheld};

/// What comes of a service in trouble.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// To be executed.
    Act {
        /// The action.
        action: Action,
    },
    /// Would be executed if it were not only observed.
    Observe {
        /// The action.
        action: Action,
        /// Why it is.
        because: Observed,
    },
    /// Nothing is to be done.
    Withhold {
        /// Why.
        withheld: Withheld,
    },
}

/// The decision for one service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// The service.
    pub service: ServiceId,
    /// Its name.
    pub service_name: Name,
    /// The container it rests on.
    pub container: ContainerId,
    /// What condition that container is in.
    pub condition: Condition,
    /// What was seen of it.
    pub grounds: Grounds,
    /// What comes of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, action) = match &self.outcome {
            Outcome::Withhold { withheld } => return write!(f, "nothing is done: {withheld}"),
            Outcome::Act { action } => ("", action),
            Outcome::Observe { action, because } => {
                write!(f, "observed only ({because}): ")?;
                ("would ", action)
            }
        };
        let trigger = action.trigger();
        let shown = |value: Option<f32>| value.map_or("unknown".to_owned(), |value| format!("{value:.0} %"));
        match action {
            Action::Migrate(migrate) => write!(f, "{verb}move it off {}", migrate.source_name)?,
            Action::ScaleUp(scale) | Action::ScaleDown(scale) => {
                write!(f, "{verb}go from {} to {} replicas", scale.from, scale.to)?;
            }
        }
        let (cpu, memory) = (shown(trigger.cpu_percent), shown(trigger.memory_percent));
        let of = if matches!(action, Action::ScaleDown(_)) { "; of its busiest" } else { ":" };
        write!(f, "{of} CPU is at {cpu}, memory at {memory}, network at {}", shown(trigger.network_percent))
    }
}

/// Decides for every service one of whose containers is over a threshold, and for those that are idle with more replicas
/// than their minimum; the most urgent first, and of equals the one with the lower identifier.
pub fn plan(facts: &Facts, policy: &Policy, memory: &Memory, now: Timestamp) -> Vec<Decision> {
    let Some((swarm, index)) = facts.indexed() else { return Vec::new() };
    let known = AllKnown::of(facts, swarm, index);
    let services = swarm.services.iter().enumerate();
    let mut wanted: Vec<Wanted<'_>> = services
        .filter_map(|(number, (id, service))| Wanted::of(&known, number, id, service, policy, memory, now))
        .collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    wanted.sort_by(|a, b| b.findings[0].urgency().total_cmp(&a.findings[0].urgency()));
    let sick = Sick::count(facts, &known, policy, &wanted, now);
    let places = placement::places(swarm, index, &facts.reports, policy, now);
    let mut claims = Claims::of(memory, swarm, now);
    let mut with_observed = claims.clone();
    let mut decisions = Vec::new();
    for Wanted { id, service, policy, engagement, problems, findings, containers } in wanted {
        if engagement == Engagement::Off {
            continue;
        }
        let because = observed(facts, swarm, service, &policy, engagement, problems, now);
        // What is only observed is held to the same limits, and does not count for what is not.
        let claims_seen = if because.is_none() { &claims } else { &with_observed };
        let case = Case {
            facts,
            swarm,
            places: &places,
            containers: &containers,
            id,
            service,
            policy: &policy,
            memory,
            now,
            claims: claims_seen,
            sick,
        };
        let Some(decision) = decide(&case, findings, because) else { continue };
        match &decision.outcome {
            Outcome::Act { action } => {
                claims.add(action);
                with_observed.add(action);
            }
            Outcome::Observe { action, .. } => with_observed.add(action),
            Outcome::Withhold { .. } => {}
        }
        decisions.push(decision);
    }
    decisions
}

/// What is known of all running containers.
struct AllKnown<'a> {
    facts: &'a Facts,
    swarm: &'a Swarm,
    index: &'a Index,
    nodes: Vec<&'a NodeId>,
}

impl<'a> AllKnown<'a> {
    fn of(facts: &'a Facts, swarm: &'a Swarm, index: &'a Index) -> Self {
        Self { facts, swarm, index, nodes: swarm.nodes.keys().collect() }
    }

    /// Of the service of this number.
    fn of_service(&self, number: usize) -> impl Iterator<Item = Known<'a>> {
        self.index.running(number).0.iter().filter_map(|task| {
            let node = self.nodes.get(task.node)?;
            let said = [self.facts.containers(), self.facts.by_hand()];
            let [by_agent, by_hand] = said.map(|windows| windows.get(&task.container));
            Some(Known { container: task.container, node, since: task.since, by_agent, by_hand })
        })
    }
}

/// A service about which something might be done.
struct Wanted<'a> {
    id: &'a ServiceId,
    service: &'a Service,
    policy: Cow<'a, Policy>,
    engagement: Engagement,
    problems: Vec<LabelProblem>,
    /// At least one.
    findings: Vec<Finding>,
    containers: Vec<Known<'a>>,
}

impl<'a> Wanted<'a> {
    fn of(
        known: &AllKnown<'a>,
        number: usize,
        id: &'a ServiceId,
        service: &'a Service,
        policy: &'a Policy,
        memory: &Memory,
        now: Timestamp,
    ) -> Option<Self> {
        let (by_agent, by_hand) = (known.index.glance(By::Agent, number), known.index.glance(By::Hand, number));
        let may_be_wanted = |policy: &Policy| {
            let may_be_high = rules::may_be_high(by_agent.most, policy) || rules::may_be_high(by_hand.most, policy);
            may_be_high || rules::may_be_idle(service, by_agent.sum, &policy.scaling)
        };
        // So it is with most, and for these what their owners chose need not be looked at.
        if !service.labels.choose_thresholds() && !may_be_wanted(policy) {
            return None;
        }
        let (policy, engagement, problems) = service.labels.over(policy);
        if !may_be_wanted(&policy) {
            return None;
        }
        let are_all = known.index.running(number).1;
        let containers: Vec<Known<'_>> = known.of_service(number).collect();
        let each = || containers.iter().copied();
        let since = memory.last_ended(id);
        let mut findings = rules::findings(each(), &policy, since, known.swarm.seen_at, now);
        // While one container has too much to do, the service is not idle, whatever the others do.
        if findings.is_empty() && are_all {
            findings.extend(rules::idle(each(), service, memory.scaled_from(id, service), &policy, now));
        }
        let is_wanted = !findings.is_empty();
        is_wanted.then_some(Self { id, service, policy, engagement, problems, findings, containers })
    }
}

impl Sick {
    fn count(facts: &Facts, known: &AllKnown<'_>, policy: &Policy, wanted: &[Wanted<'_>], now: Timestamp) -> Self {
        // What cannot be moved, or is sick only by its owner's own measure, says nothing about the observer.
        let sick: BTreeSet<&NodeId> = wanted
            .iter()
            .filter(|wanted| wanted.engagement != Engagement::Off && wanted.service.may_move())
            .flat_map(|wanted| wanted.findings.iter().filter(|finding| finding.is_complete(&wanted.policy)))
            .filter(|finding| rules::condition(&finding.newest, policy) == Condition::Sick)
            .filter(|finding| finding.condition == Condition::Sick)
            .map(|finding| &finding.node)
            .collect();
        let sick = sick.len();
        if sick < SICK_NODES_MIN {
            return Self { sick, nodes: 0, are_too_many: false };
        }
        // Of the nodes where one of those could be seen: others would only water it down.
        let services = facts.swarm().into_iter().flat_map(|swarm| swarm.services.values()).enumerate();
        let mut could_be = vec![false; known.nodes.len()];
        for (number, _) in services.filter(|(_, service)| service.may_move() && !service.labels.are_off()) {
            for task in known.index.running(number).0 {
                could_be.get_mut(task.node).into_iter().for_each(|could_be| *could_be = true);
            }
        }
        // Both are in the order of their identifiers.
        let mut reports = facts.reports.iter().peekable();
        let mut reports_of = |node: &NodeId| {
            while reports.next_if(|(id, _)| *id < node).is_some() {}
            let report = reports.next_if(|(id, _)| *id == node);
            report.is_some_and(|(_, report)| now.since(report.received_at) <= policy.metric_window)
        };
        let nodes = known.nodes.iter().zip(could_be).filter(|(node, could_be)| reports_of(node) && *could_be).count();
        Self { sick, nodes, are_too_many: sick as f32 * 100.0 > policy.limits.sick_nodes_percent * nodes as f32 }
    }
}

fn decide(case: &Case<'_>, findings: Vec<Finding>, because: Option<Observed>) -> Option<Decision> {
    let (finding, proposed) = match guard(case) {
        Err(withheld) => (findings.first()?, Err(withheld)),
        Ok(()) => first_action(case, &findings)?,
    };
    let outcome = match (proposed, because) {
        (Ok(action), None) => Outcome::Act { action },
        (Ok(action), Some(because)) => Outcome::Observe { action, because },
        (Err(withheld), _) => Outcome::Withhold { withheld },
    };
    Some(Decision {
        service: case.id.clone(),
        service_name: case.service.name.clone(),
        container: finding.container,
        condition: finding.condition,
        grounds: Grounds::of(case, finding),
        outcome,
    })
}

/// Why nothing is done about a service at this time.
pub fn quiet(facts: &Facts, service: &Service, policy: &Policy, now: Timestamp) -> Option<Quiet> {
    let now = facts.wall(now);
    if let Some(pause) = facts.pauses.of(service.name.as_str(), now) {
        return Some(Quiet::Paused {
            all: facts.pauses.all.as_ref() == Some(pause),
            seconds_left: pause.until.map(|until| seconds_left(until, now)),
            why: pause.reason.clone(),
        });
    }
    let until = policy.quiet_hours.iter().filter_map(|hours| hours.until(now)).max()?;
    Some(Quiet::Hours { until, seconds_left: seconds_left(until, now) })
}

/// Why what is decided for a service is only shown; nothing if it is done.
fn observed(
    facts: &Facts,
    swarm: &Swarm,
    service: &Service,
    policy: &Policy,
    engagement: Engagement,
    problems: Vec<LabelProblem>,
    now: Timestamp,
) -> Option<Observed> {
    if engagement != Engagement::Act && !has(Bug::NotEnabled) {
        return Some(if !problems.is_empty() {
            Observed::Labels { problems }
        } else if service.labels.is_enabled() {
            Observed::Mode
        } else {
            Observed::NotEnabled
        });
    }
    if let Some(quiet) = quiet(facts, service, policy, now).filter(|_| !has(Bug::IgnoresPause)) {
        return Some(Observed::Quiet { quiet });
    }
    if now.since(swarm.seen_at) > policy.leader_window && !has(Bug::StaleSwarm) {
        return Some(Observed::Standby { leader: Leader::Unknown });
    }
    let is_standby = swarm.leader != Leader::Here && !has(Bug::ActsInStandby);
    is_standby.then(|| Observed::Standby { leader: swarm.leader.clone() })
}

/// The first action that a finding leads to; if none does, the first finding and why not. So a busy service at its
/// maximum does not keep its sick container from being moved.
fn first_action<'a>(case: &Case<'_>, findings: &'a [Finding]) -> Option<(&'a Finding, Result<Action, Withheld>)> {
    let mut first = None;
    for finding in findings {
        match rules::propose(case, finding) {
            Ok(action) => return Some((finding, Ok(action))),
            Err(withheld) => drop(first.get_or_insert((finding, Err(withheld)))),
        }
    }
    first
}

/// Seconds from `now` to `until`, rounded up.
pub(crate) fn seconds_left(until: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(until.since(now).as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// What holds back every kind of action.
fn guard(case: &Case<'_>) -> Result<(), Withheld> {
    let Case { swarm, id, service, policy, memory, now, .. } = *case;
    let age = now.since(swarm.seen_at);
    if age > policy.metric_window && !has(Bug::StaleSwarm) {
        return Err(Withheld::SwarmStale { seconds: age.as_secs() });
    }
    if let Some(kind) = memory.in_flight(id).filter(|_| !has(Bug::SecondAction)) {
        return Err(Withheld::InFlight { kind: Some(kind) });
    }
    if service.action_marked && !has(Bug::SecondAction) {
        return Err(Withheld::InFlight { kind: None });
    }
    if let Some(until) = memory.refused_until(id, now) {
        return Err(Withheld::Refused { seconds_left: seconds_left(until, now) });
    }
    match service.update {
        UpdateState::Settled => Ok(()),
        _ if has(Bug::SomeonesUpdate) => Ok(()),
        state @ (UpdateState::Updating | UpdateState::Paused | UpdateState::RollingBack) => {
            Err(Withheld::UpdateInProgress { state })
        }
    }
}
