//! How much is done at all: limits, halts, quiet hours and pauses.

use std::time::Duration;

use crate::world::{
    BUSY, CALM, Load, NOW, SICK, World, at, before, container, labels, node_id, report, service_id, task,
};
use swarmguard_planner::checks::{Violation, vet};
use swarmguard_planner::claims::Claims;
use swarmguard_planner::facts::{Mode, Service, UnderWay};
use swarmguard_planner::memory::EndedBy;
use swarmguard_planner::placement::Ineligible;
use swarmguard_planner::plan::{Action, ActionKind, Observed};
use swarmguard_planner::quiet::{Pause, Quiet, QuietHours};
use swarmguard_planner::{Outcome, Withheld};
use swarmguard_wire::time::ClockOffset;
use swarmguard_wire::{Name, ServiceId};

/// One more service with a task on each of these nodes, in containers numbered from `first`.
fn add(world: &mut World, name: &str, nodes: &[&str], first: u8) -> ServiceId {
    let id: ServiceId = name.parse().unwrap();
    let tasks =
        nodes.iter().zip(first..).map(|(node, number)| (format!("t{number}").parse().unwrap(), task(node, number)));
    let service = Service { name: Name::new(name), tasks: tasks.collect(), ..world.service().clone() };
    world.swarm().services.insert(id.clone(), service);
    id
}

fn two_sick_services() -> World {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    add(&mut world, "zoo", &["a", "b"], 11);
    world.seen(11, &[SICK, SICK])
}

fn withheld_by(world: &World, service: &str) -> Withheld {
    let decision = world.plan().into_iter().find(|decision| decision.service.as_str() == service).unwrap();
    match decision.outcome {
        Outcome::Withhold { withheld } => withheld,
        other @ (Outcome::Act { .. } | Outcome::Observe { .. }) => panic!("{other:?}"),
    }
}

fn acts(world: &World) -> usize {
    world.plan().iter().filter(|decision| matches!(decision.outcome, Outcome::Act { .. })).count()
}

#[test]
fn no_more_actions_are_under_way_than_may_be_also_within_one_plan() {
    let mut world = two_sick_services();
    assert_eq!(acts(&world), 2);
    world.policy.limits.actions_in_flight = 1;
    assert_eq!(acts(&world), 1);
    assert_eq!(
        withheld_by(&world, "zoo"),
        Withheld::TooManyInFlight { max: 1, of: 1 },
        "of equals the first by name acts"
    );
    world.memory.started(&"other".parse().unwrap(), ActionKind::ScaleUp, vec![], at(NOW));
    assert_eq!(acts(&world), 0);
}

#[test]
fn no_more_actions_leave_a_node_or_go_to_it_than_may() {
    let mut world = two_sick_services();
    world.policy.limits.actions_per_node = 1;
    assert_eq!(acts(&world), 1);
    assert_eq!(withheld_by(&world, "zoo"), Withheld::NodeInFlight { node: Name::new("a"), max: 1 });

    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.policy.limits.actions_per_node = 1;
    world.memory.started(&"other".parse().unwrap(), ActionKind::Migrate, vec![node_id("c")], at(NOW));
    let Withheld::NoFreeNode { .. } = world.withheld() else { panic!("{:?}", world.withheld()) };
    world.service().tasks.remove(&"t2".parse().unwrap());
    world.service().mode = Mode::Replicated { replicas: 1 };
    world.node("b").active = false;
    let Withheld::NoTarget { nodes, .. } = world.withheld() else { panic!("{:?}", world.withheld()) };
    assert!(nodes.iter().any(|rejected| rejected.why == Ineligible::InFlight { max: 1 }), "{nodes:?}");
}

#[test]
fn two_services_that_move_at_once_go_to_different_nodes() {
    let mut world = two_sick_services();
    world.spare("d", 22.0);
    let targets: Vec<_> = world
        .plan()
        .into_iter()
        .filter_map(|decision| match decision.outcome {
            Outcome::Act { action: Action::Migrate(migrate) } => Some(migrate.target),
            Outcome::Act { .. } | Outcome::Observe { .. } | Outcome::Withhold { .. } => None,
        })
        .collect();
    assert_eq!(targets, [node_id("c"), node_id("d")], "c is the less used one, and has got the first");
}

#[test]
fn the_most_urgent_service_comes_first() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    add(&mut world, "zoo", &["a", "b"], 11);
    let world = world.seen(11, &[BUSY, BUSY]);
    let order: Vec<_> = world.plan().into_iter().map(|decision| decision.service.to_string()).collect();
    assert_eq!(order, ["zoo", "web"], "too much to do comes before sick");
    let order = |web: Load, zoo: Load| {
        let mut world = World::new().seen(1, &[web, web]);
        add(&mut world, "zoo", &["a", "b"], 11);
        let plan = world.seen(11, &[zoo, zoo]).plan();
        plan.into_iter().map(|decision| decision.service.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(order((95.0, 10.0, 5.0), (99.0, 10.0, 5.0)), ["zoo", "web"], "of two sick the one with more to do");
    assert_eq!(order((95.0, 10.0, 5.0), (90.0, 98.0, 5.0)), ["zoo", "web"], "be it memory");
    assert_eq!(order((400.0, 10.0, 5.0), BUSY), ["zoo", "web"], "however much a sick one has to do");
    assert_eq!(order(SICK, SICK), ["web", "zoo"], "of equals the first by name");
}

#[test]
fn no_more_actions_begin_within_an_hour_than_may() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.policy.limits.actions_per_hour = 2;
    let other: ServiceId = "other".parse().unwrap();
    for age in [3_599, 10] {
        world.memory.started(&other, ActionKind::Migrate, vec![], before(Duration::from_secs(age.min(NOW))));
        world.memory.ended(&other, ActionKind::Migrate, EndedBy::Us, at(NOW));
    }
    let Withheld::TooManyPerHour { max: 2, of: 2, seconds_left } = world.withheld() else {
        panic!("{:?}", world.withheld())
    };
    assert_eq!(seconds_left, 3_600 - NOW, "the first began at the epoch");
    world.policy.limits.actions_per_hour = 3;
    assert_eq!(acts(&world), 1);
    let mut both = two_sick_services();
    both.policy.limits.actions_per_hour = 1;
    assert_eq!(acts(&both), 1);
    assert!(matches!(withheld_by(&both, "zoo"), Withheld::TooManyPerHour { max: 1, .. }), "the first by name acts");
}

#[test]
fn what_is_under_way_is_counted_with_what_a_collector_before_left() {
    let mut world = two_sick_services();
    let count = |world: &World| Claims::of(&world.memory, world.facts.swarm().unwrap(), at(NOW)).in_flight();
    assert_eq!(count(&world), 0);
    world.memory.started(&service_id(), ActionKind::ScaleUp, vec![], at(NOW));
    assert_eq!(count(&world), 1);
    let zoo = world.swarm().services.get_mut(&"zoo".parse().unwrap()).unwrap();
    zoo.action = Some(UnderWay { kind: ActionKind::Migrate, nodes: vec![node_id("a")] });
    assert_eq!(count(&world), 2);
    world.service().action = Some(UnderWay { kind: ActionKind::ScaleUp, nodes: vec![] });
    assert_eq!(count(&world), 2, "one's own mark is not counted again");
}

#[test]
fn a_service_that_is_sick_wherever_it_goes_is_left_alone() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    for age in [900, 600, 300] {
        assert_eq!(acts(&world), 1);
        world.memory.ended(&service_id(), ActionKind::Migrate, EndedBy::Us, before(Duration::from_secs(age)));
    }
    let Withheld::MovedTooOften { moves: 3, seconds_left: 2_700 } = world.withheld() else {
        panic!("{:?}", world.withheld())
    };
}

#[test]
fn what_somebody_cut_short_or_swarm_refused_does_not_count() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    (world.policy.limits.moves_per_hour, world.policy.limits.actions_per_hour) = (1, 1);
    world.memory.ended(&service_id(), ActionKind::Migrate, EndedBy::Somebody, before(Duration::from_secs(60)));
    world.memory.ended(&service_id(), ActionKind::Migrate, EndedBy::Nobody, before(Duration::from_secs(55)));
    world.memory.started(&service_id(), ActionKind::Migrate, vec![], before(Duration::from_secs(50)));
    world.memory.refused(&service_id(), before(Duration::from_secs(50)));
    assert_eq!(acts(&world), 1);
    world.memory.started(&service_id(), ActionKind::Migrate, vec![], before(Duration::from_secs(40)));
    world.memory.ended(&service_id(), ActionKind::Migrate, EndedBy::Us, before(Duration::from_secs(40)));
    assert!(matches!(world.withheld(), Withheld::TooManyPerHour { max: 1, .. }), "{:?}", world.withheld());
}

#[test]
fn what_a_collector_before_left_counts_as_under_way() {
    let mut world = two_sick_services();
    world.policy.limits.actions_in_flight = 1;
    let Outcome::Act { action } = world.plan().remove(0).outcome else { panic!("nothing is done") };
    let zoo = world.swarm().services.get_mut(&"zoo".parse().unwrap()).unwrap();
    zoo.action_marked = true;
    zoo.action = Some(UnderWay { kind: ActionKind::Migrate, nodes: vec![node_id("a")] });
    assert_eq!(acts(&world), 0);
    assert_eq!(withheld_by(&world, "web"), Withheld::TooManyInFlight { max: 1, of: 1 });
    let vetted = vet(&action, &world.facts, &world.policy, &world.memory, at(NOW));
    assert_eq!(vetted, Err(Violation::TooMany { in_flight: 1, within_hour: 0 }));
    world.policy.limits.actions_in_flight = 2;
    world.policy.limits.actions_per_node = 1;
    assert_eq!(withheld_by(&world, "web"), Withheld::NodeInFlight { node: Name::new("a"), max: 1 });
    let zoo = world.swarm().services.get_mut(&"zoo".parse().unwrap()).unwrap();
    zoo.action = None;
    world.policy.limits.actions_in_flight = 1;
    assert_eq!(acts(&world), 1, "a mark that cannot be read stands in nobody else's way");
}

#[test]
fn a_service_that_was_moved_is_not_moved_back_within_its_cooldown() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.memory.ended(&service_id(), ActionKind::Migrate, EndedBy::Us, before(Duration::from_secs(29)));
    assert!(matches!(world.withheld(), Withheld::Cooldown { kind: ActionKind::Migrate, .. }));
}

#[test]
fn a_row_that_began_before_the_last_action_ended_begins_anew() {
    let mut world = World::new().seen(1, &[BUSY, BUSY, BUSY, BUSY]);
    world.policy.scaling.scale_up_cooldown = Duration::from_secs(1);
    world.memory.ended(&service_id(), ActionKind::ScaleUp, EndedBy::Us, before(Duration::from_secs(1)));
    assert_eq!(world.withheld(), Withheld::Streak { seen: 1, needed: 2 }, "three of the four ticks were before");
    world.memory = swarmguard_planner::Memory::default();
    world.memory.ended(&service_id(), ActionKind::ScaleUp, EndedBy::Us, before(Duration::from_secs(2)));
    let Outcome::Act { action } = world.outcome() else { panic!("{:?}", world.outcome()) };
    assert_eq!(action.trigger().breach_at, at(NOW - 1), "and so is T0");
}

fn three_sick_nodes() -> World {
    let mut world = World::new().seen(1, &[SICK, SICK]).seen(2, &[SICK, SICK]);
    add(&mut world, "zoo", &["c"], 11);
    let zoo = world.swarm().services.get_mut(&"zoo".parse().unwrap()).unwrap();
    (zoo.labels, zoo.mode) = (labels(&[]), Mode::Replicated { replicas: 1 });
    world.seen(11, &[SICK, SICK])
}

#[test]
fn when_most_nodes_look_sick_nothing_is_moved() {
    let two = World::new().seen(1, &[SICK, SICK]).seen(2, &[SICK, SICK]);
    assert_eq!(acts(&two), 1, "two of three may well be");
    let world = three_sick_nodes();
    assert_eq!(withheld_by(&world, "web"), Withheld::TooManySick { sick: 3, nodes: 3 });
    for change in [
        (|world: &mut World| world.swarm().services.get_mut(&"zoo".parse().unwrap()).unwrap().mode = Mode::Global)
            as fn(&mut World),
        |world| world.swarm().services.get_mut(&"zoo".parse().unwrap()).unwrap().local_mount = Some("data".into()),
        |world| {
            let off = labels(&[("swarmguard.mode", "off")]);
            world.swarm().services.get_mut(&"zoo".parse().unwrap()).unwrap().labels = off;
        },
        |world| world.policy.migration.cpu_threshold = 96.0,
    ] {
        let mut world = three_sick_nodes();
        world.service().labels = labels(&[("swarmguard.enable", "true"), ("swarmguard.scenario1.cpu_threshold", "75")]);
        change(&mut world);
        assert_eq!(withheld_by_or_none(&world, "web"), None);
    }
    let mut once = World::new().seen(1, &[SICK, SICK]).seen(2, &[SICK, SICK]);
    add(&mut once, "zoo", &["c"], 11);
    assert_eq!(withheld_by_or_none(&once.seen(11, &[SICK]), "web"), None, "one tick is not enough to be sick");
    let mut watered_down = three_sick_nodes();
    for name in ["d", "e", "f", "g", "h", "i"] {
        watered_down.spare(name, 20.0);
    }
    assert_eq!(
        withheld_by(&watered_down, "web"),
        Withheld::TooManySick { sick: 3, nodes: 3 },
        "the others run nothing"
    );
    add(&mut watered_down, "out", &["d", "e", "f", "g", "h", "i"], 21);
    let spoil: [fn(&mut Service); 3] = [
        |out| out.labels = labels(&[("swarmguard.mode", "off")]),
        |out| out.mode = Mode::Global,
        |out| out.local_mount = Some("data".into()),
    ];
    for spoil in spoil {
        let mut world = World { facts: watered_down.facts.clone(), ..World::new() };
        spoil(world.swarm().services.get_mut(&"out".parse().unwrap()).unwrap());
        let expected = Withheld::TooManySick { sick: 3, nodes: 3 };
        assert_eq!(withheld_by(&world, "web"), expected, "what the others run could not be moved");
    }
    assert_eq!(withheld_by_or_none(&watered_down, "web"), None, "what the others run could be, and is not sick");
    let mut heard_of_others = three_sick_nodes();
    heard_of_others.facts.reports.remove(&node_id("a"));
    heard_of_others.facts.reports.insert(node_id("0"), report(20.0));
    let expected = Withheld::TooManySick { sick: 3, nodes: 2 };
    assert_eq!(
        withheld_by(&heard_of_others, "web"),
        expected,
        "one is not heard of, and another is no node of the Swarm"
    );
    let mut patient = world;
    patient.policy.limits.sick_nodes_percent = 100.0;
    assert_ne!(withheld_by_or_none(&patient, "web"), Some(Withheld::TooManySick { sick: 3, nodes: 3 }));
}

fn withheld_by_or_none(world: &World, service: &str) -> Option<Withheld> {
    let decision = world.plan().into_iter().find(|decision| decision.service.as_str() == service)?;
    match decision.outcome {
        Outcome::Withhold { withheld } => Some(withheld),
        Outcome::Act { .. } | Outcome::Observe { .. } => None,
    }
}

#[test]
fn the_cpu_of_a_container_that_has_just_started_is_not_looked_at() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    let since = |world: &mut World, second| {
        world.service().tasks.get_mut(&"t1".parse().unwrap()).unwrap().running_since = Some(at(second));
    };
    since(&mut world, NOW - 10);
    assert_eq!(world.withheld(), Withheld::Streak { seen: 1, needed: 2 }, "the first of the two ticks was too early");
    since(&mut world, NOW - 5);
    assert_eq!(world.plan(), []);
    since(&mut world, NOW - 11);
    assert_eq!(acts(&world), 1);
    since(&mut world, NOW + 1);
    assert_eq!(world.plan(), [], "it began just after the last look at the Swarm");
    since(&mut world, NOW + 60);
    assert_eq!(acts(&world), 1, "a manager's clock that is far ahead is not believed");
    let mut memory = World::new().seen(1, &[(10.0, 95.0, 5.0), (10.0, 95.0, 5.0)]);
    since(&mut memory, NOW - 1);
    assert_eq!(acts(&memory), 1, "memory is not released by waiting");
}

fn quiet(world: &World) -> Quiet {
    match world.outcome() {
        Outcome::Observe { because: Observed::Quiet { quiet }, .. } => quiet,
        other @ (Outcome::Act { .. } | Outcome::Observe { .. } | Outcome::Withhold { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn in_quiet_hours_what_would_be_done_is_shown() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    // Now is 00:16:40 on a Thursday.
    world.policy.quiet_hours = vec![QuietHours::parse("00:00-00:17").unwrap()];
    assert_eq!(quiet(&world), Quiet::Hours { until: at(1_020), seconds_left: 20 });
    world.policy.quiet_hours = vec![QuietHours::parse("fri 00:00-00:17").unwrap()];
    assert_eq!(acts(&world), 1);
    world.facts.wall_ahead = ClockOffset(24 * 3_600 * 1_000_000);
    assert_eq!(quiet(&world), Quiet::Hours { until: at(1_020 + 24 * 3_600), seconds_left: 20 }, "the wall clock's day");
}

#[test]
fn what_is_paused_is_shown_and_checked_again_before_it_is_done() {
    let mut world = World::new().seen(1, &[SICK, SICK]).seen(2, &[CALM]);
    let Outcome::Act { action } = world.outcome() else { panic!("nothing is done") };
    let pause = Pause { until: Some(at(NOW + 60)), reason: Some("release".into()) };
    world.facts.pauses.services.insert("web".into(), pause.clone());
    let paused = |all| Quiet::Paused { all, seconds_left: Some(60), why: Some("release".into()) };
    assert_eq!(quiet(&world), paused(false));
    assert_eq!(vet(&action, &world.facts, &world.policy, &world.memory, at(NOW)), Err(Violation::Quiet));
    world.facts.pauses.services.clear();
    world.facts.pauses.services.insert("db".into(), pause.clone());
    assert_eq!(acts(&world), 1);
    world.facts.pauses.all = Some(pause);
    assert_eq!(quiet(&world), paused(true));
    assert_eq!(world.facts.containers().len(), 2, "{:?}", container(1));
}
