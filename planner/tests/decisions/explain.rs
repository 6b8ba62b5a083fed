//! A decision in sentences, word for word.

use crate::world::{BUSY, CALM, Load, NOW, SICK, World, container, labels, sample, task};
use swarmguard_planner::facts::{Mode, Scaled};
use swarmguard_planner::window::Sample;

/// Both containers with the same load, and what is said of the one decision.
fn check(load: Load, change: impl FnOnce(&mut World), expected: &[&str]) {
    let mut world = World::new();
    for second in NOW - 180..=NOW {
        [1, 2].into_iter().for_each(|number| world.sample(number, second, second, load));
    }
    change(&mut world);
    assert_eq!(world.plan().remove(0).explain(), expected);
}

const SICK_SEEN: &str = "Its container 010101010101 on a is at CPU 95 % (high above 75), memory 10 % (high above 80) and network \
                         5 % (low below 35), for 181 ticks in a row (2 needed).";
const BUSY_SEEN: &str = "Its container 010101010101 on a is at CPU 95 % (high above 75), memory 90 % (high above 80) and network \
                         80 % (high above 65), for 181 ticks in a row (2 needed).";

const ANYWHERE: &str = "3 nodes may take one more, and Swarm chooses among them: a, b, c.";

#[test]
fn a_move_names_every_node_that_was_looked_at() {
    check(
        SICK,
        |world| world.spare("d", 30.0),
        &[
            "web is moved from a to c: scenario 1, CPU or memory is high and the network low.",
            SICK_SEEN,
            "c is the least in use of the nodes that may take it: CPU plus memory are 40 of 200 %.",
            "a is the node to leave.",
            "b runs a task of the service already.",
            "d would do, with 60 of 200 %.",
        ],
    );
}

#[test]
fn of_many_nodes_those_that_are_not_named_are_counted() {
    let last = |spares: u8| {
        let mut world = World::new().seen(1, &[SICK, SICK]);
        (0..spares).for_each(|number| world.spare(&format!("n{number:02}"), 30.0));
        let said = world.plan().remove(0).explain();
        (said.len(), said.last().cloned().unwrap())
    };
    assert_eq!(last(18), (23, "n17 would do, with 60 of 200 %.".to_owned()));
    assert_eq!(last(19), (24, "One more node is not named here.".to_owned()));
    assert_eq!(last(20), (24, "2 more nodes are not named here.".to_owned()));
}

#[test]
fn a_scale_up_says_where_one_more_may_run_and_why_not_elsewhere() {
    let headline = "web goes from 2 to 3 replicas: scenario 2, CPU, memory and network are high.";
    check(BUSY, |_| (), &[headline, BUSY_SEEN, ANYWHERE]);
    check(
        BUSY,
        |world| ["a", "b"].into_iter().for_each(|name| world.node(name).active = false),
        &[
            headline,
            BUSY_SEEN,
            "c is the only node that may take one more.",
            "a is paused or drained.",
            "b is paused or drained.",
        ],
    );
}

#[test]
fn of_many_nodes_for_one_replica_more_those_that_are_not_named_are_counted() {
    let said = |spares: u8, active: bool| {
        let mut world = World::new().seen(1, &[BUSY, BUSY]);
        for number in 0..spares {
            let name = format!("n{number:02}");
            world.spare(&name, 30.0);
            world.node(&name).active = active;
        }
        let mut said = world.plan().remove(0).explain();
        drop(said.drain(..2));
        (said.len(), said.remove(0), said.pop())
    };
    let begins = |nodes: u8| format!("{nodes} nodes may take one more, and Swarm chooses among them: a, b, c, n00, ");
    for (spares, ends) in [(17, "n15, n16."), (18, "n15, n16 and 1 more."), (20, "n15, n16 and 3 more.")] {
        let (sentences, first, last) = said(spares, true);
        assert!(first.starts_with(&begins(spares + 3)) && first.ends_with(ends), "{spares}: {first}");
        assert_eq!((sentences, last), (1, None));
    }
    for (spares, sentences, last) in [
        (20, 21, "n19 is paused or drained."),
        (21, 22, "One more node is not named here."),
        (22, 22, "2 more nodes are not named here."),
    ] {
        assert_eq!(said(spares, false), (sentences, ANYWHERE.to_owned(), Some(last.to_owned())));
    }
}

#[test]
fn a_scale_down_says_what_the_others_can_carry() {
    let seen = "Its busiest container, 010101010101 on a, is at CPU 10 %, memory 10 %, network 5 %.";
    let rests = "What each replica had to do at most in the last 180 s comes to 20 % of CPU, 20 % of memory and 10 % of network";
    check(
        CALM,
        |world| world.service().scaled = Some(Scaled { from: 1, to: 2, by: "before".to_owned() }),
        &[
            "web goes from 2 to 1 replica: one fewer can do what there is to do.",
            seen,
            &format!("{rests}; 1 replica can carry 68, 72 and 58 % of one."),
        ],
    );
    check(
        CALM,
        |world| {
            world.service().scaled = Some(Scaled { from: 1, to: 3, by: "before".to_owned() });
            world.service().mode = Mode::Replicated { replicas: 3 };
            world.service().tasks.insert("t3".parse().unwrap(), task("c", 3));
            for second in NOW - 180..=NOW {
                world.sample(3, second, second, (0.0, 0.0, 0.0));
            }
        },
        &[
            "web goes from 3 to 2 replicas: one fewer can do what there is to do.",
            seen,
            &format!("{rests}; 2 replicas can carry 135, 144 and 117 % of one."),
        ],
    );
}

#[test]
fn what_is_only_observed_says_why_and_what_would_be_done() {
    let because =
        "Nothing is done about web: its owner has not set the label swarmguard.enable=true. Otherwise it would";
    check(
        SICK,
        |world| world.service().labels = labels(&[]),
        &[
            &format!("{because} be moved from a to c: scenario 1, CPU or memory is high and the network low."),
            SICK_SEEN,
            "c is the only node that may take it: CPU plus memory are 40 of 200 %.",
            "a is the node to leave.",
            "b runs a task of the service already.",
        ],
    );
    check(
        BUSY,
        |world| world.service().labels = labels(&[]),
        &[
            &format!("{because} go from 2 to 3 replicas: scenario 2, CPU, memory and network are high."),
            BUSY_SEEN,
            ANYWHERE,
        ],
    );
}

#[test]
fn what_is_withheld_says_why_and_what_was_seen() {
    let said = |world: World| world.plan().remove(0).explain();
    assert_eq!(
        said(World::new().seen(1, &[SICK])),
        [
            "Nothing is done about web: 1 of 2 ticks in a row match.",
            "Its container 010101010101 on a is at CPU 95 % (high above 75), memory 10 % (high above 80) and network 5 % (low \
             below 35), for 1 tick in a row (2 needed).",
        ]
    );
    let mut unknown = World::new();
    let told = sample(1, NOW, SICK);
    let told = Sample { network_percent: None, ..told };
    unknown.facts.record_sample(container(2), told);
    assert_eq!(
        said(unknown),
        [
            "Nothing is done about web: no scenario matches: the network's use is not known (give agents --link-mbps where the kernel tells no speed).",
            "Its container 020202020202 on b is at CPU 95 %, memory 10 % and network unknown, for 1 tick in a row.",
        ]
    );
}
