//! What must never happen, and what must come about once nothing goes wrong any more. It looks at
//! the Swarm itself and shares no rule with the planner and its checks, but for which hours are quiet.

mod coming;
mod limits;
mod notes;
mod remembered;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde_json::Value;
use swarmguard_collector::journal::State;
use swarmguard_planner::plan::ActionKind;
use swarmguard_planner::{Action, Policy};
use swarmguard_wire::{NodeId, ServiceId, Timestamp};

use crate::collector::Did;
use crate::swarmkit::{Happened, Service, SwarmKit, Task};
use notes::Notes;
use remembered::Remembered;

const MARK: &str = "swarmguard.action";
const SCALED: &str = "swarmguard.scaled";

/// So long after something else went wrong with a service, fewer replicas may be that something's doing.
const FAULT_COUNTS_FOR: Duration = Duration::from_secs(180);

/// Between a look at the tasks and the update that rests on it.
const LOOK_COUNTS_FOR: Duration = Duration::from_secs(3);

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When, since the world's beginning.
    pub after: Duration,
    /// Which service.
    pub service: String,
    /// Which promise, and how.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s, {}: {}", self.after.as_secs_f64(), self.service, self.what)
    }
}

/// Who wrote a service's spec last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Author {
    Owner,
    SwarmGuard,
}

/// Looks on.
#[derive(Debug)]
pub struct Judge {
    policy: Policy,
    begun_at: Timestamp,
    authors: BTreeMap<ServiceId, Author>,
    /// When something else went wrong last.
    faults: BTreeMap<ServiceId, Timestamp>,
    /// Services of which every task that ran had its ports when their last action began.
    published: BTreeSet<ServiceId>,
    /// When each service's last action began.
    begun: BTreeMap<ServiceId, Timestamp>,
    /// What containers its service made then.
    containers: BTreeMap<ServiceId, Value>,
    /// When the Swarm was read on which it rested.
    rested_on: BTreeMap<ServiceId, Timestamp>,
    /// Which of SwarmGuard's notes are void.
    notes: Notes,
    /// What each collector has to remember of what was done.
    remembered: Remembered,
    /// What each owner wrote last; nothing where that cannot be told.
    written: BTreeMap<ServiceId, Option<Value>>,
    /// When an owner rolled a service back.
    rolled_back: BTreeMap<ServiceId, Timestamp>,
    /// When the wall clock stepped last.
    stepped_at: Timestamp,
    /// Since when a service is paused, or all are, and until when by the wall clock.
    pauses: BTreeMap<Option<ServiceId>, (Timestamp, Timestamp)>,
    /// Since when services have had fewer replicas than they are to have.
    short_since: BTreeMap<ServiceId, Timestamp>,
    /// Services of which a move has cost a replica, and since when.
    away: BTreeMap<ServiceId, Timestamp>,
    /// Services whose action was told not to end, or that were told to wait too long.
    overdue: BTreeSet<ServiceId>,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// Actions begun, ended as planned, and ended otherwise.
    pub actions: [u64; 3],
}

impl Judge {
    /// Of a world that begins now.
    #[must_use]
    pub fn new(policy: Policy, begun_at: Timestamp) -> Self {
        Self {
            policy,
            begun_at,
            authors: BTreeMap::new(),
            faults: BTreeMap::new(),
            published: BTreeSet::new(),
            begun: BTreeMap::new(),
            containers: BTreeMap::new(),
            rested_on: BTreeMap::new(),
            notes: Notes::default(),
            remembered: Remembered::default(),
            written: BTreeMap::new(),
            rolled_back: BTreeMap::new(),
            stepped_at: Timestamp::default(),
            pauses: BTreeMap::new(),
            short_since: BTreeMap::new(),
            away: BTreeMap::new(),
            overdue: BTreeSet::new(),
            violations: Vec::new(),
            actions: [0; 3],
        }
    }

    fn broken(&mut self, now: Timestamp, service: &ServiceId, what: impl Into<String>) {
        let violation = Violation { after: now.since(self.begun_at), service: service.to_string(), what: what.into() };
        self.violations.push(violation);
    }

    /// An owner wrote a spec; nothing where what it came to cannot be told.
    pub fn wrote(&mut self, service: &ServiceId, spec: Option<Value>, now: Timestamp) {
        self.authors.insert(service.clone(), Author::Owner);
        // Which ports it publishes is theirs to choose.
        self.published.remove(service);
        if spec.is_none() {
            self.rolled_back.insert(service.clone(), now);
        }
        self.written.insert(service.clone(), spec);
    }

    /// After an owner's change.
    pub fn changed(&mut self, service: &ServiceId, kit: &SwarmKit) {
        let asked_for = self.written(service).and_then(|spec| spec["Mode"]["Replicated"]["Replicas"].as_u64());
        self.notes.changed(service, asked_for, kit);
    }

    /// What an owner wrote last.
    #[must_use]
    pub fn written(&self, service: &ServiceId) -> Option<&Value> {
        self.written.get(service).and_then(Option::as_ref)
    }

    /// Something else went wrong with a service.
    pub fn fault(&mut self, service: &ServiceId, now: Timestamp) {
        self.faults.insert(service.clone(), now);
    }

    /// The collector of this number was started anew, and has lost its journal or not.
    pub fn restarted(&mut self, number: usize, is_lost: bool) {
        self.remembered.restarted(number, is_lost);
        self.notes.restarted(number);
    }

    /// The collector of this number has read the Swarm.
    pub fn looked(&mut self, number: usize, kit: &SwarmKit, now: Timestamp) {
        let marked = kit.services.iter().filter_map(|(id, service)| Some((id, kind_of_mark(&service.spec)?)));
        marked.for_each(|(id, kind)| self.remembered.saw_mark(number, id, kind, now));
        self.notes.looked(number, kit);
    }

    /// Which services are short of replicas.
    pub fn counted(&mut self, kit: &SwarmKit, now: Timestamp) {
        self.short_since.retain(|id, _| kit.services.contains_key(id));
        let running = kit.running_of_each();
        for (id, service) in &kit.services {
            if running.get(id).copied().unwrap_or_default() >= service.replicas() {
                self.short_since.remove(id);
            } else {
                self.short_since.entry(id.clone()).or_insert(now);
            }
        }
    }

    /// The end of a world in which nothing but noise was.
    pub fn calm_end(&mut self, now: Timestamp) {
        if self.actions[0] > 0 {
            let what = format!("{} actions were begun on a healthy Swarm", self.actions[0]);
            self.violations.push(Violation { after: now.since(self.begun_at), service: "all".to_owned(), what });
        }
    }

    /// What the collector of this number did.
    pub fn did(&mut self, number: usize, did: &Did, kit: &SwarmKit, now: Timestamp) {
        match did {
            Did::Began { action, before, seen_at } => {
                self.remember(number, action, kit, now);
                if action.kind() == ActionKind::ScaleDown {
                    self.notes.gives_back(number, &action.trigger().service, before);
                }
                self.began(action, before, *seen_at, kit, now);
            }
            Did::Changed(service) => {
                // We wrote it last, when the action began: that is its end, though the collector may not hear so.
                let is_ours = self.authors.get(service) == Some(&Author::SwarmGuard);
                let has_mark = |found: &Service| !found.spec["Labels"][MARK].is_null();
                if is_ours && kit.services.get(service).is_some_and(|found| !has_mark(found)) {
                    self.remembered.took_out(number, service);
                }
                self.authors.insert(service.clone(), Author::SwarmGuard);
            }
            Did::HeldBack(text) => {
                let Ok(service) = "checks".parse() else { return };
                self.broken(now, &service, format!("held back what the rules had planned: {text}"));
            }
            Did::Ended(service, kind, state) => {
                let begun = self.begun.get(service).copied().unwrap_or_default();
                let is_unreached = |task: &Task| {
                    task.service == *service && task.is_running() && task.portless_since.is_some_and(|at| at >= begun)
                };
                let is_over = matches!(state, State::Completed | State::Reverted) && self.published.contains(service);
                if is_over && kit.tasks.values().any(is_unreached) {
                    self.broken(now, service, "its action ended with a replica that nobody reaches");
                }
                self.remembered.ended(number, service, *kind, state, begun, now);
                // People are told so: no other node took what nobody reaches.
                if *state == State::Left && kit.tasks.values().any(is_unreached) {
                    self.away.remove(service);
                }
                let place = if *state == State::Completed { 1 } else { 2 };
                self.actions[place] += 1;
            }
        }
    }

    fn began(&mut self, action: &Action, before: &Value, seen_at: Timestamp, kit: &SwarmKit, now: Timestamp) {
        self.actions[0] += 1;
        let trigger = action.trigger();
        let service = &trigger.service;
        self.authors.insert(service.clone(), Author::SwarmGuard);
        self.begun.insert(service.clone(), now);
        self.containers.insert(service.clone(), before["TaskTemplate"]["ContainerSpec"].clone());
        self.rested_on.insert(service.clone(), seen_at);
        let is_unreached = |task: &Task| {
            task.service == *service && task.is_running() && task.portless_since.is_some_and(|at| at < now)
        };
        if kit.tasks.values().any(is_unreached) {
            self.published.remove(service);
        } else {
            self.published.insert(service.clone());
        }
        self.touches(action, before, kit, now);
        let labels = &before["Labels"];
        let mode = labels["swarmguard.mode"].as_str();
        if labels["swarmguard.enable"] != "true" || mode.is_some_and(|mode| mode != "act") {
            self.broken(now, service, "it was acted on though its owner did not allow it");
        }
        if !labels[MARK].is_null() {
            self.broken(now, service, "it was acted on while another action was under way");
        }
        let oldest = self.policy.metric_window + Duration::from_secs(1);
        if now.since(seen_at) > oldest || now.since(trigger.received_at) > oldest {
            self.broken(now, service, "it was acted on by stale facts");
        }
        let had = before["Mode"]["Replicated"]["Replicas"].as_u64().unwrap_or(0);
        let has = kit.services.get(service).map_or(0, Service::replicas);
        let number = |label: &str| labels[label].as_str().and_then(|text| text.parse::<u64>().ok());
        let max = number("swarmguard.max").unwrap_or(self.policy.scaling.max_replicas);
        let min = number("swarmguard.min").unwrap_or(self.policy.scaling.min_replicas);
        match action {
            Action::Migrate(_) if has != had => self.broken(now, service, "a migration changed the number of replicas"),
            Action::ScaleUp(_) if has != had + 1 || has > max => {
                self.broken(now, service, format!("from {had} to {has} replicas, and at most {max} are allowed"));
            }
            Action::ScaleDown(_) if has + 1 != had || has < min => {
                self.broken(now, service, format!("from {had} to {has} replicas, and at least {min} are to stay"));
            }
            Action::ScaleDown(_) => {
                let from = notes::of(before).and_then(|note| note["from"].as_u64());
                let chosen = number("swarmguard.min").is_some();
                if !chosen && from.is_none_or(|from| has < from) {
                    self.broken(now, service, "a replica was taken that its owner asked for");
                }
            }
            Action::Migrate(_) | Action::ScaleUp(_) => {}
        }
        let is_under_way = |(id, found): &(&ServiceId, &Service)| {
            !found.spec["Labels"][MARK].is_null() && !self.has_come_back(id, now)
        };
        let marked = kit.services.iter().filter(is_under_way).count();
        let max = self.policy.limits.actions_in_flight as usize;
        if marked > max {
            self.broken(now, service, format!("{marked} actions are under way, and at most {max} may be"));
        }
    }

    /// Whom an action touches that it should not, as far as could be known a while ago.
    fn touches(&mut self, action: &Action, before: &Value, kit: &SwarmKit, now: Timestamp) {
        let service = &action.trigger().service;
        let known = self.known_after();
        if self.short_since.get(service).is_some_and(|since| now.since(*since) > known) {
            self.broken(now, service, "it was acted on while it had too few replicas");
        }
        if matches!(action, Action::ScaleUp(_)) {
            return;
        }
        if !before["TaskTemplate"]["ContainerSpec"]["Mounts"].is_null() {
            self.broken(now, service, "a replica was to leave its data behind");
        }
        let Action::Migrate(migrate) = action else { return };
        let constraints =
            kit.services.get(service).map(|found| &found.spec["TaskTemplate"]["Placement"]["Constraints"]);
        let is_off = |node: &NodeId| {
            let off = format!("node.id!={node}");
            constraints.and_then(Value::as_array).is_some_and(|all| all.iter().any(|found| *found == off))
        };
        let stays = |task: &&Task| {
            let is_known = task.running_since.is_some_and(|since| now.since(since) > known);
            task.service == *service && task.is_running() && is_known && task.node.as_ref() != Some(&migrate.source)
        };
        let nodes = kit.tasks.values().filter(stays).filter_map(|task| task.node.clone());
        for node in nodes.collect::<BTreeSet<NodeId>>() {
            if is_off(&node) {
                self.broken(
                    now,
                    service,
                    format!("a move keeps replicas off {node}, on which one runs that is to stay"),
                );
            }
            if node == migrate.target {
                self.broken(now, service, format!("a move is to end on {node}, on which a replica runs already"));
            }
        }
    }

    /// How old the Swarm is on which the action rests that has just begun: in days it is looked at each minute.
    fn rests_on(&self, service: &ServiceId, now: Timestamp) -> Duration {
        let seen_at = self.rested_on.get(service).filter(|_| self.begun.get(service) == Some(&now));
        seen_at.map_or(Duration::ZERO, |seen_at| now.since(*seen_at))
    }

    /// What happened in the Swarm; `is_our_update` where it came of one at once.
    pub fn happened(&mut self, happened: &Happened, is_our_update: bool, kit: &SwarmKit, now: Timestamp) {
        let (service, left, next, replaced, outdated) = match happened {
            Happened::Stopped { service, left, seem_left, unplaced, replaced, seems_replaced, outdated, .. } => {
                // Where a replica had lost its ports before we came, nobody can tell that it should have them.
                let is_known = self.published.contains(service);
                // A move's constraints may be why no node takes the owner's task: they are taken out, though Swarm then begins
                // the owner's update anew, with its next replica before that one runs.
                let found = kit.services.get(service);
                let kept_off = found
                    .and_then(|found| mark(&found.previous))
                    .is_some_and(|mark| mark["change"]["added"].as_array().is_some_and(|added| !added.is_empty()));
                let held_up = if kept_off { *unplaced } else { 0 };
                let at_a_time = found.map_or(0, Service::stopped_at_a_time);
                let next = (seem_left + held_up).saturating_add(at_a_time);
                (service, left, next, *replaced || *seems_replaced && !is_known, outdated)
            }
            Happened::Misplaced { service, node } => return self.misplaced(service, node, kit, now),
            Happened::Runs(_) | Happened::Ends(_) => return,
        };
        let wanted = kit.services.get(service).map_or(0, Service::replicas);
        let is_ours = self.authors.get(service) == Some(&Author::SwarmGuard);
        // What one of our updates takes at once is ours, whatever else went wrong before we looked; unless it is the next step
        // of the owner's own update, as its order and parallelism have it: for that one what nobody reaches runs as well.
        let (counts_for, outdated) = match is_our_update {
            true => (self.rests_on(service, now).max(LOOK_COUNTS_FOR), *outdated && next >= wanted),
            false => (FAULT_COUNTS_FOR, *outdated),
        };
        let excused = self.faults.get(service).is_some_and(|at| now.since(*at) <= counts_for);
        if is_ours && !replaced && !outdated && *left < wanted && !excused {
            self.broken(now, service, format!("a healthy task was taken away: {left} of {wanted} replicas run"));
        }
    }
}

/// The mark in a spec.
fn mark(spec: &Value) -> Option<Value> {
    serde_json::from_str(spec["Labels"][MARK].as_str()?).ok()
}

/// Of which action a spec has the mark.
fn kind_of_mark(spec: &Value) -> Option<ActionKind> {
    match mark(spec)?["change"]["kind"].as_str()? {
        "migrate" => Some(ActionKind::Migrate),
        "scale_up" => Some(ActionKind::ScaleUp),
        "scale_down" => Some(ActionKind::ScaleDown),
        _ => None,
    }
}
