//! What is taken as known, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::{BUSY, CALM, Load, NOW, SICK, World, at, before, container, node_id, report, sample, task};
use swarmguard_planner::facts::{
    CONTAINERS_MAX, MEMORY, Mode, NODES_MAX, NodeReport, Scaled, Service, Task, TaskState,
};
use swarmguard_planner::plan::ActionKind;
use swarmguard_planner::quiet::Pause;
use swarmguard_planner::{Decision, Facts, Outcome, Withheld, plan};
use swarmguard_wire::{ContainerId, Name};

/// Neither high nor idle.
const AT_WORK: Load = (60.0, 60.0, 50.0);

/// A time that is just over.
const MOMENT: Duration = Duration::from_micros(1);

#[test]
fn what_a_person_sent_counts_as_well_as_what_an_agent_said() {
    let acts = |world: &World| matches!(world.plan().as_slice(), [one] if matches!(one.outcome, Outcome::Act { .. }));
    assert!(acts(&World::new().told(1, &[SICK, SICK])));
    assert!(acts(&World::new().seen(1, &[CALM, CALM]).told(1, &[SICK, SICK])));
    assert!(acts(&World::new().seen(1, &[SICK, SICK]).told(1, &[CALM, CALM])));
    let at_work = World::new().seen(1, &[AT_WORK]).seen(2, &[AT_WORK]);
    assert!(acts(&at_work.told(1, &[SICK, SICK])), "also where the agents saw a service that is neither high nor idle");
    assert!(!acts(&World::new().told(1, &[SICK]).seen(1, &[SICK])), "the rows are kept apart");
}

/// Numbers that look random and are the same in each run (xorshift64, G. Marsaglia, 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        for shift in [13, -7, 17] {
            self.0 ^= if shift > 0 { self.0 << shift } else { self.0 >> -shift };
        }
        self.0 % sides
    }
}

/// A service with a replica to give back, a second one, and a container that a task of each is said to have.
fn shared() -> World {
    let mut world = World::new();
    let mut other = world.service().clone();
    (other.name, other.tasks) = (Name::new("api"), BTreeMap::from([("t3".parse().unwrap(), task("c", 1))]));
    other.mode = Mode::Replicated { replicas: 1 };
    world.service().scaled = Some(Scaled { from: 1, to: 2, by: "before".to_owned() });
    world.swarm().services.insert("api".parse().unwrap(), other);
    world
}

fn rests_on_idleness(decision: &Decision) -> bool {
    match &decision.outcome {
        Outcome::Act { action } | Outcome::Observe { action, .. } => action.kind() == ActionKind::ScaleDown,
        Outcome::Withhold { withheld } => matches!(withheld, Withheld::Idle { .. } | Withheld::BusyLately { .. }),
    }
}

#[test]
fn a_plan_is_the_same_whenever_it_was_worked_out_where_everything_is() {
    let World { mut facts, policy, memory } = shared();
    let (mut dice, mut now, mut found, mut idle) = (Dice(2_463_534_242), NOW, [0; 3], 0);
    for step in 0..3_000 {
        now += if dice.below(40) == 0 { 301 } else { dice.below(3) };
        // Mostly the same for a while: what is done rests on more than one tick.
        let load = if dice.below(8) == 0 { dice.below(4) } else { step / 50 % 4 };
        let sample = sample(step, now, [CALM, AT_WORK, SICK, BUSY][load as usize]);
        let id = container(1 + dice.below(3) as u8);
        match dice.below(20) {
            0 => facts.forget(at(now)),
            1 => assert!(facts.swarm_mut().is_some()),
            2 => facts.record_swarm(facts.swarm().unwrap().clone()),
            3..8 => facts.record_by_hand(id, sample),
            _ => facts.record_sample(id, sample),
        }
        facts.record_unchanged(at(now));
        for report in facts.reports.values_mut() {
            report.received_at = at(now);
        }
        let mut anew = facts.clone();
        assert!(anew.swarm_mut().is_some());
        let decisions = plan(&facts, &policy, &memory, at(now));
        assert_eq!(decisions, plan(&anew, &policy, &memory, at(now)), "after {step} steps");
        found[decisions.len()] += 1;
        idle += usize::from(decisions.iter().any(rests_on_idleness));
    }
    assert!(idle > 100, "{idle}");
    assert!(found.iter().all(|times| *times > 100), "services in a plan, and how often so many: {found:?}");
}

#[test]
fn no_more_nodes_are_known_than_may_be_and_those_go_on_being_told_of() {
    let mut facts = Facts::default();
    for number in 0..NODES_MAX {
        facts.record_report(node_id(&format!("n{number}")), report(20.0));
    }
    facts.record_report(node_id("late"), report(20.0));
    assert_eq!(facts.reports.len(), NODES_MAX);
    assert!(!facts.reports.contains_key(&node_id("late")));
    facts.record_report(node_id("n7"), NodeReport { name: Name::new("again"), ..report(20.0) });
    assert_eq!(facts.reports[&node_id("n7")].name, Name::new("again"));
}

#[test]
fn no_more_containers_are_known_than_may_be_and_those_go_on_being_told_of() {
    let id = |number: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        ContainerId::new(bytes)
    };
    let mut facts = Facts::default();
    for number in 0..CONTAINERS_MAX {
        facts.record_sample(id(number), sample(1, NOW, CALM));
    }
    facts.record_sample(id(CONTAINERS_MAX), sample(1, NOW, CALM));
    assert_eq!(facts.containers().len(), CONTAINERS_MAX);
    assert!(!facts.containers().contains_key(&id(CONTAINERS_MAX)));
    facts.record_sample(id(7), sample(2, NOW + 1, CALM));
    assert_eq!(facts.containers()[&id(7)].len(), 2);
}

#[test]
fn what_was_not_heard_of_for_long_is_forgotten_and_not_a_moment_before() {
    let mut facts = Facts::default();
    facts.record_sample(container(1), sample(1, NOW, CALM));
    facts.record_by_hand(container(2), sample(1, NOW, CALM));
    facts.record_report(node_id("a"), report(20.0));
    facts.pauses.all = Some(Pause { until: Some(at(NOW) + MEMORY + MOMENT), reason: None });
    let known = |facts: &Facts| {
        (facts.containers().len(), facts.by_hand().len(), facts.reports.len(), facts.pauses.all.is_some())
    };
    facts.forget(at(NOW) + MEMORY);
    assert_eq!(known(&facts), (1, 1, 1, true));
    facts.forget(at(NOW) + MEMORY + MOMENT);
    assert_eq!(known(&facts), (0, 0, 0, false));
}

#[test]
fn a_task_is_what_its_state_and_swarms_wish_make_it() {
    let check = |state, desired_running, desired_gone, expected: (bool, bool, bool)| {
        let task = Task { state, desired_running, desired_gone, ..task("a", 1) };
        let found = (task.is_alive(), task.is_unready(), task.is_running());
        assert_eq!(found, expected, "alive, unready, running: {state:?} {desired_running} {desired_gone}");
    };
    check(TaskState::Starting, true, false, (true, true, false));
    check(TaskState::Starting, false, false, (true, true, false));
    check(TaskState::Starting, false, true, (true, false, false));
    check(TaskState::Running, true, false, (true, false, true));
    check(TaskState::Running, false, true, (true, false, false));
    check(TaskState::Ended, true, false, (false, false, false));
    check(TaskState::Ended, false, true, (false, false, false));
}

#[test]
fn only_what_runs_is_looked_at() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.task("t1").state = TaskState::Starting;
    assert_eq!(world.plan(), []);
    world.task("t1").state = TaskState::Ended;
    assert_eq!(world.plan(), []);
}

#[test]
fn a_sample_is_looked_at_as_long_as_it_is_within_the_window() {
    let mut world = World::new();
    for second in [NOW - 16, NOW - 15] {
        world.sample(1, second, second, SICK);
    }
    assert!(matches!(world.outcome(), Outcome::Act { .. }), "{:?}", world.outcome());
    world.policy.metric_window = Duration::from_secs(15) - MOMENT;
    assert_eq!(world.plan(), []);
}

#[test]
fn the_swarms_state_is_stale_after_the_window_and_not_a_moment_before() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.policy.leader_window = Duration::from_secs(60);
    world.swarm().seen_at = before(world.policy.metric_window);
    assert!(matches!(world.outcome(), Outcome::Act { .. }), "{:?}", world.outcome());
    world.swarm().seen_at = before(world.policy.metric_window + MOMENT);
    assert_eq!(world.withheld(), Withheld::SwarmStale { seconds: 15 });
    world.facts.record_unchanged(before(world.policy.metric_window));
    assert!(matches!(world.outcome(), Outcome::Act { .. }), "{:?}", world.outcome());
}

#[test]
fn what_is_said_after_the_swarm_was_read_counts() {
    let mut world = World::new();
    assert_eq!(world.plan(), []);
    for (tick, second) in [(1, NOW - 1), (2, NOW)] {
        world.sample(1, tick, second, SICK);
    }
    assert!(matches!(world.outcome(), Outcome::Act { .. }));
    let mut world = World::new();
    assert_eq!(world.plan(), []);
    for (tick, second) in [(1, NOW - 1), (2, NOW)] {
        world.facts.record_by_hand(container(1), sample(tick, second, SICK));
    }
    assert!(matches!(world.outcome(), Outcome::Act { .. }));
}

#[test]
fn one_sick_service_among_many_is_helped_as_it_would_be_alone() {
    let alone = World::new().seen(1, &[SICK, SICK]).told(2, &[CALM]);
    let mut among_many = World::new().seen(1, &[SICK, SICK]).told(2, &[CALM]);
    for number in 0..20 {
        let other = Service { tasks: BTreeMap::new(), ..among_many.service().clone() };
        among_many.swarm().services.insert(format!("other{number}").parse().unwrap(), other);
    }
    assert_eq!(among_many.plan(), alone.plan());
    assert!(matches!(among_many.outcome(), Outcome::Act { .. }));
}
