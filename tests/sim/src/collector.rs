//! SwarmGuard's collector in a made-up world: the real planner, checks, memory and course of actions. What stands here
//! in place of the real loop is only who calls whom, by this world's clock.

mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use swarmguard_collector::executor::Ended;
use swarmguard_collector::executor::course::{Answer, Course, Step};
use swarmguard_collector::journal::{State, TimeLine};
use swarmguard_collector::swarm::docker::RawError;
use swarmguard_collector::swarm::mark::{LABEL, Mark};
use swarmguard_collector::swarm::{SwarmError, spec};
use swarmguard_planner::facts::{Facts, Leader};
use swarmguard_planner::memory::{EndedBy, Past};
use swarmguard_planner::plan::ActionKind;
use swarmguard_planner::{Action, Memory, Outcome, Policy, checks, plan};
use swarmguard_wire::{ServiceId, Timestamp};

use crate::rng::Rng;
use crate::swarmkit::{Refusal, SwarmKit};

/// As the real loop's.
const TAKE_OVER_PAUSE: Duration = Duration::from_secs(30);

/// Beside another leader a collector decides at the first look, and then at every so many.
const LOOKS_PER_DECISION: u64 = 3;

/// How likely, in percent, it is that a manager's answer is lost, or the update with it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unreliable {
    /// An update is not taken, and nobody says so.
    pub lost_update: u64,
    /// An update is taken, and nobody says so.
    pub lost_answer: u64,
    /// Somebody else was faster.
    pub raced: u64,
    /// A question is not answered.
    pub lost_read: u64,
}

/// What the collector did to Swarm, for those who judge.
#[derive(Debug, Clone)]
pub enum Did {
    /// It began an action; with the spec before, and what it rested on.
    Began {
        /// The action.
        action: Box<Action>,
        /// The service's spec just before.
        before: Box<Value>,
        /// When the Swarm was read that it rests on.
        seen_at: Timestamp,
    },
    /// It changed the service otherwise: ended an action or backed out of one.
    Changed(ServiceId),
    /// The checks held back what the rules had planned.
    HeldBack(String),
    /// An action ended.
    Ended(ServiceId, ActionKind, State),
}

/// A collector at work.
#[derive(Debug)]
pub struct Collector {
    /// What it knows.
    pub facts: Facts,
    memory: Memory,
    policy: Policy,
    running: BTreeMap<ServiceId, Running>,
    /// Not before then is an action taken over again.
    later: BTreeMap<ServiceId, Timestamp>,
    /// What would be on its disk: actions in the order in which they began.
    pub journal: Vec<(String, Past)>,
    /// What was read last: after how many changes, and who led.
    read_at: Option<(u64, Leader)>,
    started_at: Timestamp,
    now: Timestamp,
    /// Looks in a row at which another manager led.
    stood_by: u64,
    actions: u64,
    trusted_from: Timestamp,
    /// Nothing is changed after that.
    leads_until: Timestamp,
    rng: Rng,
    /// Whether the checks hold back what the rules should not have planned.
    pub is_checked: bool,
    /// What it did since somebody looked.
    pub did: Vec<Did>,
}

#[derive(Debug)]
struct Running {
    course: Course,
    kind: ActionKind,
    step: Option<Step>,
    answer: Option<Answer>,
    at: Timestamp,
}

impl Collector {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(policy: Policy, rng: Rng, now: Timestamp) -> Self {
        Self {
            facts: Facts::default(),
            memory: Memory::default(),
            policy,
            running: BTreeMap::new(),
            later: BTreeMap::new(),
            journal: Vec::new(),
            read_at: None,
            started_at: now,
            now,
            stood_by: 0,
            actions: 0,
            trusted_from: Timestamp::default(),
            leads_until: Timestamp::default(),
            rng,
            is_checked: true,
            did: Vec::new(),
        }
    }

    /// Goes on with another's journal, as the next one on the same machine does.
    pub fn restore(&mut self, journal: Vec<(String, Past)>, now: Timestamp) {
        journal.iter().for_each(|(_, past)| self.memory.restore(past.clone(), now));
        self.journal = journal;
    }

    /// When one of its actions goes on.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.running.values().map(|running| running.at).min()
    }

    /// Reads the whole Swarm, which was `asked` for then, takes over what it finds unfinished, and decides, though not each
    /// time beside another leader.
    pub fn look(&mut self, kit: &SwarmKit, leader: Leader, asked: Timestamp, now: Timestamp) {
        let is_ours = leader == Leader::Here;
        if !is_ours {
            // Whatever is under way is left to the collector beside the leader.
            self.running.clear();
            self.memory.leave_to_others();
        } else {
            self.leads_until = asked + self.policy.leader_window;
        }
        if now < self.trusted_from {
            return;
        }
        let stands_by = matches!(leader, Leader::Elsewhere { .. });
        let known = (kit.changes, leader.clone());
        if self.read_at.as_ref() == Some(&known) {
            self.facts.record_unchanged(asked);
        } else {
            self.facts.record_swarm(read::swarm(kit, leader, asked));
            self.read_at = Some(known);
        }
        let Some(swarm) = self.facts.swarm() else { return };
        self.memory.saw(swarm, now);
        let marked: Vec<ServiceId> = swarm
            .services
            .iter()
            .filter(|(id, service)| is_ours && service.action_marked && !self.running.contains_key(*id))
            .filter(|(id, _)| self.later.get(*id).is_none_or(|later| *later <= now))
            .map(|(id, _)| id.clone())
            .collect();
        self.facts.forget(now);
        for service in marked {
            let Some(found) = kit.services.get(&service) else { continue };
            let Some(mark) = found.spec["Labels"][LABEL].as_str().and_then(Mark::parse) else { continue };
            let kind = mark.kind();
            let (course, step) = Course::take_over(mark, self.policy.action_deadline, now);
            self.running.insert(service, Running { course, kind, step: Some(step), answer: None, at: now });
        }
        self.stood_by = if stands_by { self.stood_by + 1 } else { 0 };
        // What one decides beside another leader comes to nothing: now and then is often enough to see that it does.
        if !stands_by || self.stood_by % LOOKS_PER_DECISION == 1 {
            self.decide(now);
        }
    }

    /// What it would decide, in words.
    #[must_use]
    pub fn told(&self, now: Timestamp) -> Vec<String> {
        plan(&self.facts, &self.policy, &self.memory, now).iter().map(ToString::to_string).collect()
    }

    /// Decides, as the real loop does.
    pub fn decide(&mut self, now: Timestamp) {
        let decisions = plan(&self.facts, &self.policy, &self.memory, now);
        for decision in decisions {
            let Outcome::Act { action } = decision.outcome else { continue };
            if self.running.contains_key(&decision.service)
                || self.later.get(&decision.service).is_some_and(|at| *at > now)
            {
                continue;
            }
            if self.is_checked
                && let Err(violation) = checks::vet(&action, &self.facts, &self.policy, &self.memory, now)
            {
                self.did.push(Did::HeldBack(format!("{}: {violation}", decision.service_name)));
                continue;
            }
            self.start(action, now);
        }
    }

    fn start(&mut self, action: Action, now: Timestamp) {
        self.actions += 1;
        let id = format!("{}-{}", self.started_at.as_micros() / 1_000, self.actions);
        let (service, kind) = (action.trigger().service.clone(), action.kind());
        let Some(swarm) = self.facts.swarm() else { return };
        let Some(found) = swarm.services.get(&service) else { return };
        let scaled_from = self.memory.scaled_from(&service, found);
        let mut mark = Mark::new(id.clone(), &action, found, scaled_from, TimeLine::default());
        mark.times.t4 = Some(now);
        self.memory.started(&service, kind, action.nodes(), now);
        self.journal.push((id, Past { service: service.clone(), kind, begun: now, ended: None }));
        let (course, step) = Course::begin(action, mark, self.policy.action_deadline);
        self.running.insert(service, Running { course, kind, step: Some(step), answer: None, at: now });
    }

    /// Goes on with every action that is due.
    pub fn go_on(&mut self, kit: &mut SwarmKit, unreliable: Unreliable, now: Timestamp) {
        self.now = now;
        let due: Vec<ServiceId> =
            self.running.iter().filter(|(_, running)| running.at <= now).map(|(id, _)| id.clone()).collect();
        for service in due {
            let Some(mut running) = self.running.remove(&service) else { continue };
            let step = match running.answer.take() {
                Some(answer) => running.course.next(answer, now),
                None => match running.step.take() {
                    Some(step) => step,
                    None => continue,
                },
            };
            let (answer, took) = match step {
                Step::Done(ended) => {
                    self.write_down(running.course.id(), &service, running.kind, &ended, now);
                    self.ended(&service, running.kind, &ended, now);
                    continue;
                }
                Step::Pause(length) => (Answer::Paused, length),
                step @ (Step::Begin { .. }
                | Step::ReadMark
                | Step::ReadTasks
                | Step::ReadNode(_)
                | Step::End(_)
                | Step::BackOut { .. }) => {
                    let answer = self.perform(kit, &service, &mut running.course, step, unreliable);
                    (answer, Duration::from_millis(self.rng.between(2, 40)))
                }
            };
            running.answer = Some(answer);
            running.at = now + took;
            self.running.insert(service, running);
        }
    }

    fn perform(
        &mut self,
        kit: &mut SwarmKit,
        service: &ServiceId,
        course: &mut Course,
        step: Step,
        unreliable: Unreliable,
    ) -> Answer {
        let lost = || SwarmError::Raw { what: "asking the manager", source: RawError::Timeout };
        let is_lost = self.rng.chance(unreliable.lost_read);
        let found = || {
            let found = kit.services.get(service).ok_or(SwarmError::Gone)?;
            let status = json!({ "State": read::update_state(found.update, found.rolled_back) });
            Ok(json!({
                "Version": { "Index": found.version }, "Spec": found.spec, "PreviousSpec": found.previous,
                "UpdateStatus": status,
            }))
        };
        match step {
            Step::ReadMark if is_lost => Answer::Mark(Err(lost())),
            Step::ReadMark => Answer::Mark(found().and_then(|found| spec::marked(&found)).map(|it| it.map(Box::new))),
            // Of a service that is gone the manager tells no tasks, but that it does not know it.
            Step::ReadTasks if is_lost || !kit.services.contains_key(service) => Answer::Tasks(Err(lost())),
            Step::ReadTasks => {
                let tasks = kit.tasks.iter().filter(|(_, task)| task.service == *service);
                Answer::Tasks(Ok(tasks.map(|(id, task)| (id.clone(), read::task(task, kit))).collect()))
            }
            Step::ReadNode(_) if is_lost => Answer::Node(Err(lost())),
            Step::ReadNode(node) => Answer::Node(Ok(kit.machines.get(&node).is_some_and(|found| found.node.ready))),
            late if late.is_late(self.leads_until, self.now) => Answer::Updated(Err(SwarmError::Late)),
            Step::Begin { action } => {
                let before = kit.services.get(service).map(|found| found.spec.clone()).unwrap_or_default();
                let seen_at = self.facts.swarm().map(|swarm| swarm.seen_at).unwrap_or_default();
                let update = found().and_then(|found| spec::begin(found, &action, course.mark_mut()));
                let (taken, answer) = self.update(kit, service, update, unreliable);
                if taken {
                    self.did.push(Did::Began { action, before: Box::new(before), seen_at });
                }
                answer
            }
            Step::End(end) => {
                let update = found().and_then(|found| spec::end(found, course.id(), end));
                self.change(kit, service, update, unreliable)
            }
            Step::BackOut { nodes, remade } => {
                match found().and_then(|found| spec::back_out(found, course.id(), &nodes, remade)).transpose() {
                    Some(update) => self.change(kit, service, update, unreliable),
                    None => Answer::Updated(Ok(())),
                }
            }
            Step::Pause(_) | Step::Done(_) => Answer::Paused,
        }
    }

    fn change(
        &mut self,
        kit: &mut SwarmKit,
        service: &ServiceId,
        update: Result<spec::Update, SwarmError>,
        unreliable: Unreliable,
    ) -> Answer {
        let (taken, answer) = self.update(kit, service, update, unreliable);
        if taken {
            self.did.push(Did::Changed(service.clone()));
        }
        answer
    }

    /// Whether it was taken, and what the collector hears of it.
    fn update(
        &mut self,
        kit: &mut SwarmKit,
        service: &ServiceId,
        update: Result<spec::Update, SwarmError>,
        unreliable: Unreliable,
    ) -> (bool, Answer) {
        let lost = || SwarmError::Raw { what: "updating the service", source: RawError::Timeout };
        let (version, changed) = match update {
            Ok(update) => update,
            Err(error) => return (false, Answer::Updated(Err(error))),
        };
        if self.rng.chance(unreliable.lost_update) {
            return (false, Answer::Updated(Err(lost())));
        }
        if self.rng.chance(unreliable.raced) {
            return (false, Answer::Updated(Err(SwarmError::Version { planned: version, found: None })));
        }
        match kit.update(service, version, changed) {
            Ok(()) if self.rng.chance(unreliable.lost_answer) => (true, Answer::Updated(Err(lost()))),
            Ok(()) => (true, Answer::Updated(Ok(()))),
            Err(Refusal::Gone) => (false, Answer::Updated(Err(SwarmError::Gone))),
            Err(Refusal::OutOfSequence) => {
                (false, Answer::Updated(Err(SwarmError::Version { planned: version, found: None })))
            }
        }
    }

    fn write_down(&mut self, id: &str, service: &ServiceId, kind: ActionKind, ended: &Ended, now: Timestamp) {
        let Some(by) = ended.state.ended_by() else { return self.journal.retain(|(known, _)| known != id) };
        let end = Some((by, now));
        match self.journal.iter_mut().find(|(known, _)| known == id) {
            // Its mark had come back with somebody's change: what came of it stays, and counts from its last end on.
            Some((_, Past { ended: Some((EndedBy::Us, at)), .. })) if by != EndedBy::Nobody => *at = now,
            Some((_, Past { ended: Some((EndedBy::Us, _)), .. })) => {}
            Some((_, past)) => past.ended = end,
            None => {
                let past = Past { service: service.clone(), kind, begun: now, ended: end };
                self.journal.push((id.to_owned(), past));
            }
        }
    }

    fn ended(&mut self, service: &ServiceId, kind: ActionKind, ended: &Ended, now: Timestamp) {
        let is_unfinished = ended.state == State::Unfinished;
        let under_way = self.memory.under_way(service);
        match ended.state.ended_by() {
            Some(by) => self.memory.ended(service, kind, by, now),
            None => self.memory.refused(service, now),
        }
        if ended.state == State::Unfinished {
            self.later.insert(service.clone(), now + TAKE_OVER_PAUSE);
        } else {
            self.later.remove(service);
        }
        self.trusted_from = now;
        self.read_at = None;
        // Until the next look the old view of the service counts for nothing.
        let known = self.facts.swarm_mut().and_then(|swarm| swarm.services.get_mut(service));
        if let Some(known) = known {
            known.action_marked = true;
            known.action = known.action.take().or(under_way).filter(|_| is_unfinished);
        }
        self.did.push(Did::Ended(service.clone(), kind, ended.state.clone()));
    }
}
