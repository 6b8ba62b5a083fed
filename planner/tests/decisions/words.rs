//! What a person reads: each reason and each decision, word for word.

use crate::world::{BUSY, CALM, Load, NOW, SICK, World, at, labels, node_id};
use swarmguard_planner::Withheld;
use swarmguard_planner::checks::Violation;
use swarmguard_planner::facts::{Leader, Resources, Scaled, UpdateState};
use swarmguard_planner::labels::LabelProblem;
use swarmguard_planner::placement::{Ineligible, Rejected};
use swarmguard_planner::plan::{ActionKind, Observed};
use swarmguard_planner::quiet::Quiet;
use swarmguard_planner::rules::{Unclear, Used};
use swarmguard_wire::Name;

fn cooldown(kind: ActionKind, seconds_left: u64) -> Withheld {
    Withheld::Cooldown { kind, until: at(NOW), seconds_left }
}

#[test]
fn a_reason_for_doing_nothing_says_its_numbers() {
    let check = |withheld: Withheld, expected: &str| assert_eq!(withheld.to_string(), expected);
    check(Withheld::SwarmStale { seconds: 20 }, "the Swarm was last seen 20 s ago");
    check(Withheld::Streak { seen: 1, needed: 2 }, "1 of 2 ticks in a row match");
    check(
        Withheld::InFlight { kind: None },
        "an action that another collector began, or that has just ended, is being looked after",
    );
    check(Withheld::NotConverged { running: 1, wanted: 2 }, "1 of 2 replicas run");
    check(
        Withheld::WithoutPorts { tasks: 1 },
        "1 of its replicas published no port though others did: Swarm could keep just those",
    );
    check(Withheld::NotReplicated, "the service is global or a job");
    check(
        Withheld::NoPlacement,
        "its spec has no placement, and giving one and taking it away again crashes SwarmKit; give it an empty one with: \
         docker service update --constraint-add node.id!=none, then --constraint-rm",
    );
    check(
        Withheld::LocalStorage { mount: "volume data at /data".into() },
        "its data stays on its node: volume data at /data",
    );
    check(Withheld::MaxReplicas { replicas: 10, max: 10 }, "it has 10 replicas, its maximum");
    check(Withheld::MaxReplicas { replicas: 12, max: 10 }, "it has 12 replicas, and its maximum is 10");
    check(
        Withheld::TooManyInFlight { max: 2, of: 4 },
        "what can wait begins while fewer than 2 of the 4 actions that may be are under way",
    );
    check(
        Withheld::TooManyPerHour { max: 30, of: 60, seconds_left: 60 },
        "what can wait begins while fewer than 30 of the 60 actions that may within an hour have begun: the next may in 60 s",
    );
    check(Withheld::Idle { seconds: 60, needed: 180 }, "it is known to be idle for 60 of 180 s");
    check(Withheld::BusyLately { within: 180 }, "it is idle, but was not all the time in the last 180 s");
    check(
        Withheld::MovedTooOften { moves: 3, seconds_left: 2_700 },
        "it was moved 3 times within an hour and is sick wherever it goes: look at the container; the next move is in 45 min \
         at the earliest",
    );
    check(
        Withheld::TooManySick { sick: 3, nodes: 4 },
        "3 of 4 nodes have sick containers: more likely what is measured is wrong",
    );
    check(
        Withheld::TooManyNodes { found: 101, max: 100 },
        "to steer it to one node 101 others would have to be excluded in its constraints, and at most 100 are",
    );
}

#[test]
fn an_action_is_called_by_its_kind() {
    let check = |kind, noun: &str| {
        assert_eq!(Withheld::InFlight { kind: Some(kind) }.to_string(), format!("a {noun} is under way"));
        let expected = format!("the last {noun} was a short while ago: its cooldown is over in 29 s");
        assert_eq!(cooldown(kind, 29).to_string(), expected);
    };
    check(ActionKind::Migrate, "migration");
    check(ActionKind::ScaleUp, "scale-up");
    check(ActionKind::ScaleDown, "scale-down");
}

#[test]
fn an_update_in_the_way_says_where_it_stands() {
    let check = |state, expected: &str| {
        let withheld = Withheld::UpdateInProgress { state };
        assert_eq!(withheld.to_string(), format!("an update of the service {expected}"));
    };
    check(UpdateState::Settled, "has just ended");
    check(UpdateState::Updating, "is under way");
    check(UpdateState::Paused, "is paused half-way, and a person has to look");
    check(UpdateState::RollingBack, "is being rolled back");
}

#[test]
fn a_long_wait_is_told_in_minutes_or_hours_and_never_too_short() {
    let check = |seconds_left, expected: &str| {
        let refused = Withheld::Refused { seconds_left }.to_string();
        assert_eq!(refused, format!("Swarm refused the last attempt: the next is in {expected} at the earliest"));
    };
    check(0, "0 s");
    check(120, "120 s");
    check(121, "3 min");
    check(180, "3 min");
    check(7_200, "120 min");
    check(7_201, "3 h");
}

#[test]
fn a_limit_of_one_is_told_as_one() {
    let check = |withheld: fn(u32) -> Withheld, one: &str, two: &str| {
        assert_eq!((withheld(1).to_string().as_str(), withheld(2).to_string().as_str()), (one, two));
    };
    check(
        |max| Withheld::TooManyInFlight { max, of: max },
        "no more than 1 action may be under way at a time",
        "no more than 2 actions may be under way at a time",
    );
    check(
        |max| Withheld::NodeInFlight { node: Name::new("a"), max },
        "no more than 1 action at a time may leave a or go there",
        "no more than 2 actions at a time may leave a or go there",
    );
    check(
        |max| Withheld::TooManyPerHour { max, of: max, seconds_left: 60 },
        "no more than 1 action may begin within an hour: the next may in 60 s",
        "no more than 2 actions may begin within an hour: the next may in 60 s",
    );
}

#[test]
fn nodes_are_listed_and_those_left_out_are_counted() {
    let check = |withheld: Withheld, expected: &str| assert_eq!(withheld.to_string(), expected);
    let rejected = |node: &str, why| Rejected { node: Name::new(node), why };
    let nodes = || vec![rejected("a", Ineligible::Source), rejected("b", Ineligible::Down)];
    check(Withheld::NoTarget { nodes: nodes(), more: 0 }, "no node may take it; a is the node to leave; b is down");
    check(
        Withheld::NoTarget { nodes: nodes(), more: 3 },
        "no node may take it; a is the node to leave; b is down; and 3 more",
    );
    let names = || ["b", "c"].map(Name::new).to_vec();
    let runs = "every node that may take it runs a task of the service already: b, c";
    check(Withheld::NoFreeNode { nodes: names(), more: 0 }, runs);
    check(Withheld::NoFreeNode { nodes: names(), more: 1 }, &format!("{runs}; and 1 more"));
}

#[test]
fn a_node_that_is_not_taken_says_why() {
    let check = |why: Ineligible, expected: &str| assert_eq!(why.to_string(), expected);
    check(Ineligible::NotActive, "is paused or drained");
    check(Ineligible::Constraint { constraint: "node.role==worker".into() }, "does not meet node.role==worker");
    check(Ineligible::Platform { found: "linux/x86_64".into() }, "runs linux/x86_64, which the image is not for");
    check(Ineligible::HostPort { port: 8080 }, "has port 8080 taken");
    check(Ineligible::ReplicasPerNode { max: 2 }, "holds 2 of the service's tasks, the most that it may");
    let needed = Resources { nano_cpus: 1_500_000_000, memory_bytes: 2 << 30 };
    let free = Resources { nano_cpus: 250_000_000, memory_bytes: 512 << 20 };
    check(
        Ineligible::NoRoom { needed, free },
        "has 0.25 cores and 512 MiB free, and the task reserves 1.50 cores and 2048 MiB",
    );
    check(Ineligible::HoldsTask, "runs a task of the service already");
    check(Ineligible::InFlight { max: 1 }, "has as many actions under way as it may, 1");
    check(Ineligible::KeptOut, "is kept out by its label swarmguard.target=false");
    check(Ineligible::Silent { seconds: Some(20) }, "has an agent that has been silent for 20 s");
    check(Ineligible::Silent { seconds: None }, "has no agent");
    check(Ineligible::MemoryFull { percent: 94.6 }, "has 95 % of its memory in use");
}

#[test]
fn what_matches_no_scenario_says_what_stands_between() {
    let check = |unclear: Unclear, expected: &str| {
        assert_eq!(Withheld::Between { unclear }.to_string(), format!("no scenario matches: {expected}"));
    };
    check(
        Unclear::Network { percent: 50.0, low_below: 35.0, high_above: 65.0 },
        "network is at 50 %, neither below 35 nor above 65",
    );
    let cpu = Used { percent: Some(70.0), high_above: 75.0 };
    let memory = Used { percent: None, high_above: 80.0 };
    check(
        Unclear::NotSick { percent: 5.0, cpu, memory },
        "network is low (5 %), and by scenario 1 neither CPU (70 %, high above 75) nor memory (unknown, high above 80) is high",
    );
    check(
        Unclear::NotBusy { percent: 70.0, cpu: Used { percent: Some(95.0), ..cpu }, memory },
        "network is high (70 %), and by scenario 2 not both CPU (95 %, high above 75) and memory (unknown, high above 80) are \
         high",
    );
    check(
        Unclear::NetworkUnknown,
        "the network's use is not known (give agents --link-mbps where the kernel tells no speed)",
    );
}

#[test]
fn what_is_only_observed_says_why() {
    let check = |because: Observed, expected: &str| assert_eq!(because.to_string(), expected);
    let quiet = |quiet| Observed::Quiet { quiet };
    let paused =
        |all, seconds_left, why: Option<&str>| quiet(Quiet::Paused { all, seconds_left, why: why.map(str::to_owned) });
    check(Observed::NotEnabled, "its owner has not set the label swarmguard.enable=true");
    check(Observed::Mode, "its label swarmguard.mode has it observed only");
    check(quiet(Quiet::Hours { until: at(NOW), seconds_left: 600 }), "these are quiet hours, for 10 min more");
    check(paused(true, None, None), "everything is paused");
    check(paused(false, Some(60), Some("release")), "it is paused for 60 s more (release)");
    let elsewhere = Leader::Elsewhere { node: Name::new("b") };
    check(Observed::Standby { leader: elsewhere }, "b leads the Swarm, and the collector there acts");
    check(Observed::Standby { leader: Leader::Unknown }, "it is not known which manager leads the Swarm");
    let problem = |label: &str| LabelProblem { label: label.into(), found: "x".into(), allowed: "a number".into() };
    check(
        Observed::Labels { problems: vec![problem("min"), problem("max")] },
        "its labels cannot be followed (label min is \"x\": expected a number; label max is \"x\": expected a number)",
    );
}

#[test]
fn a_decision_is_told_in_a_line() {
    let check = |load: Load, change: fn(&mut World), expected: &str| {
        let mut world = World::new();
        for second in NOW - 180..=NOW {
            [1, 2].into_iter().for_each(|number| world.sample(number, second, second, load));
        }
        change(&mut world);
        assert_eq!(world.plan().remove(0).to_string(), expected);
    };
    check(SICK, |_| (), "move it off a: CPU is at 95 %, memory at 10 %, network at 5 %");
    check(BUSY, |_| (), "go from 2 to 3 replicas: CPU is at 95 %, memory at 90 %, network at 80 %");
    check(
        CALM,
        |world| world.service().scaled = Some(Scaled { from: 1, to: 2, by: "before".to_owned() }),
        "go from 2 to 1 replicas; of its busiest CPU is at 10 %, memory at 10 %, network at 5 %",
    );
    check(
        SICK,
        |world| world.service().labels = labels(&[]),
        "observed only (its owner has not set the label swarmguard.enable=true): would move it off a: CPU is at 95 %, memory at 10 %, \
         network at 5 %",
    );
    check(BUSY, |world| world.policy.scaling.max_replicas = 2, "nothing is done: it has 2 replicas, its maximum");
}

#[test]
fn what_the_checks_hold_back_says_which_promise_it_would_break() {
    let check = |violation: Violation, expected: &str| {
        let withheld = Withheld::HeldBack { planned: "move it off a".into(), promise: violation.to_string() };
        let error = "what was planned would break a promise, which is an error of SwarmGuard's";
        assert_eq!(withheld.to_string(), format!("{error}: {expected} (planned: move it off a)"));
    };
    check(Violation::Stale, "the Swarm's state is unknown or stale");
    check(Violation::Standby, "the manager beside this collector does not lead the Swarm");
    check(Violation::NoService, "the service does not exist");
    check(Violation::NotEnabled, "the service is not enabled");
    check(Violation::Quiet, "the service is paused, or it is a quiet hour");
    check(Violation::Version { planned: 5, found: 6 }, "the action rests on version 5, the service has 6");
    check(Violation::Concurrent, "another action on the service is under way");
    check(
        Violation::TooMany { in_flight: 2, within_hour: 9 },
        "2 actions are under way and 9 have begun within an hour, and one more is too many",
    );
    check(Violation::UpdateInProgress, "an update of the service is not over");
    check(Violation::NotReplicated, "the service is not replicated");
    check(Violation::Below { running: 1, wanted: 2 }, "1 of 2 replicas run");
    check(
        Violation::Replicas { from: 2, to: 4, found: 3, min: 1, max: 10 },
        "it would go from 2 to 4 replicas, where it has 3 and 1 to 10 are allowed",
    );
    check(Violation::Source, "the node to leave would not be left");
    check(Violation::Target { node: node_id("c") }, "node c cannot be the target");
    check(Violation::Bystander { node: node_id("c") }, "excluding node c would move a task that is not to move");
    check(Violation::NoPlacement, "the service's spec has no placement, and could not be put back");
    check(Violation::Reserve, "the replica is not one that was added, and the owner chose no minimum");
    check(
        Violation::WithoutPorts,
        "some replicas run without the ports that others have, and Swarm could keep just those",
    );
    check(Violation::LocalStorage, "the service's data stays on its node");
}
