//! When a service loses a replica, and when it does not.

use crate::world::{BUSY, CALM, Load, NOW, SICK, World, at, before, container, labels, service_id, task};
use std::time::Duration;
use swarmguard_planner::checks::{Violation, vet};
use swarmguard_planner::facts::{Mode, Scaled, Task, TaskState};
use swarmguard_planner::memory::EndedBy;
use swarmguard_planner::plan::{Action, ActionKind};
use swarmguard_planner::{Memory, Outcome, Withheld};
use swarmguard_wire::Name;

/// The default cooldown, in seconds.
const COOLDOWN: u64 = 180;

/// One of the two replicas was added by SwarmGuard.
fn scaled() -> World {
    let mut world = World::new();
    world.service().scaled = Some(Scaled { from: 1, to: 2, by: "before".to_owned() });
    world
}

/// Both containers with the same load every five seconds, from so many seconds ago until now.
fn loaded(load: Load, from: u64) -> World {
    let mut world = scaled();
    for second in (NOW - from..=NOW).step_by(5) {
        world.sample(1, second, second, load);
        world.sample(2, second, second, load);
    }
    world
}

fn scale_down(world: &World) -> (u64, u64) {
    match world.outcome() {
        Outcome::Act { action: Action::ScaleDown(scale) } => (scale.from, scale.to),
        other @ (Outcome::Act { .. } | Outcome::Observe { .. } | Outcome::Withhold { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn a_service_idle_for_the_whole_cooldown_loses_one_replica() {
    let world = loaded(CALM, COOLDOWN);
    assert_eq!(scale_down(&world), (2, 1));
}

#[test]
fn t0_of_a_scale_down_is_when_the_idle_time_began() {
    let Outcome::Act { action } = loaded(CALM, COOLDOWN).outcome() else { panic!("nothing is done") };
    assert_eq!(action.trigger().breach_at, at(NOW - COOLDOWN));
}

#[test]
fn idleness_that_is_not_known_for_long_enough_is_waited_for() {
    assert_eq!(loaded(CALM, 100).withheld(), Withheld::Idle { seconds: 100, needed: COOLDOWN });
    let mut gap = loaded(CALM, 60);
    for second in NOW - COOLDOWN..NOW - 100 {
        gap.sample(1, second, second, CALM);
    }
    assert_eq!(gap.withheld(), Withheld::Idle { seconds: 60, needed: COOLDOWN }, "what was in the gap is not known");
}

#[test]
fn a_moment_of_load_within_the_cooldown_keeps_the_replica() {
    let mut world = scaled();
    for second in (NOW - COOLDOWN..=NOW).step_by(5) {
        let load = if second == NOW - 90 { (60.0, 10.0, 5.0) } else { CALM };
        world.sample(1, second, second, load);
        world.sample(2, second, second, load);
    }
    assert_eq!(world.withheld(), Withheld::BusyLately { within: COOLDOWN });
}

#[test]
fn what_one_fewer_could_not_carry_is_not_idle() {
    // 2 × 34 % is more than 75 % less a tenth.
    assert_eq!(loaded((34.0, 10.0, 5.0), COOLDOWN).plan(), []);
    assert_eq!(scale_down(&loaded((33.0, 10.0, 5.0), COOLDOWN)), (2, 1));
    assert_eq!(loaded((10.0, 37.0, 5.0), COOLDOWN).plan(), [], "memory counts as well");
    assert_eq!(loaded((10.0, 10.0, 30.0), COOLDOWN).plan(), [], "and the network");
}

#[test]
fn the_load_that_a_scale_up_was_for_is_never_idleness_afterwards() {
    // One container above 75 % became two of half as much each.
    for total in [75.1_f32, 80.0, 100.0, 120.0] {
        assert_eq!(loaded((total / 2.0, 10.0, 5.0), COOLDOWN).plan(), []);
    }
}

#[test]
fn nothing_is_taken_from_a_service_at_its_minimum() {
    let mut world = loaded(CALM, COOLDOWN);
    world.policy.scaling.min_replicas = 2;
    assert_eq!(world.plan(), []);
    world.policy.scaling.min_replicas = 1;
    world.service().labels = labels(&[("swarmguard.enable", "true"), ("swarmguard.min", "2")]);
    assert_eq!(world.plan(), []);
    world.service().mode = Mode::Global;
    assert_eq!(world.plan(), []);
}

#[test]
fn only_what_was_added_is_taken_unless_the_owner_chose_a_minimum() {
    let mut world = loaded(CALM, COOLDOWN);
    let Outcome::Act { action } = world.outcome() else { panic!("nothing is done") };
    let note = |from, to| Some(Scaled { from, to, by: "before".to_owned() });
    for scaled in [None, note(2, 2), note(9, 2), note(1, 3)] {
        world.service().scaled = scaled.clone();
        assert_eq!(world.plan(), [], "{scaled:?}");
        let vetted = vet(&action, &world.facts, &world.policy, &world.memory, at(NOW));
        assert_eq!(vetted, Err(Violation::Reserve), "{scaled:?}");
    }
    world.service().labels = labels(&[("swarmguard.enable", "true"), ("swarmguard.min", "1")]);
    world.service().scaled = None;
    assert_eq!(scale_down(&world), (2, 1));
    assert_eq!(vet(&action, &world.facts, &world.policy, &world.memory, at(NOW)), Ok(()));
}

#[test]
fn no_replica_goes_while_swarm_could_keep_one_that_nobody_reaches_instead() {
    let mut world = loaded(CALM, COOLDOWN);
    let Outcome::Act { action } = world.outcome() else { panic!("nothing is done") };
    let first = world.service().tasks.keys().next().unwrap().clone();
    world.service().tasks.get_mut(&first).unwrap().publishes = true;
    assert_eq!(world.withheld(), Withheld::WithoutPorts { tasks: 1 });
    let vetted = vet(&action, &world.facts, &world.policy, &world.memory, at(NOW));
    assert_eq!(vetted, Err(Violation::WithoutPorts));
    world.service().tasks.values_mut().for_each(|task| task.publishes = true);
    assert_eq!(scale_down(&world), (2, 1));
    assert_eq!(vet(&action, &world.facts, &world.policy, &world.memory, at(NOW)), Ok(()));
}

#[test]
fn a_note_that_somebody_voided_does_not_come_back_with_the_number() {
    let mut world = loaded(CALM, COOLDOWN);
    world.service().mode = Mode::Replicated { replicas: 5 };
    let swarm = world.swarm().clone();
    world.memory.saw(&swarm, at(NOW));
    world.service().mode = Mode::Replicated { replicas: 2 };
    let swarm = world.swarm().clone();
    world.memory.saw(&swarm, at(NOW));
    assert_eq!(world.plan(), [], "the second replica is the owner's now");

    let mut under_way = loaded(CALM, COOLDOWN);
    under_way.service().mode = Mode::Replicated { replicas: 3 };
    under_way.service().action_marked = true;
    let swarm = under_way.swarm().clone();
    under_way.memory.saw(&swarm, at(NOW));
    under_way.service().mode = Mode::Replicated { replicas: 2 };
    under_way.service().action_marked = false;
    assert_eq!(scale_down(&under_way), (2, 1), "the number was SwarmGuard's");
}

#[test]
fn giving_back_leaves_half_of_the_limits_to_what_cannot_wait() {
    let mut world = loaded(CALM, COOLDOWN);
    let other = |name: &str| name.parse().unwrap();
    world.policy.limits.actions_in_flight = 4;
    world.memory.started(&other("x"), ActionKind::Migrate, vec![], at(NOW));
    assert_eq!(scale_down(&world), (2, 1));
    world.memory.started(&other("y"), ActionKind::Migrate, vec![], at(NOW));
    assert_eq!(world.withheld(), Withheld::TooManyInFlight { max: 2, of: 4 });
    for second in [NOW + 1, NOW + 2] {
        world.sample(1, second, second, SICK);
    }
    assert!(matches!(world.outcome(), Outcome::Act { action: Action::Migrate(_) }), "{:?}", world.outcome());
}

#[test]
fn replicas_go_one_by_one_and_not_soon_after_one_came() {
    let mut world = loaded(CALM, COOLDOWN);
    for kind in [ActionKind::ScaleDown, ActionKind::ScaleUp] {
        world.memory.ended(&service_id(), kind, EndedBy::Us, before(Duration::from_secs(COOLDOWN - 1)));
        let Withheld::Cooldown { kind: waits, seconds_left: 1, .. } = world.withheld() else {
            panic!("{:?}", world.withheld());
        };
        assert_eq!(waits, kind);
        world.memory = Memory::default();
        world.memory.ended(&service_id(), kind, EndedBy::Us, before(Duration::from_secs(COOLDOWN)));
        assert_eq!(scale_down(&world), (2, 1));
    }
}

#[test]
fn a_container_that_is_not_known_is_not_idle() {
    let mut world = scaled();
    for second in (NOW - COOLDOWN..=NOW).step_by(5) {
        world.sample(1, second, second, CALM);
    }
    assert_eq!(world.plan(), [], "the other has told nothing");

    let mut world = scaled();
    for second in (NOW - COOLDOWN..=NOW - 20).step_by(5) {
        world.sample(1, second, second, CALM);
        world.sample(2, second, second, CALM);
    }
    assert_eq!(world.plan(), [], "what they told is old");
}

#[test]
fn a_value_that_is_not_known_counts_as_high() {
    let mut world = loaded(CALM, COOLDOWN);
    let (newest, second) = (*world.facts.containers()[&container(1)].newest().unwrap(), NOW + 1);
    let unknown = swarmguard_planner::window::Sample { tick: second, network_percent: None, ..newest };
    world.facts.record_sample(container(1), unknown);
    assert_eq!(world.plan(), []);
}

#[test]
fn a_service_with_one_sick_container_is_not_idle() {
    let world = loaded(CALM, COOLDOWN).seen(2, &[CALM]);
    let mut sick = world;
    for second in [NOW + 1, NOW + 2] {
        sick.sample(1, second, second, SICK);
    }
    assert!(matches!(sick.outcome(), Outcome::Act { action: Action::Migrate(_) }));
    let busy = World::new().seen(1, &[BUSY, BUSY]).seen(2, &[CALM, CALM]);
    assert!(matches!(busy.outcome(), Outcome::Act { action: Action::ScaleUp(_) }));
}

#[test]
fn a_service_that_keeps_data_on_its_nodes_loses_no_replica() {
    let mut world = loaded(CALM, COOLDOWN);
    let Outcome::Act { action } = world.outcome() else { panic!("nothing is done") };
    world.service().local_mount = Some("volume data at /var/lib".into());
    assert!(matches!(world.withheld(), Withheld::LocalStorage { .. }));
    let vetted = vet(&action, &world.facts, &world.policy, &world.memory, at(NOW));
    assert_eq!(vetted, Err(Violation::LocalStorage));
}

#[test]
fn what_was_before_the_cooldown_does_not_count() {
    let mut world = scaled();
    for second in (NOW - 2 * COOLDOWN..=NOW).step_by(5) {
        let load = if second < NOW - COOLDOWN { BUSY } else { CALM };
        world.sample(1, second, second, load);
        world.sample(2, second, second, load);
    }
    assert_eq!(scale_down(&world), (2, 1));
}

#[test]
fn a_gap_is_one_only_beyond_the_window() {
    let idle = |step: usize, until: u64| {
        let mut world = scaled();
        for second in (NOW - COOLDOWN..=until).step_by(step) {
            world.sample(1, second, second, CALM);
            world.sample(2, second, second, CALM);
        }
        world
    };
    assert_eq!(scale_down(&idle(15, NOW)), (2, 1));
    assert_eq!(scale_down(&idle(5, NOW - 15)), (2, 1), "the newest may be as old as the window is long");
    assert_eq!(idle(5, NOW - 16).plan(), []);
    assert_eq!(idle(18, NOW).withheld(), Withheld::Idle { seconds: 0, needed: COOLDOWN });
}

#[test]
fn a_decision_about_an_idle_service_names_its_busiest_container() {
    let busiest = |first: Load, second: Load| {
        let mut world = loaded(CALM, COOLDOWN);
        world.sample(1, NOW + 1, NOW, first);
        world.sample(2, NOW + 1, NOW, second);
        let decision = world.plan().remove(0);
        (decision.container, decision.grounds.node)
    };
    let (a, b) = ((container(1), Name::new("a")), (container(2), Name::new("b")));
    assert_eq!(busiest((11.0, 10.0, 5.0), CALM), a);
    assert_eq!(busiest(CALM, (11.0, 10.0, 5.0)), b);
    assert_eq!(busiest((12.0, 10.0, 5.0), (10.0, 11.0, 6.5)), b, "all three together");
    assert_eq!(busiest(CALM, CALM), a, "of equals the first");
}

#[test]
fn only_a_service_all_of_whose_running_tasks_are_known_is_idle() {
    let mut world = loaded(CALM, COOLDOWN);
    world.task("t2").container = None;
    assert_eq!(world.plan(), []);
    let mut world = loaded(CALM, COOLDOWN);
    world.task("t2").node = Some("gone".parse().unwrap());
    assert_eq!(world.plan(), [], "nor where its node is not known");
    let mut world = loaded(CALM, COOLDOWN);
    let starting = Task { state: TaskState::Starting, container: None, ..task("c", 3) };
    world.service().tasks.insert("t3".parse().unwrap(), starting);
    assert_eq!(scale_down(&world), (2, 1), "one that only starts has nothing to tell");
}

#[test]
fn while_a_person_says_that_one_is_sick_the_service_is_not_idle() {
    let world = loaded(CALM, COOLDOWN).told(1, &[SICK]);
    assert_eq!(world.withheld(), Withheld::Streak { seen: 1, needed: 2 });
}
