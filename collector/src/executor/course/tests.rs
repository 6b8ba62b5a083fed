//! The steps of an action, answer by answer.

mod backing_out;
mod ending;
mod redo;
mod theirs;
mod unreached;

use swarmguard_planner::facts::TaskState;
use swarmguard_planner::plan::{Candidates, Scale, Trigger, WhyScale};
use swarmguard_wire::Name;

use super::watching::LOOKS_PER_MARK;
use super::*;
use crate::journal::TimeLine;
use crate::swarm::docker::RawError;
use crate::swarm::mark::{Change, MARK_VERSION, Marked, Original};

const DEADLINE: Duration = Duration::from_secs(60);

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn mark(change: Change) -> Mark {
    let times = TimeLine::default();
    Mark {
        v: MARK_VERSION,
        id: "ours".into(),
        times,
        replicas: 2,
        scaled_from: None,
        publishes: true,
        remade: 0,
        change,
        original: Original::default(),
    }
}

fn migrate() -> Mark {
    let (source, target) = ("a".parse().unwrap(), "c".parse().unwrap());
    mark(Change::Migrate { source, target, added: vec!["node.id!=a".into()] })
}

fn task(node: &str, state: TaskState, desired_running: bool) -> (TaskId, Task) {
    let task = Task {
        node: node.parse().ok(),
        slot: None,
        state,
        running_since: None,
        desired_running,
        desired_gone: !desired_running,
        container: None,
        accepted: true,
        publishes: true,
    };
    (format!("t{node}").parse().unwrap(), task)
}

/// Tasks by their nodes: in capitals running, else starting.
fn tasks(nodes: &str) -> Answer {
    let state = |node: char| if node.is_uppercase() { TaskState::Running } else { TaskState::Starting };
    Answer::Tasks(Ok(nodes.chars().map(|node| task(&node.to_lowercase().to_string(), state(node), true)).collect()))
}

fn found(id: &str, changed: bool) -> Answer {
    Answer::Mark(Ok(Some(Box::new(Marked { mark: Mark { id: id.into(), ..migrate() }, changed, rolls_out: changed }))))
}

fn updated(error: SwarmError) -> Answer {
    Answer::Updated(Err(error))
}

fn unanswered() -> SwarmError {
    SwarmError::Raw { what: "updating the service", source: RawError::Timeout }
}

fn name(step: &Step) -> String {
    match step {
        Step::Begin { .. } => "begin".into(),
        Step::ReadMark => "mark".into(),
        Step::ReadTasks => "tasks".into(),
        Step::ReadNode(_) => "node".into(),
        Step::End(end) => if end.revert { "revert" } else { "end" }.into(),
        Step::BackOut { nodes, .. } if nodes.is_empty() => "back out of nothing".into(),
        Step::BackOut { nodes, .. } => {
            format!("back out of {}", nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(" and "))
        }
        Step::Pause(_) => "pause".into(),
        Step::Done(ended) => ended.state.as_str().into(),
    }
}

/// The steps that follow these answers, each asked for and given at its second.
fn check((mut course, first): (Course, Step), answers: Vec<(u64, Answer)>, expected: &[&str]) {
    let mut steps = vec![name(&first)];
    for (second, answer) in answers {
        course.asked_at = Some(at(second));
        steps.push(name(&course.next(answer, at(second))));
    }
    assert_eq!(steps, expected);
}

#[test]
fn tasks_that_were_read_before_a_long_sleep_are_no_ground_to_take_anything_back_on() {
    let (mut course, first) = taken_over(migrate());
    assert_eq!(name(&first), "tasks");
    let late = DEADLINE.as_secs() + 10;
    assert_eq!(name(&course.next(tasks("AB"), at(late))), "unfinished", "asked for at 0, answered {late} s later");
}

fn taken_over(mark: Mark) -> (Course, Step) {
    Course::take_over(mark, DEADLINE, at(0))
}

fn begun() -> (Course, Step) {
    let trigger = Trigger {
        service: "web".parse().unwrap(),
        service_name: Name::new("web"),
        version: 1,
        has_healthcheck: None,
        container: swarmguard_wire::ContainerId::new([1; 32]),
        cpu_percent: None,
        memory_percent: None,
        network_percent: None,
        breach_at: at(0),
        sent_at: at(0),
        received_at: at(0),
    };
    let action = Action::ScaleUp(Scale { trigger, from: 2, to: 3, why: WhyScale::Busy(Candidates::default()) });
    Course::begin(action, mark(Change::ScaleUp { to: 3 }), DEADLINE)
}

#[test]
fn an_action_is_begun_watched_and_ended() {
    let answers = vec![
        (0, Answer::Updated(Ok(()))),
        (0, tasks("AB")),
        (0, found("ours", false)),
        (1, Answer::Paused),
        (1, tasks("ABC")),
        (1, Answer::Updated(Ok(()))),
    ];
    check(begun(), answers, &["begin", "tasks", "mark", "pause", "tasks", "end", "completed"]);
}

#[test]
fn an_update_without_an_answer_is_looked_for() {
    check(begun(), vec![(0, updated(SwarmError::Gone))], &["begin", "refused"]);
    check(begun(), vec![(0, updated(unanswered())), (0, found("ours", false))], &["begin", "mark", "tasks"]);
    check(begun(), vec![(0, updated(unanswered())), (0, Answer::Mark(Ok(None)))], &["begin", "mark", "refused"]);
    let unknown = |second| (second, Answer::Mark(Err(unanswered())));
    let silent = || vec![(0, updated(unanswered())), unknown(0), (1, Answer::Paused)];
    let known = silent().into_iter().chain([(30, found("ours", false))]).collect();
    check(begun(), known, &["begin", "mark", "pause", "mark", "tasks"]);
    let never = silent().into_iter().chain([unknown(31)]).collect();
    check(begun(), never, &["begin", "mark", "pause", "mark", "unfinished"]);
}

#[test]
fn a_replacement_that_does_not_run_in_time_is_backed_out_of_before_the_spec_comes_back() {
    let answers = vec![
        (61, tasks("ABc")),
        (61, Answer::Updated(Ok(()))),
        (61, tasks("ABc")),
        (62, Answer::Paused),
        (62, tasks("AB")),
        (62, tasks("AB")),
        (62, Answer::Updated(Ok(()))),
    ];
    let steps = ["tasks", "back out of c", "tasks", "pause", "tasks", "tasks", "revert", "reverted"];
    check(taken_over(migrate()), answers, &steps);
    let stays = vec![(61, tasks("ABc")), (61, Answer::Updated(Ok(()))), (121, tasks("ABc"))];
    check(taken_over(migrate()), stays, &["tasks", "back out of c", "tasks", "unfinished"]);
}

#[test]
fn what_has_no_node_yet_is_taken_back_by_the_spec_alone_unless_it_gets_one() {
    check(taken_over(migrate()), vec![(61, tasks("AB")), (61, tasks("AB"))], &["tasks", "tasks", "revert"]);
    check(taken_over(migrate()), vec![(61, tasks("AB")), (61, tasks("ABc"))], &["tasks", "tasks", "unfinished"]);
}

#[test]
fn a_move_that_cannot_be_taken_back_safely_goes_on() {
    check(taken_over(migrate()), vec![(82, tasks("ABb"))], &["tasks", "unfinished"]);
    let scale_up = mark(Change::ScaleUp { to: 3 });
    let left = vec![(61, tasks("ABc")), (61, Answer::Updated(Ok(())))];
    check(taken_over(scale_up), left, &["tasks", "end", "left"]);
}

/// Held back by Swarm for a while, since the one before it failed.
fn resting(second: u64) -> (u64, Answer) {
    let resting = Task { desired_gone: false, ..task("b", TaskState::Starting, false).1 };
    let healthy = [task("a", TaskState::Running, true), task("b", TaskState::Running, true)];
    (second, Answer::Tasks(Ok([healthy.to_vec(), vec![("tr".parse().unwrap(), resting)]].concat())))
}

#[test]
fn what_fails_again_and_again_is_taken_back_once_it_begins_to_rest() {
    let check_after = |more: Vec<(u64, Answer)>, steps: &[&str]| {
        let fails = [(61, tasks("ABb")), (61, found("ours", false)), (61, Answer::Paused)];
        let answers = fails.into_iter().chain(more).collect();
        check(taken_over(migrate()), answers, &[&["tasks", "mark", "pause", "tasks"], steps].concat());
    };
    check_after(vec![resting(61), resting(61)], &["tasks", "revert"]);
    // It may have rested for long: where nobody looked, or while the manager did not answer.
    check_after(vec![resting(64)], &["pause"]);
    let silent = (63, Answer::Tasks(Err(unanswered())));
    check_after(
        vec![resting(61), silent, (63, Answer::Paused), resting(63)],
        &["tasks", "pause", "tasks", "unfinished"],
    );
}

#[test]
fn a_replica_that_rests_is_left_to_swarm() {
    let answers = vec![(60, tasks("ABb")), (60, found("ours", false)), (60, Answer::Paused), resting(61)];
    check(taken_over(mark(Change::ScaleUp { to: 3 })), answers, &["tasks", "mark", "pause", "tasks", "end"]);
}

#[test]
fn a_move_is_over_though_another_replica_does_not_run() {
    let answers = vec![(61, tasks("C")), (61, Answer::Updated(Ok(())))];
    check(taken_over(migrate()), answers, &["tasks", "end", "completed"]);
    check(taken_over(migrate()), vec![(59, tasks("C"))], &["tasks", "mark"]);
    check(taken_over(migrate()), vec![(61, tasks("B"))], &["tasks", "tasks"]);
}

#[test]
fn where_backing_out_is_tried_again_the_tasks_are_looked_at_again() {
    let raced = || updated(SwarmError::Version { planned: 1, found: None });
    let answers = vec![(61, tasks("ABc")), (61, raced()), (61, Answer::Paused), (61, tasks("ABd"))];
    check(taken_over(migrate()), answers, &["tasks", "back out of c", "pause", "tasks", "back out of d"]);
    let gone = vec![(61, tasks("ABc")), (61, raced()), (61, Answer::Paused), (61, tasks("AB")), (61, tasks("AB"))];
    check(taken_over(migrate()), gone, &["tasks", "back out of c", "pause", "tasks", "tasks", "revert"]);
}

#[test]
fn backing_out_without_an_answer_is_looked_for_before_the_tasks_are_judged() {
    let begun = || {
        let late = (61, in_slots(tasks("ABc"), &[1, 2, 1]));
        vec![late, (61, updated(unanswered())), (61, Answer::Paused)]
    };
    let looks = ["tasks", "back out of c", "pause", "mark"];
    let off = |node: &str| {
        let Answer::Mark(Ok(Some(mut found))) = found("ours", false) else { return Answer::Paused };
        found.mark.keep_off(&[node.parse().unwrap()], 0);
        Answer::Mark(Ok(Some(found)))
    };
    let check = |answers: Vec<(u64, Answer)>, expected: &[&str]| {
        check(taken_over(migrate()), begun().into_iter().chain(answers).collect(), &[&looks[..], expected].concat());
    };
    // It was taken: what starts on the source by now is in the way as anywhere.
    let on_source = || (62, in_slots(tasks("aBC"), &[2, 2, 1]));
    check(vec![(61, off("c")), on_source()], &["tasks", "pause"]);
    check(vec![(61, off("a")), (62, in_slots(tasks("ABd"), &[1, 2, 1]))], &["tasks", "back out of d"]);
    check(vec![(61, Answer::Mark(Err(unanswered()))), (61, Answer::Paused)], &["pause", "mark"]);
    check(vec![(99, Answer::Mark(Err(unanswered())))], &["unfinished"]);
    check(vec![(61, Answer::Mark(Ok(None)))], &["superseded"]);
}

#[test]
fn a_move_that_is_decided_stands_though_the_old_task_takes_its_time() {
    let leaving = |second| {
        let old = task("a", TaskState::Running, false);
        let new = [task("b", TaskState::Running, true), task("c", TaskState::Running, true)];
        (second, Answer::Tasks(Ok([vec![old], new.to_vec()].concat())))
    };
    check(taken_over(migrate()), vec![leaving(1)], &["tasks", "mark"]);
    check(taken_over(migrate()), vec![leaving(61)], &["tasks", "end"]);
    // Where Swarm does not hear from its node, as after an election, it is not waited for.
    for (is_heard, last) in [(false, "end"), (true, "pause")] {
        let mut answers = vec![leaving(1), (1, found("ours", false)), (1, Answer::Paused)];
        answers.extend((0..9).flat_map(|_| [leaving(4), (4, Answer::Paused)]));
        answers.extend([leaving(4), (4, Answer::Node(Ok(is_heard))), (4, found("ours", false)), (4, Answer::Paused)]);
        answers.push(leaving(5));
        let waits = [vec!["tasks", "mark", "pause"], ["tasks", "pause"].repeat(9)].concat();
        check(
            taken_over(migrate()),
            answers,
            &[&waits[..], &["tasks", "node", "mark", "pause", "tasks", last]].concat(),
        );
    }
}

#[test]
fn a_move_is_not_ended_while_swarm_replaces_a_healthy_task_elsewhere() {
    let answers = vec![(1, tasks("BCd")), (1, found("ours", false)), (2, Answer::Paused), (2, tasks("BD"))];
    check(taken_over(migrate()), answers, &["tasks", "mark", "pause", "tasks", "end"]);
    // It is through: nothing of it is taken back, however long Swarm takes.
    check(taken_over(migrate()), vec![(61, tasks("BCd"))], &["tasks", "mark"]);
    check(taken_over(migrate()), vec![(82, tasks("BCd"))], &["tasks", "unfinished"]);
    let raced = updated(SwarmError::Version { planned: 1, found: None });
    let answers = vec![(1, tasks("BC")), (1, raced), (1, Answer::Paused), (1, tasks("BCd")), (1, Answer::Paused)];
    check(taken_over(migrate()), answers, &["tasks", "end", "pause", "tasks", "pause", "tasks"]);
}

/// The same tasks, each in its slot.
fn in_slots(answer: Answer, slots: &[u64]) -> Answer {
    let Answer::Tasks(Ok(mut found)) = answer else { return answer };
    found.iter_mut().zip(slots).for_each(|((_, task), slot)| task.slot = Some(*slot));
    Answer::Tasks(Ok(found))
}

/// The same tasks, and one in this slot that has no node.
fn and_one_waits(answer: Answer, slot: u64) -> Answer {
    let Answer::Tasks(Ok(mut found)) = answer else { return answer };
    let waiting = Task { node: None, slot: Some(slot), ..task("x", TaskState::Starting, true).1 };
    found.push(("tx".parse().unwrap(), waiting));
    Answer::Tasks(Ok(found))
}

/// As [`tasks`]; the one on this node has no ports.
fn without_ports_on(node: &str, nodes: &str) -> Answer {
    let Answer::Tasks(Ok(mut found)) = tasks(nodes) else { return Answer::Paused };
    let there = found.iter_mut().filter(|(_, task)| task.node.as_ref().is_some_and(|it| it.as_str() == node));
    there.for_each(|(_, task)| task.publishes = false);
    Answer::Tasks(Ok(found))
}

#[test]
fn nothing_is_changed_once_another_collector_may_be_the_one_to_act() {
    let (_, begin) = begun();
    let end = Step::End(End { revert: false, during_rollout: false, with_more: false });
    let back_out = Step::BackOut { nodes: Vec::new(), remade: 0 };
    for step in [&begin, &end, &back_out] {
        assert!(step.is_late(at(1), at(2)) && !step.is_late(at(2), at(2)), "{step:?}");
    }
    let looks = [Step::ReadMark, Step::ReadTasks, Step::Pause(DEADLINE)];
    assert!(!looks.iter().any(|step| step.is_late(at(1), at(2))));
}

#[test]
fn a_manager_that_is_silent_for_a_whole_deadline_leaves_it_unfinished() {
    let silent = |second| (second, Answer::Tasks(Err(unanswered())));
    let answers = vec![silent(10), (10, Answer::Mark(Err(unanswered()))), (11, Answer::Paused), silent(61)];
    check(taken_over(migrate()), answers, &["tasks", "mark", "pause", "tasks", "unfinished"]);
}

#[test]
fn the_spec_is_put_back_against_lost_races_for_half_a_minute() {
    let raced = || updated(SwarmError::Version { planned: 1, found: None });
    let again = vec![(1, tasks("BC")), (1, raced()), (1, Answer::Paused), (31, tasks("BC")), (32, raced())];
    check(taken_over(migrate()), again, &["tasks", "end", "pause", "tasks", "end", "unfinished"]);
    let superseded = vec![(1, tasks("BC")), (1, updated(SwarmError::Superseded))];
    check(taken_over(migrate()), superseded, &["tasks", "end", "superseded"]);
}
