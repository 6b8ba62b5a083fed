//! One world from its beginning to its end: nodes with agents, services that suffer, a collector, and a clock that jumps
//! from one thing that happens to the next.

mod agents;
mod going_wrong;
mod helped;
mod made;
mod managers;
mod suffering;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use swarmguard_collector::journal::State;
use swarmguard_planner::Policy;
use swarmguard_planner::labels::ACTION_LABEL;
use swarmguard_planner::quiet::Pauses;
use swarmguard_wire::time::ClockOffset;
use swarmguard_wire::{NodeId, ServiceId, TaskId, Timestamp};

use crate::collector::{Collector, Did};
use crate::judge::{Judge, Violation};
use crate::rng::Rng;
use crate::script::{Event, Script};
use crate::swarmkit::{Happened, SwarmKit};
use agents::{Agent, Message};
use managers::Managers;
use suffering::Suffering;

/// The world begins then; before it there is a whole past, so that no subtraction meets the epoch.
const BEGINNING: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);

/// Everything settles within so long before anything goes wrong.
const SETTLING: Duration = Duration::from_secs(20);

/// Nothing that goes wrong lasts longer but what is silent on a calm day.
const DISTURBS_FOR: Duration = Duration::from_secs(300);

/// So long nothing goes wrong any more: what is under way has to end by then, and who is sick to be helped.
const AFTERMATH: Duration = Duration::from_secs(700);

/// What came of a world.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Promises broken, in order.
    pub violations: Vec<Violation>,
    /// Of everything that happened; equal for equal runs.
    pub trace: u64,
    /// The same in words, where asked for.
    pub lines: Vec<String>,
    /// Simulated time.
    pub simulated: Duration,
    /// Actions begun, ended as planned, and ended otherwise.
    pub actions: [u64; 3],
}

struct World {
    script: Script,
    now: Timestamp,
    rng: Rng,
    policy: Policy,
    tick: Duration,
    kit: SwarmKit,
    agents: BTreeMap<NodeId, Agent>,
    suffering: Suffering,
    managers: Managers,
    collectors: u64,
    /// Whether collectors check what is planned.
    is_checked: bool,
    /// Things that come to an end, or begin, by themselves.
    later: BTreeMap<(Timestamp, u64), Later>,
    /// What is to go wrong in the midst of an action, and by when at the latest.
    aimed: BTreeMap<(Timestamp, u64), Event>,
    sequence: u64,
    /// Each with the number of the collector that it is for.
    messages: BTreeMap<(Timestamp, u64), (usize, Rc<Message>)>,
    bad_network_until: Timestamp,
    bad_manager_until: Timestamp,
    /// What people paused, as the Swarm keeps it.
    pauses: Pauses,
    /// How far the wall clock is ahead of the one that never steps.
    wall_ahead: ClockOffset,
    judge: Judge,
    /// Whatever went wrong last is over by then.
    disturbed_until: Timestamp,
    /// Since when services wait to be helped, though nothing stands in the way.
    waiting: BTreeMap<ServiceId, Timestamp>,
    /// With how many replicas, and since when, services could give one back.
    idle: BTreeMap<ServiceId, (u64, Timestamp)>,
    trace: u64,
    lines: Option<Vec<String>>,
}

#[derive(Debug, Clone)]
enum Later {
    CollectorStarts(usize),
    NodeBack(NodeId),
    NodeGoesOn(NodeId),
}

/// FNV-1a: the same on every machine and in every run.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Runs a world; `trace` keeps what happened in words. One that panics has broken a promise.
#[must_use]
pub fn run(script: &Script, trace: bool) -> Outcome {
    // Nothing of it is looked at after a panic.
    catch_unwind(AssertUnwindSafe(|| World::new(script.clone(), trace).run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        let what = format!("it panicked: {text}");
        let violation = Violation { after: Duration::ZERO, service: "all".to_owned(), what };
        Outcome { violations: vec![violation], ..Outcome::default() }
    })
}

/// Runs a world in which no collector checks what its rules have planned: what is wrong with that is seen by what becomes of
/// the Swarm, or not at all.
#[must_use]
pub fn run_unchecked(script: &Script) -> Outcome {
    let mut world = World::new(script.clone(), false);
    world.is_checked = false;
    world.managers.seats.iter_mut().filter_map(|seat| seat.collector.as_mut()).for_each(|it| it.is_checked = false);
    world.run()
}

impl World {
    fn new(script: Script, trace: bool) -> Self {
        let mut rng = Rng::new(script.seed);
        let policy = made::policy(&mut rng, &script);
        let count = made::managers(&script);
        let nodes = made::nodes(&mut rng, count);
        let agent = |id: &NodeId| (id.clone(), Agent::ahead_by(made::clock(&mut rng)));
        let agents = nodes.keys().map(agent).collect();
        let mut kit = SwarmKit::new(nodes, rng.fork(), BEGINNING);
        let mut judge = Judge::new(policy.clone(), BEGINNING);
        for (id, spec, hopeless_percent) in made::services(&mut rng, &script, kit.machines.len() as u64) {
            judge.wrote(&id, Some(spec.clone()), BEGINNING);
            kit.create(id, spec, hopeless_percent);
        }
        let managers = Managers::new(count, |started_at| Collector::new(policy.clone(), rng.fork(), started_at));
        let tick = if script.is_day { Duration::from_secs(rng.between(30, 60)) } else { Duration::from_secs(1) };
        Self {
            now: BEGINNING,
            suffering: Suffering::new(script.is_calm),
            script,
            rng,
            policy,
            tick,
            kit,
            agents,
            managers,
            collectors: count as u64,
            is_checked: true,
            later: BTreeMap::new(),
            aimed: BTreeMap::new(),
            sequence: 0,
            messages: BTreeMap::new(),
            bad_network_until: Timestamp::default(),
            bad_manager_until: Timestamp::default(),
            pauses: Pauses::default(),
            wall_ahead: ClockOffset::default(),
            judge,
            disturbed_until: Timestamp::default(),
            waiting: BTreeMap::new(),
            idle: BTreeMap::new(),
            trace: 0xcbf2_9ce4_8422_2325,
            lines: trace.then(Vec::new),
        }
    }

    fn run(mut self) -> Outcome {
        let events: Vec<Event> = self.script.events.clone();
        let mut next_event = 0;
        let end = BEGINNING + SETTLING + self.script.length + AFTERMATH;
        let (mut next_tick, mut next_look) = (BEGINNING + self.tick, BEGINNING + Duration::from_millis(500));
        loop {
            let event_at = events.get(next_event).map(|event| BEGINNING + SETTLING + event.after);
            let strikes_at = self.aimed.keys().next().map(|(at, _)| *at);
            let own = [
                event_at,
                strikes_at,
                self.later.keys().next().map(|(at, _)| *at),
                self.messages.keys().next().map(|(at, _)| *at),
            ];
            let theirs = [self.managers.next_due(), self.kit.next_due()];
            let due = own.into_iter().chain(theirs).flatten().chain([next_tick, next_look]).min().unwrap_or(end);
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            self.kit.advance(self.now);
            self.watch();
            if let Some(event) = events.get(next_event).filter(|_| event_at.is_some_and(|at| at <= self.now)) {
                next_event += 1;
                self.is_to_happen(event);
            }
            self.strike();
            self.come_due();
            self.receive();
            if next_tick <= self.now {
                next_tick = self.now + self.tick;
                self.agents_tick();
            }
            if next_look <= self.now {
                next_look = self.now + self.tick.max(Duration::from_secs(1));
                if self.now > self.bad_manager_until || self.rng.chance(10) {
                    self.look();
                }
                self.kit.forget();
            }
            self.go_on();
        }
        self.finish()
    }

    fn finish(mut self) -> Outcome {
        let marked =
            self.kit.services.values().filter(|service| !service.spec["Labels"][ACTION_LABEL].is_null()).count();
        // One that waits for its owner takes the place of others.
        let has_room = marked < self.policy.limits.actions_in_flight as usize;
        let (sick, busy) =
            if has_room { (self.could_have_been_moved(), self.could_have_grown()) } else { Default::default() };
        self.judge.end(&self.kit, &sick, &busy, self.now);
        if self.script.is_calm {
            self.judge.calm_end(self.now);
        }
        if let Some(lines) = &mut self.lines {
            let collectors = self.managers.seats.iter().filter_map(|seat| seat.collector.as_ref());
            lines.extend(
                collectors.flat_map(|collector| collector.told(self.now)).map(|told| format!("  at the end {told}")),
            );
        }
        Outcome {
            violations: self.judge.violations,
            trace: self.trace,
            lines: self.lines.unwrap_or_default(),
            simulated: self.now.since(BEGINNING),
            actions: self.judge.actions,
        }
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        let after = self.now.since(BEGINNING);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>10.3} {}", after.as_secs_f64(), text()));
        }
    }

    /// Adds to what tells one run from another.
    fn mix(&mut self, what: impl Hash) {
        let mut hasher = Fnv(self.trace);
        (self.now, what).hash(&mut hasher);
        self.trace = hasher.0;
    }

    fn look(&mut self) {
        let now = self.now;
        // A manager that is slow answers with what was so a while after it was asked; when that was is what counts.
        let slowest = if now <= self.bad_manager_until { 2_000 } else { 60 };
        let asked = now - Duration::from_millis(now.as_micros() / 1_000 % slowest);
        let mut looked = false;
        for number in 0..self.managers.seats.len() {
            let Some(leader) = self.managers.told(number, now) else { continue };
            if let Some((_, collector)) = self.managers.awake(now).find(|(found, _)| *found == number) {
                collector.facts.pauses.clone_from(&self.pauses);
                collector.facts.wall_ahead = self.wall_ahead;
                collector.look(&self.kit, leader, asked, now);
                self.judge.looked(number, &self.kit, now);
                looked = true;
            }
        }
        if looked {
            self.judge.counted(&self.kit, now);
        }
        self.judge.overdue(&self.kit, self.disturbed_until, now);
        let can_start = |service: &ServiceId| self.kit.services.get(service).is_some_and(|it| it.hopeless_percent == 0);
        if now <= self.bad_manager_until {
            self.judge.nobody_can_help(now);
        }
        self.judge.still_away(&self.kit, can_start, now);
        self.see_who_waits();
        self.watch();
    }

    fn go_on(&mut self) {
        let now = self.now;
        if self.managers.next_due().is_none_or(|at| at > now) {
            return;
        }
        for number in 0..self.managers.seats.len() {
            let unreliable = self.managers.unreliable(number, now <= self.bad_manager_until, now);
            if let Some((_, collector)) = self.managers.awake(now).find(|(found, _)| *found == number) {
                collector.go_on(&mut self.kit, unreliable, now);
            }
        }
        self.watch();
    }

    /// Has the judge see what was done and what happened.
    fn watch(&mut self) {
        let now = self.now;
        let mut updated = BTreeSet::new();
        for number in 0..self.managers.seats.len() {
            let collector = self.managers.seats.get_mut(number).and_then(|seat| seat.collector.as_mut());
            for did in collector.map(|collector| std::mem::take(&mut collector.did)).unwrap_or_default() {
                if let Did::Changed(service) = &did {
                    updated.insert(service.clone());
                    self.judge.acted_beside(service, self.managers.not_led_for(number, now), now);
                }
                if let Did::Began { action, .. } = &did {
                    let service = &action.trigger().service;
                    updated.insert(service.clone());
                    self.judge.acted_beside(service, self.managers.not_led_for(number, now), now);
                    self.judge.began_at(service, now.shifted(self.wall_ahead), now);
                    self.aim();
                }
                // What one that was cut off makes of it is not how it ended.
                if self.managers.leads(number) || !matches!(did, Did::Ended(..)) {
                    if let Did::Ended(service, _, State::Completed) = &did {
                        // An action can begin and end between two looks.
                        self.waiting.remove(service);
                    }
                    self.judge.did(number, &did, &self.kit, now);
                }
                self.mix(made::told(&did));
                self.tell(|| format!("collector {}: {}", number + 1, made::told(&did)));
            }
        }
        for happened in std::mem::take(&mut self.kit.happened) {
            let is_our_update = matches!(&happened, Happened::Stopped { service, .. } if updated.contains(service));
            self.judge.happened(&happened, is_our_update, &self.kit, now);
            self.judge.come_back(&self.kit);
            self.mix(&happened);
            self.tell(|| format!("{happened:?}"));
        }
    }

    fn come_due(&mut self) {
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                // Killed twice, it is started once.
                Later::CollectorStarts(number)
                    if self.managers.seats.get(number).is_some_and(|seat| seat.collector.is_some()) => {}
                Later::CollectorStarts(number) => {
                    self.tell(|| format!("collector {} starts", number + 1));
                    self.collectors += 1;
                    let mut rng = Rng::new(self.script.seed ^ self.collectors);
                    let is_lost = rng.chance(20);
                    self.judge.restarted(number, is_lost);
                    let mut collector = Collector::new(self.policy.clone(), rng, self.now);
                    collector.is_checked = self.is_checked;
                    if let Some(seat) = self.managers.seats.get_mut(number) {
                        let journal = std::mem::take(&mut seat.journal);
                        collector.restore(if is_lost { Vec::new() } else { journal }, self.now);
                        seat.collector = Some(collector);
                    }
                }
                Later::NodeGoesOn(node) => {
                    self.tell(|| format!("node {node} goes on"));
                    self.kit.set_hanging(&node, false);
                    self.fault_everywhere();
                }
                Later::NodeBack(node) => {
                    self.tell(|| format!("node {node} is back"));
                    self.kit.set_machine(&node, true, true);
                    if let Some(seat) = made::seat_of(&node).and_then(|number| self.managers.seats.get_mut(number)) {
                        seat.is_connected = true;
                    }
                    self.fault_everywhere();
                }
            }
        }
    }

    fn running(&self) -> Vec<TaskId> {
        self.kit.tasks.iter().filter(|(_, task)| task.is_running()).map(|(id, _)| id.clone()).collect()
    }
}
