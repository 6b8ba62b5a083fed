//! The checks catch an action that breaks a promise, whatever the rules thought.

use crate::world::{BUSY, Load, NOW, SICK, World, at, labels, node_id, service_id, task};
use swarmguard_planner::checks::{Violation, vet};
use swarmguard_planner::facts::{Leader, Mode, UpdateState};
use swarmguard_planner::plan::{Action, ActionKind, Migrate, Scale};
use swarmguard_planner::{Outcome, plan};
use swarmguard_wire::Name;

fn action(world: &World) -> Action {
    match plan(&world.facts, &world.policy, &world.memory, at(NOW)).remove(0).outcome {
        Outcome::Act { action } => action,
        other @ (Outcome::Observe { .. } | Outcome::Withhold { .. }) => panic!("{other:?}"),
    }
}

/// Plans on a good world, spoils world or action, and looks for the violation.
fn check(load: Load, spoil: impl FnOnce(&mut World, &mut Action), expected: Result<(), Violation>) {
    let mut world = World::new().seen(1, &[load, load]);
    let mut action = action(&world);
    spoil(&mut world, &mut action);
    assert_eq!(vet(&action, &world.facts, &world.policy, &world.memory, at(NOW)), expected);
}

#[test]
fn what_the_rules_plan_breaks_no_promise() {
    check(SICK, |_, _| (), Ok(()));
    check(BUSY, |_, _| (), Ok(()));
}

#[test]
fn facts_that_changed_since_the_plan_are_noticed() {
    check(SICK, |world, _| world.forget_swarm(), Err(Violation::Stale));
    check(SICK, |world, _| world.swarm().seen_at = at(NOW - 60), Err(Violation::Stale));
    check(SICK, |world, _| world.swarm().seen_at = at(NOW - 16), Err(Violation::Stale));
    check(SICK, |world, _| world.swarm().seen_at = at(NOW - 15), Err(Violation::Standby));
    check(SICK, |world, _| world.swarm().seen_at = at(NOW - 6), Err(Violation::Standby));
    check(SICK, |world, _| world.swarm().seen_at = at(NOW - 5), Ok(()));
    for leader in [Leader::Unknown, Leader::Elsewhere { node: Name::new("b") }] {
        check(SICK, |world, _| world.swarm().leader = leader, Err(Violation::Standby));
    }
    check(SICK, |world, _| drop(world.swarm().services.remove(&service_id())), Err(Violation::NoService));
    check(SICK, |world, _| world.service().labels = labels(&[]), Err(Violation::NotEnabled));
    check(SICK, |world, _| world.service().version = 8, Err(Violation::Version { planned: 7, found: 8 }));
    check(SICK, |world, _| world.service().action_marked = true, Err(Violation::Concurrent));
    check(
        SICK,
        |world, _| world.memory.started(&service_id(), ActionKind::ScaleUp, Vec::new(), at(NOW)),
        Err(Violation::Concurrent),
    );
    check(SICK, |world, _| world.service().update = UpdateState::Paused, Err(Violation::UpdateInProgress));
    check(SICK, |world, _| world.service().mode = Mode::Global, Err(Violation::NotReplicated));
    check(SICK, |world, _| world.service().local_mount = Some("x".into()), Err(Violation::LocalStorage));
    check(SICK, |world, _| world.service().has_placement = false, Err(Violation::NoPlacement));
    check(
        SICK,
        |world, _| world.service().mode = Mode::Replicated { replicas: 3 },
        Err(Violation::Below { running: 2, wanted: 3 }),
    );
    check(SICK, |world, _| world.node("c").active = false, Err(Violation::Target { node: node_id("c") }));
}

fn migrate(change: impl FnOnce(&mut Migrate), expected: Violation) {
    let spoil = |_: &mut World, action: &mut Action| match action {
        Action::Migrate(migrate) => change(migrate),
        Action::ScaleUp(_) | Action::ScaleDown(_) => panic!("not a migration"),
    };
    check(SICK, spoil, Err(expected));
}

#[test]
fn a_migration_leaves_its_source_for_a_target_and_moves_nobody_else() {
    migrate(|migrate| migrate.exclude.clear(), Violation::Source);
    migrate(|migrate| migrate.target = node_id("a"), Violation::Source);
    migrate(|migrate| migrate.target = node_id("b"), Violation::Target { node: node_id("b") });
    migrate(|migrate| migrate.exclude.push(node_id("c")), Violation::Target { node: node_id("c") });
    migrate(|migrate| migrate.target = node_id("z"), Violation::Target { node: node_id("z") });
    migrate(|migrate| migrate.exclude.push(node_id("b")), Violation::Bystander { node: node_id("b") });
    check(
        SICK,
        |world, _| drop(world.service().tasks.insert("t1".parse().unwrap(), task("b", 1))),
        Err(Violation::Source),
    );
}

#[test]
fn a_scale_up_adds_exactly_one_within_the_maximum() {
    let replicas = |from, to, max| {
        let spoil = |world: &mut World, action: &mut Action| {
            world.policy.scaling.max_replicas = max;
            match action {
                Action::ScaleUp(scale_up) => (scale_up.from, scale_up.to) = (from, to),
                Action::Migrate(_) | Action::ScaleDown(_) => panic!("not a scale-up"),
            }
        };
        check(BUSY, spoil, Err(Violation::Replicas { from, to, found: 2, min: 1, max }));
    };
    replicas(2, 4, 10);
    replicas(2, 2, 10);
    replicas(2, 1, 10);
    replicas(3, 4, 10);
    replicas(2, 3, 2);
}

#[test]
fn a_scale_down_takes_exactly_one_and_not_below_the_minimum() {
    let replicas = |from, to, min, expected| {
        let spoil = |world: &mut World, action: &mut Action| {
            world.policy.scaling.min_replicas = min;
            world.service().scaled =
                Some(swarmguard_planner::facts::Scaled { from: 0, to: 2, by: "before".to_owned() });
            if let Action::ScaleUp(scale) = action.clone() {
                *action = Action::ScaleDown(Scale { from, to, ..scale });
            }
        };
        check(BUSY, spoil, expected);
    };
    replicas(2, 1, 1, Ok(()));
    let broken = |from, to, min| Err(Violation::Replicas { from, to, found: 2, min, max: 10 });
    replicas(2, 1, 2, broken(2, 1, 2));
    replicas(2, 0, 1, broken(2, 0, 1));
    replicas(2, 3, 1, broken(2, 3, 1));
    replicas(3, 2, 1, broken(3, 2, 1));
}
