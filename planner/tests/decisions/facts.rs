//! What is taken as known, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::{CALM, NOW, SICK, World, at, before, container, node_id, report, sample, task};
use swarmguard_planner::facts::{CONTAINERS_MAX, MEMORY, NODES_MAX, NodeReport, Service, Task, TaskState};
use swarmguard_planner::quiet::Pause;
use swarmguard_planner::{Facts, Outcome, Withheld};
use swarmguard_wire::{ContainerId, Name};

/// A time that is just over.
const MOMENT: Duration = Duration::from_micros(1);

#[test]
fn what_a_person_sent_counts_as_well_as_what_an_agent_said() {
    let acts = |world: &World| matches!(world.plan().as_slice(), [one] if matches!(one.outcome, Outcome::Act { .. }));
    assert!(acts(&World::new().told(1, &[SICK, SICK])));
    assert!(acts(&World::new().seen(1, &[CALM, CALM]).told(1, &[SICK, SICK])));
    assert!(acts(&World::new().seen(1, &[SICK, SICK]).told(1, &[CALM, CALM])));
    let at_work = World::new().seen(1, &[(60.0, 60.0, 50.0)]).seen(2, &[(60.0, 60.0, 50.0)]);
    assert!(acts(&at_work.told(1, &[SICK, SICK])), "also where the agents saw a service that is neither high nor idle");
    assert!(!acts(&World::new().told(1, &[SICK]).seen(1, &[SICK])), "the rows are kept apart");
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
    assert_eq!(facts.containers.len(), CONTAINERS_MAX);
    assert!(!facts.containers.contains_key(&id(CONTAINERS_MAX)));
    facts.record_sample(id(7), sample(2, NOW + 1, CALM));
    assert_eq!(facts.containers[&id(7)].len(), 2);
}

#[test]
fn what_was_not_heard_of_for_long_is_forgotten_and_not_a_moment_before() {
    let mut facts = Facts::default();
    facts.record_sample(container(1), sample(1, NOW, CALM));
    facts.record_by_hand(container(2), sample(1, NOW, CALM));
    facts.record_report(node_id("a"), report(20.0));
    facts.pauses.all = Some(Pause { until: Some(at(NOW) + MEMORY + MOMENT), reason: None });
    let known =
        |facts: &Facts| (facts.containers.len(), facts.by_hand.len(), facts.reports.len(), facts.pauses.all.is_some());
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
