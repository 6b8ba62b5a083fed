//! What is decided: each rule, and each reason for doing nothing.

use std::time::Duration;

use crate::world::{BUSY, CALM, Load, NOW, SICK, World, at, before, labels, node_id, report, service_id, task};
use swarmguard_planner::facts::{Leader, Mode, Platform, Resources, TaskState, UpdateState};
use swarmguard_planner::memory::EndedBy;
use swarmguard_planner::placement::{Constraint, Ineligible};
use swarmguard_planner::plan::{Action, ActionKind, Migrate, Observed};
use swarmguard_planner::{Memory, Outcome, Withheld};
use swarmguard_wire::{Name, NodeId};

fn migration(world: &World) -> Migrate {
    match world.outcome() {
        Outcome::Act { action: Action::Migrate(migrate) } => migrate,
        other @ (Outcome::Act { .. } | Outcome::Observe { .. } | Outcome::Withhold { .. }) => panic!("{other:?}"),
    }
}

fn ids(names: &[&str]) -> Vec<NodeId> {
    names.iter().map(|name| node_id(name)).collect()
}

#[test]
fn a_calm_service_has_no_decision() {
    assert_eq!(World::new().plan(), []);
    assert_eq!(World::new().seen(1, &[CALM, CALM]).plan(), []);
    assert_eq!(World::new().seen(1, &[SICK, SICK, CALM]).plan(), [], "it was sick and is not any more");
}

#[test]
fn a_sick_container_leaves_its_node_for_the_one_without_a_task() {
    let migrate = migration(&World::new().seen(1, &[SICK, SICK]));
    assert_eq!(migrate.source, node_id("a"));
    assert_eq!(migrate.target, node_id("c"));
    assert_eq!(migrate.exclude, ids(&["a"]));
    assert_eq!(migrate.tasks, ["t1".parse().unwrap()]);
    assert_eq!(migrate.trigger.version, 7);
    assert_eq!(migrate.trigger.breach_at, at(NOW - 1), "T0 is the first breach of the row");
}

#[test]
fn the_least_used_of_several_free_nodes_is_steered_to() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    for (name, percent) in [("d", 70.0), ("e", 10.0), ("f", 30.0)] {
        world.spare(name, percent);
    }
    let migrate = migration(&world);
    assert_eq!(migrate.target, node_id("e"));
    assert_eq!(migrate.exclude, ids(&["a", "c", "d", "f"]), "the other free nodes are excluded, b's task stays");
}

#[test]
fn where_every_node_holds_a_task_nothing_is_moved() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.service().tasks.insert("t3".parse().unwrap(), task("c", 3));
    world.service().mode = Mode::Replicated { replicas: 3 };
    assert_eq!(world.withheld(), Withheld::NoFreeNode { nodes: vec![Name::new("b"), Name::new("c")], more: 0 });
}

#[test]
fn a_busy_service_gains_one_replica() {
    let Outcome::Act { action: Action::ScaleUp(scale_up) } = World::new().seen(1, &[BUSY, BUSY]).outcome() else {
        panic!("no scale-up");
    };
    assert_eq!((scale_up.from, scale_up.to), (2, 3));
}

#[test]
fn a_busy_container_outranks_a_sick_one_of_the_same_service() {
    let world = World::new().seen(1, &[SICK, SICK, SICK]).seen(2, &[BUSY, BUSY]);
    assert!(matches!(world.outcome(), Outcome::Act { action: Action::ScaleUp(_) }));
}

#[test]
fn a_row_that_is_complete_does_not_wait_for_one_that_is_not() {
    let world = World::new().seen(1, &[SICK, SICK]).seen(2, &[BUSY]);
    migration(&world);
}

#[test]
fn a_busy_service_at_its_maximum_does_not_keep_its_sick_container() {
    let mut world = World::new().seen(1, &[SICK, SICK]).seen(2, &[BUSY, BUSY]);
    world.policy.scaling.max_replicas = 2;
    assert_eq!(migration(&world).source, node_id("a"));
}

#[test]
fn without_its_owners_word_a_service_is_observed() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.service().labels = labels(&[]);
    let observed = |world: &World| match world.outcome() {
        Outcome::Observe { action: Action::Migrate(_), because } => because,
        other @ (Outcome::Act { .. } | Outcome::Observe { .. } | Outcome::Withhold { .. }) => panic!("{other:?}"),
    };
    assert_eq!(observed(&world), Observed::NotEnabled);
    world.service().labels = labels(&[("swarmguard.enable", "true"), ("swarmguard.mode", "observe")]);
    assert_eq!(observed(&world), Observed::Mode);
    world.service().labels = labels(&[("swarmguard.enable", "true"), ("swarmguard.max", "lots")]);
    assert!(matches!(observed(&world), Observed::Labels { problems } if problems.len() == 1));
    world.service().labels = labels(&[("swarmguard.enable", "true"), ("swarmguard.mode", "off")]);
    assert_eq!(world.plan(), []);
}

#[test]
fn an_owners_label_stands_over_the_policy() {
    // By the policy they are neither high nor idle.
    let calm = [(50.0, 70.0, 5.0), (50.0, 70.0, 5.0)];
    let mut world = World::new().seen(1, &[(60.0, 70.0, 5.0), (60.0, 70.0, 5.0)]).seen(2, &calm);
    assert_eq!(world.plan(), []);
    let (enabled, cpu) = (("swarmguard.enable", "true"), ("swarmguard.scenario1.cpu_threshold", "50"));
    world.service().labels = labels(&[enabled, cpu]);
    migration(&world);
    world.service().labels = labels(&[enabled, cpu, ("swarmguard.scenario1.memory_threshold", "75")]);
    migration(&world);
    let mut world = World::new().seen(1, &[BUSY, BUSY]);
    world.service().labels = labels(&[("swarmguard.enable", "true"), ("swarmguard.max", "2")]);
    assert_eq!(world.withheld(), Withheld::MaxReplicas { replicas: 2, max: 2 });
}

#[test]
fn a_node_can_be_kept_out_by_its_label() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.node("c").labels.insert("swarmguard.target".into(), "false".into());
    let Withheld::NoFreeNode { .. } = world.withheld() else { panic!("{:?}", world.withheld()) };
}

#[test]
fn the_same_facts_give_the_same_plan() {
    let world = World::new().seen(1, &[SICK, SICK]).seen(2, &[SICK, SICK]);
    assert_eq!(world.plan(), world.plan());
    assert_eq!(migration(&world).source, node_id("a"), "equals are told apart by their identifiers");
}

#[test]
fn only_ticks_in_a_row_count() {
    let one = World::new().seen(1, &[SICK]);
    assert_eq!(one.withheld(), Withheld::Streak { seen: 1, needed: 2 });
    let interrupted = World::new().seen(1, &[SICK, CALM, SICK]);
    assert_eq!(interrupted.withheld(), Withheld::Streak { seen: 1, needed: 2 });
    let changed = World::new().seen(1, &[BUSY, SICK]);
    assert_eq!(changed.withheld(), Withheld::Streak { seen: 1, needed: 2 });
    let mut gap = World::new();
    gap.sample(1, NOW - 2, NOW - 2, SICK);
    gap.sample(1, NOW, NOW, SICK);
    assert_eq!(gap.withheld(), Withheld::Streak { seen: 1, needed: 2 }, "the tick between was not seen to be sick");
}

#[test]
fn a_value_that_wavers_does_not_break_its_row_but_neither_begins_nor_ends_it() {
    const WAVERING: Load = (71.0, 10.0, 5.0);
    let check = |loads: &[Load], expected: Option<u32>| {
        let mut world = World::new().seen(1, loads);
        world.policy.migration.consecutive_breaches = 9;
        let seen = match world.plan().first().map(|decision| &decision.outcome) {
            Some(Outcome::Withhold { withheld: Withheld::Streak { seen, .. } }) => Some(*seen),
            _ => None,
        };
        assert_eq!(seen, expected, "{loads:?}");
    };
    check(&[SICK, WAVERING, SICK], Some(3));
    check(&[WAVERING, WAVERING, SICK], Some(1));
    check(&[SICK, WAVERING], None);
    check(&[SICK, (70.0, 10.0, 5.0), SICK], Some(1));
    check(&[SICK, WAVERING, WAVERING, SICK, SICK], Some(5));
    let world = World::new().seen(1, &[SICK, WAVERING, SICK]);
    let Outcome::Act { action } = world.outcome() else { panic!("{:?}", world.outcome()) };
    assert_eq!(action.trigger().breach_at, at(NOW - 2), "T0 is the first breach, not the wavering");
}

#[test]
fn between_the_scenarios_nothing_is_done() {
    let world = World::new().seen(1, &[(95.0, 10.0, 50.0), (95.0, 10.0, 50.0)]);
    assert!(matches!(world.withheld(), Withheld::Between { .. }));
}

#[test]
fn stale_facts_are_not_acted_on() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    let window = world.policy.metric_window;
    world.swarm().seen_at = before(window + Duration::from_secs(1));
    assert!(matches!(world.withheld(), Withheld::SwarmStale { seconds: 16 }));

    let mut world = World::new();
    world.sample(1, 1, NOW - 17, SICK);
    world.sample(1, 2, NOW - 16, SICK);
    assert_eq!(world.plan(), [], "an old breach is no breach");

    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.forget_swarm();
    assert_eq!(world.plan(), []);
}

#[test]
fn one_action_at_a_time_and_then_a_cooldown() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.memory.started(&service_id(), ActionKind::Migrate, Vec::new(), at(NOW));
    assert_eq!(world.withheld(), Withheld::InFlight { kind: Some(ActionKind::Migrate) });

    world.memory.ended(&service_id(), ActionKind::Migrate, EndedBy::Us, before(Duration::from_secs(29)));
    let Withheld::Cooldown { kind: ActionKind::Migrate, seconds_left: 1, .. } = world.withheld() else {
        panic!("{:?}", world.withheld());
    };
    world.memory = Memory::default();
    world.memory.ended(&service_id(), ActionKind::Migrate, EndedBy::Us, before(Duration::from_secs(30)));
    migration(&world);

    world.memory.ended(&service_id(), ActionKind::ScaleUp, EndedBy::Us, before(Duration::from_secs(2)));
    migration(&world);
}

#[test]
fn a_refused_action_starts_no_cooldown_but_a_growing_pause() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    let mut refused = |age: u64, expected: Option<u64>| {
        world.memory.started(&service_id(), ActionKind::Migrate, Vec::new(), at(NOW));
        world.memory.refused(&service_id(), before(Duration::from_secs(age)));
        match expected {
            Some(seconds_left) => assert_eq!(world.withheld(), Withheld::Refused { seconds_left }),
            None => drop(migration(&world)),
        }
    };
    refused(0, Some(1));
    refused(0, Some(2));
    refused(0, Some(4));
    refused(8, None);
    for _ in 0..10 {
        refused(60, None);
    }
    refused(0, Some(60));
}

#[test]
fn a_service_that_someone_is_working_on_is_left_alone() {
    let check = |change: fn(&mut World), expected: Withheld| {
        let mut world = World::new().seen(1, &[SICK, SICK]);
        change(&mut world);
        assert_eq!(world.withheld(), expected);
    };
    check(|world| world.service().action_marked = true, Withheld::InFlight { kind: None });
    for state in [UpdateState::Updating, UpdateState::Paused, UpdateState::RollingBack] {
        let mut world = World::new().seen(1, &[SICK, SICK]);
        world.service().update = state;
        assert_eq!(world.withheld(), Withheld::UpdateInProgress { state });
    }
    check(
        |world| world.service().tasks.get_mut(&"t2".parse().unwrap()).unwrap().state = TaskState::Starting,
        Withheld::NotConverged { running: 1, wanted: 2 },
    );
}

#[test]
fn what_cannot_be_moved_is_refused_with_its_reason() {
    let check = |change: fn(&mut World), expected: Withheld| {
        let mut world = World::new().seen(1, &[SICK, SICK]);
        change(&mut world);
        assert_eq!(world.withheld(), expected);
    };
    check(|world| world.service().mode = Mode::Global, Withheld::NotReplicated);
    check(|world| world.service().mode = Mode::Job, Withheld::NotReplicated);
    check(|world| world.service().has_placement = false, Withheld::NoPlacement);
    check(
        |world| world.service().local_mount = Some("volume data at /data".into()),
        Withheld::LocalStorage { mount: "volume data at /data".into() },
    );
}

#[test]
fn a_service_never_grows_beyond_its_maximum() {
    let mut world = World::new().seen(1, &[BUSY, BUSY]);
    world.policy.scaling.max_replicas = 2;
    assert_eq!(world.withheld(), Withheld::MaxReplicas { replicas: 2, max: 2 });
}

/// Makes `c`, the only free node, unfit, and says why it was not taken.
fn check_unfit(change: impl FnOnce(&mut World), expected: &Ineligible) {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    // A port on the node keeps the replacement off `b`, which holds a task.
    world.port();
    change(&mut world);
    let Withheld::NoTarget { nodes, .. } = world.withheld() else { panic!("{:?}", world.withheld()) };
    let why = |name: &str| &nodes.iter().find(|rejected| rejected.node.as_str() == name).unwrap().why;
    assert_eq!(why("c"), expected);
    assert_eq!(why("a"), &Ineligible::Source);
}

#[test]
fn every_node_that_is_not_fit_says_why() {
    check_unfit(|world| world.node("c").ready = false, &Ineligible::Down);
    check_unfit(|world| world.node("c").active = false, &Ineligible::NotActive);
    check_unfit(|world| drop(world.facts.reports.remove(&node_id("c"))), &Ineligible::Silent { seconds: None });
    check_unfit(
        |world| world.facts.reports.get_mut(&node_id("c")).unwrap().received_at = before(Duration::from_secs(20)),
        &Ineligible::Silent { seconds: Some(20) },
    );
    check_unfit(
        |world| drop(world.facts.reports.insert(node_id("c"), report(95.0))),
        &Ineligible::MemoryFull { percent: 95.0 },
    );
    check_unfit(
        |world| world.service().platforms = vec![Platform { os: "linux".into(), architecture: "aarch64".into() }],
        &Ineligible::Platform { found: "linux/x86_64".into() },
    );
    let reserved = Resources { nano_cpus: 0, memory_bytes: 9 << 30 };
    check_unfit(
        |world| world.service().reserved = reserved,
        &Ineligible::NoRoom { needed: reserved, free: Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30 } },
    );
    let pinned = "node.hostname==a";
    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.service().constraints = vec![Constraint::parse(pinned)];
    let Withheld::NoTarget { nodes, .. } = world.withheld() else { panic!("{:?}", world.withheld()) };
    assert!(nodes.iter().any(|node| node.why == Ineligible::Constraint { constraint: pinned.into() }), "{nodes:?}");
}

#[test]
fn constraints_are_read_as_swarm_reads_them() {
    let check = |text: &str, expected: bool| {
        let mut world = World::new();
        world.node("a").labels.insert("disk".into(), "SSD".into());
        let met = Constraint::parse(text).met_by(&node_id("a"), world.node("a"));
        assert_eq!(met, expected, "{text}");
    };
    check("node.id==a", true);
    check("node.id!=a", false);
    check("node.hostname == A", true);
    check("node.role==manager", true);
    check("node.role!=manager", false);
    check("node.platform.arch==amd64", true);
    check("node.platform.os==linux", true);
    check("node.labels.disk==ssd", true);
    check("node.labels.disk!=ssd", false);
    check("node.labels.none==x", false);
    check("node.labels.none!=x", true);
    check("engine.labels.none!=x", true);
    check("node.ip==10.0.0.1", false);
    check("nonsense", false);
}

#[test]
fn only_the_collector_beside_the_leader_acts_and_only_as_long_as_that_is_known() {
    let check = |leader: Leader, age: u64, expected: Option<Leader>| {
        let mut world = World::new().seen(1, &[SICK, SICK]);
        (world.swarm().leader, world.swarm().seen_at) = (leader, before(Duration::from_secs(age)));
        let found = match world.outcome() {
            Outcome::Act { .. } => None,
            Outcome::Observe { because: Observed::Standby { leader }, .. } => Some(leader),
            other @ (Outcome::Observe { .. } | Outcome::Withhold { .. }) => panic!("{other:?}"),
        };
        assert_eq!(found, expected);
    };
    let elsewhere = Leader::Elsewhere { node: Name::new("b") };
    check(Leader::Here, 0, None);
    check(Leader::Here, 5, None);
    check(Leader::Here, 6, Some(Leader::Unknown));
    check(Leader::Unknown, 0, Some(Leader::Unknown));
    check(elsewhere.clone(), 0, Some(elsewhere.clone()));
    check(elsewhere, 6, Some(Leader::Unknown));
}
