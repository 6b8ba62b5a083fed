//! What is remembered of actions: one's own, those of the collector beside the leader, and those of former times.

use std::time::Duration;

use crate::world::{NOW, World, at, before, node_id, service_id};
use swarmguard_planner::Memory;
use swarmguard_planner::facts::{Leader, Mode, Scaled, UnderWay};
use swarmguard_planner::memory::{COUNTED_MAX, EndedBy, Past, SERVICES_MAX};
use swarmguard_planner::plan::ActionKind;
use swarmguard_planner::policy::HOUR;
use swarmguard_wire::{Name, ServiceId, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);

fn migration() -> UnderWay {
    UnderWay { kind: ActionKind::Migrate, nodes: vec![node_id("a"), node_id("c")] }
}

/// Looks at the service with this action's mark or none, while the leader is another manager.
fn see_from_aside(world: &mut World, action: Option<UnderWay>, second: u64) {
    world.swarm().leader = Leader::Elsewhere { node: Name::new("b") };
    world.service().action_marked = action.is_some();
    world.service().action = action;
    see(world, second);
}

fn see(world: &mut World, second: u64) {
    let swarm = world.swarm().clone();
    world.memory.saw(&swarm, at(second));
}

/// What is under way, when a migration ended, and how many actions began within the hour.
fn known(memory: &Memory, second: u64) -> (Option<UnderWay>, Option<Timestamp>, usize) {
    let ended = memory.cooldown(&service_id(), ActionKind::Migrate).ended_at();
    (memory.under_way(&service_id()), ended, memory.begun_within_hour(at(second)))
}

#[test]
fn an_action_of_another_collector_is_known_by_its_mark_from_beginning_to_end() {
    let mut world = World::new();
    see_from_aside(&mut world, None, NOW);
    assert_eq!(known(&world.memory, NOW), (None, None, 0));
    for second in [NOW + 1, NOW + 2] {
        see_from_aside(&mut world, Some(migration()), second);
        assert_eq!(known(&world.memory, second), (Some(migration()), None, 1));
    }
    assert_eq!(world.memory.in_flight_count(), 1);
    assert_eq!(world.memory.nodes_in_flight().collect::<Vec<_>>(), [&node_id("a"), &node_id("c")]);
    see_from_aside(&mut world, None, NOW + 3);
    assert_eq!(known(&world.memory, NOW + 3), (None, Some(at(NOW + 3)), 1));
    assert_eq!(world.memory.moves_within_hour(&service_id(), at(NOW + 3)), 1);
}

#[test]
fn an_action_ends_with_its_service_as_well() {
    let mut world = World::new();
    see_from_aside(&mut world, Some(migration()), NOW);
    world.swarm().services.clear();
    see(&mut world, NOW + 1);
    assert_eq!(known(&world.memory, NOW + 1), (None, Some(at(NOW + 1)), 1));
}

#[test]
fn a_collector_that_comes_to_lead_takes_over_by_the_mark_what_the_other_left() {
    let mut world = World::new();
    see_from_aside(&mut world, Some(migration()), NOW);
    world.swarm().leader = Leader::Here;
    see(&mut world, NOW + 1);
    assert_eq!(known(&world.memory, NOW + 1), (None, None, 1), "it has begun, and has not ended");
}

#[test]
fn what_the_other_finished_in_its_last_moment_has_its_cooldown_and_counts_as_a_move() {
    let mut world = World::new();
    see_from_aside(&mut world, Some(migration()), NOW);
    world.swarm().leader = Leader::Here;
    (world.service().action_marked, world.service().action) = (false, None);
    see(&mut world, NOW + 1);
    assert_eq!(known(&world.memory, NOW + 1), (None, Some(at(NOW + 1)), 1));
    assert_eq!(world.memory.moves_within_hour(&service_id(), at(NOW + 1)), 1);
}

#[test]
fn what_is_left_to_others_and_comes_back_is_not_under_way_for_ever() {
    let mut world = World::new();
    world.memory.started(&service_id(), ActionKind::Migrate, Vec::new(), at(NOW));
    see(&mut world, NOW);
    assert!(world.memory.under_way(&service_id()).is_some(), "it is one's own, whatever is seen");
    world.memory.leave_to_others();
    see(&mut world, NOW + 1);
    assert_eq!(known(&world.memory, NOW + 1), (None, Some(at(NOW + 1)), 1));
}

#[test]
fn ones_own_action_is_another_collectors_once_the_leader_is() {
    let mut world = World::new();
    world.memory.started(&service_id(), ActionKind::Migrate, migration().nodes, at(NOW));
    see(&mut world, NOW + 1);
    assert_eq!(known(&world.memory, NOW + 1), (Some(migration()), None, 1), "no mark says it yet, and it is ours");
    see_from_aside(&mut world, Some(migration()), NOW + 2);
    assert_eq!(known(&world.memory, NOW + 2), (Some(migration()), None, 1));
    world.swarm().leader = Leader::Here;
    see(&mut world, NOW + 3);
    assert_eq!(known(&world.memory, NOW + 3), (None, None, 1));
}

#[test]
fn the_past_counts_as_if_it_had_been_seen() {
    let restored = |ended| {
        let (mut memory, service) = (Memory::default(), service_id());
        memory.restore(Past { service, kind: ActionKind::Migrate, begun: before(2 * MINUTE), ended }, at(NOW));
        (known(&memory, NOW), memory.moves_within_hour(&service_id(), at(NOW)))
    };
    let ended = before(MINUTE);
    assert_eq!(restored(Some((EndedBy::Us, ended))), ((None, Some(ended), 1), 1));
    assert_eq!(restored(Some((EndedBy::Somebody, ended))), ((None, Some(ended), 1), 0));
    assert_eq!(restored(None), ((None, None, 1), 0), "what came of it is not known");
    assert_eq!(restored(Some((EndedBy::Us, at(NOW + 9)))), ((None, Some(at(NOW)), 1), 1), "a clock was ahead");
}

#[test]
fn a_note_of_replicas_is_void_once_their_number_was_another() {
    let scaled_from = |replicas: u64| {
        let mut world = World::new();
        world.service().scaled = Some(Scaled { from: 1, to: 2, by: "before".to_owned() });
        world.service().mode = Mode::Replicated { replicas };
        see(&mut world, NOW);
        world.service().mode = Mode::Replicated { replicas: 2 };
        let service = world.service().clone();
        world.memory.scaled_from(&service_id(), &service)
    };
    assert_eq!(scaled_from(2), Some(1));
    assert_eq!(scaled_from(1), None);
    assert_eq!(scaled_from(3), None);
}

#[test]
fn a_note_with_the_same_numbers_holds_where_another_action_left_it() {
    let scaled_from = |by: &str| {
        let mut world = World::new();
        world.service().scaled = Some(Scaled { from: 1, to: 2, by: "before".to_owned() });
        world.service().mode = Mode::Replicated { replicas: 1 };
        see(&mut world, NOW);
        // The action was over before this collector looked again.
        world.service().scaled = Some(Scaled { from: 1, to: 2, by: by.to_owned() });
        world.service().mode = Mode::Replicated { replicas: 2 };
        see(&mut world, NOW);
        let service = world.service().clone();
        world.memory.scaled_from(&service_id(), &service)
    };
    assert_eq!(scaled_from("after"), Some(1));
    assert_eq!(scaled_from("before"), None);
}

#[test]
fn an_hour_is_over_when_it_has_passed_and_not_a_moment_before() {
    let mut memory = Memory::default();
    memory.started(&service_id(), ActionKind::Migrate, vec![], at(NOW));
    memory.ended(&service_id(), ActionKind::Migrate, EndedBy::Us, at(NOW));
    let check = |now: Timestamp, expected: usize| {
        assert_eq!(memory.begun_within_hour(now), expected);
        assert_eq!(memory.moves_within_hour(&service_id(), now), expected);
    };
    let over = memory.hour_is_over(at(NOW), 1);
    assert_eq!((over, memory.moves_are_over(&service_id(), at(NOW), 1)), (at(NOW) + HOUR, over));
    check(over - Duration::from_micros(1), 1);
    check(over, 0);
}

#[test]
fn the_number_of_times_that_are_counted_is_bounded() {
    let mut memory = Memory::default();
    for _ in 0..=COUNTED_MAX {
        memory.started(&service_id(), ActionKind::Migrate, vec![], at(NOW));
    }
    assert_eq!(memory.begun_within_hour(at(NOW)), COUNTED_MAX);
}

#[test]
fn of_too_many_services_the_one_acted_on_longest_ago_is_forgotten_unless_it_is_acted_on() {
    let id = |number: usize| -> ServiceId { format!("s{number}").parse().unwrap() };
    let mut memory = Memory::default();
    memory.started(&id(0), ActionKind::ScaleUp, vec![], at(0));
    for number in 1..SERVICES_MAX {
        memory.started(&id(number), ActionKind::ScaleUp, vec![], at(number as u64));
        memory.ended(&id(number), ActionKind::ScaleUp, EndedBy::Us, at(number as u64));
    }
    let knows = |memory: &Memory| [1, 2, SERVICES_MAX - 1].map(|number| memory.last_ended(&id(number)).is_some());
    assert_eq!(knows(&memory), [true, true, true]);
    memory.started(&id(SERVICES_MAX), ActionKind::ScaleUp, vec![], at(SERVICES_MAX as u64));
    assert_eq!(knows(&memory), [false, true, true]);
    assert_eq!(memory.in_flight(&id(0)), Some(ActionKind::ScaleUp));
}
