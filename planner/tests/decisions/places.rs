//! Where a task may go: what Swarm would allow, and what is more than that, each at its edge.

use std::time::Duration;

use crate::world::{BUSY, SICK, World, before, labels, node_id, report, task};
use swarmguard_planner::facts::{Mode, NodeReport, Platform, Resources};
use swarmguard_planner::placement::{Constraint, Ineligible};
use swarmguard_planner::plan::{Action, Candidates, Considered, Other, WhyScale};
use swarmguard_planner::{Outcome, Withheld};
use swarmguard_wire::Name;

/// A busy service that would grow onto `c` only, and why it cannot; `None` if it can.
fn check(change: impl FnOnce(&mut World), expected: Option<&Ineligible>) {
    let mut world = World::new().seen(1, &[BUSY, BUSY]);
    world.node("a").active = false;
    world.node("b").active = false;
    change(&mut world);
    let found = match world.outcome() {
        Outcome::Act { action: Action::ScaleUp(scale) } => {
            assert!(matches!(scale.why, WhyScale::Busy(Candidates { nodes: 1, .. })), "{:?}", scale.why);
            None
        }
        Outcome::Withhold { withheld: Withheld::NoTarget { nodes, more: 0 } } => {
            nodes.into_iter().find(|rejected| rejected.node == Name::new("c")).map(|rejected| rejected.why)
        }
        other @ (Outcome::Act { .. } | Outcome::Observe { .. } | Outcome::Withhold { .. }) => panic!("{other:?}"),
    };
    assert_eq!(found.as_ref(), expected);
}

#[test]
fn a_report_counts_as_long_as_it_is_within_the_window() {
    let received = |age: Duration| {
        move |world: &mut World| world.facts.reports.get_mut(&node_id("c")).unwrap().received_at = before(age)
    };
    check(received(Duration::from_secs(15)), None);
    check(received(Duration::from_micros(15_000_001)), Some(&Ineligible::Silent { seconds: Some(15) }));
}

#[test]
fn memory_is_nearly_full_above_its_threshold_and_not_at_it() {
    let memory = |percent: f32| {
        move |world: &mut World| {
            let told = NodeReport { memory_percent: Some(percent), ..report(20.0) };
            drop(world.facts.reports.insert(node_id("c"), told));
        }
    };
    check(memory(90.0), None);
    check(memory(90.5), Some(&Ineligible::MemoryFull { percent: 90.5 }));
}

#[test]
fn a_task_fits_where_just_what_it_reserves_is_free() {
    let reserves = |nano_cpus, memory_bytes| {
        move |world: &mut World| world.service().reserved = Resources { nano_cpus, memory_bytes }
    };
    let free = Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30 };
    check(reserves(free.nano_cpus, free.memory_bytes), None);
    for needed in
        [Resources { nano_cpus: free.nano_cpus + 1, ..free }, Resources { memory_bytes: free.memory_bytes + 1, ..free }]
    {
        let expected = Ineligible::NoRoom { needed, free };
        check(reserves(needed.nano_cpus, needed.memory_bytes), Some(&expected));
    }
}

#[test]
fn a_node_holds_as_many_tasks_of_the_service_as_it_may_and_no_more() {
    let most = |max: u64, here: &'static [&'static str]| {
        move |world: &mut World| {
            world.service().replicas_per_node_max = Some(max);
            here.iter().for_each(|id| world.task(id).node = Some(node_id("c")));
        }
    };
    check(most(1, &[]), None);
    check(most(1, &["t2"]), Some(&Ineligible::ReplicasPerNode { max: 1 }));
    check(most(2, &["t2"]), None);
    check(most(2, &["t1", "t2"]), Some(&Ineligible::ReplicasPerNode { max: 2 }));
}

#[test]
fn an_image_is_for_any_of_its_platforms_and_what_is_left_open_matches_all() {
    let platforms = |platforms: &'static [(&'static str, &'static str)]| {
        let platform = |(os, architecture): &(&str, &str)| Platform {
            os: (*os).to_owned(),
            architecture: (*architecture).to_owned(),
        };
        move |world: &mut World| world.service().platforms = platforms.iter().map(platform).collect()
    };
    let unfit = Ineligible::Platform { found: "linux/x86_64".into() };
    check(platforms(&[]), None);
    check(platforms(&[("linux", "x86_64")]), None);
    check(platforms(&[("Linux", "")]), None);
    check(platforms(&[("", "x86_64")]), None);
    check(platforms(&[("linux", "aarch64"), ("linux", "x86_64")]), None);
    check(platforms(&[("linux", "aarch64")]), Some(&unfit));
    check(platforms(&[("windows", "x86_64")]), Some(&unfit));
}

#[test]
fn of_a_constraint_with_both_signs_the_first_one_divides() {
    let met = |text: &str| {
        let mut world = World::new();
        world.node("a").labels.insert("disk".into(), "x!=y".into());
        world.node("b").labels.insert("disk".into(), "x==y".into());
        ["a", "b"].map(|name| Constraint::parse(text).met_by(&node_id(name), world.node(name)))
    };
    assert_eq!(met("node.labels.disk==x!=y"), [true, false]);
    assert_eq!(met("node.labels.disk!=x==y"), [true, false]);
}

fn considered(world: &World) -> Considered {
    match world.outcome() {
        Outcome::Act { action: Action::Migrate(migrate) } => migrate.considered,
        other @ (Outcome::Act { .. } | Outcome::Observe { .. } | Outcome::Withhold { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn of_every_node_that_was_not_chosen_it_is_told_why() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    world.spare("d", 30.0);
    world.spare("e", 10.0);
    world.node("e").ready = false;
    let rejected = |name: &str, why| Other { node: Name::new(name), in_use: None, why: Some(why) };
    let expected = Considered {
        chosen_use: 40.0,
        others: vec![
            rejected("a", Ineligible::Source),
            rejected("b", Ineligible::HoldsTask),
            Other { node: Name::new("d"), in_use: Some(60.0), why: None },
            rejected("e", Ineligible::Down),
        ],
        more: 0,
    };
    assert_eq!(considered(&world), expected);
}

#[test]
fn a_spec_names_no_more_nodes_than_it_should() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    for number in 1..100 {
        world.spare(&format!("n{number}"), 50.0);
    }
    let Considered { others, more, .. } = considered(&world);
    assert_eq!((others.len(), more), (20, 81), "`a`, `b` and the spare ones");
    world.spare("n100", 50.0);
    assert_eq!(world.withheld(), Withheld::TooManyNodes { found: 101, max: 100 });
}

#[test]
fn what_is_not_known_of_a_nodes_use_counts_as_all_of_it() {
    let mut world = World::new().seen(1, &[SICK, SICK]);
    let silent = NodeReport { cpu_percent: None, memory_percent: None, ..report(0.0) };
    world.facts.reports.insert(node_id("c"), silent);
    assert_eq!(considered(&world).chosen_use, 200.0);
}

#[test]
fn a_label_that_is_not_false_keeps_nothing_out() {
    let label = |value: &'static str| {
        move |world: &mut World| drop(world.node("c").labels.insert("swarmguard.target".into(), value.into()))
    };
    check(label("true"), None);
    check(label("false"), Some(&Ineligible::KeptOut));
}

#[test]
fn the_owners_maximum_is_reached_and_not_passed() {
    let grows = |replicas: u64| {
        let mut world = World::new().seen(1, &[BUSY, BUSY]);
        world.service().labels = labels(&[("swarmguard.enable", "true"), ("swarmguard.max", "3")]);
        world.service().mode = Mode::Replicated { replicas };
        world.service().tasks.insert("t3".parse().unwrap(), task("c", 3));
        world.outcome()
    };
    assert!(matches!(grows(2), Outcome::Act { action: Action::ScaleUp(scale) } if scale.to == 3));
    assert_eq!(grows(3), Outcome::Withhold { withheld: Withheld::MaxReplicas { replicas: 3, max: 3 } });
}
