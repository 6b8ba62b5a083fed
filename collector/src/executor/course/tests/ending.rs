//! When an action is ended, and what is told of one that has.

use super::*;

#[test]
fn what_ended_with_an_update_that_got_no_answer_is_told_as_it_ended() {
    let unheard = || vec![(1, tasks("BC")), (1, updated(unanswered())), (1, Answer::Paused), (1, tasks("BC"))];
    let ends = ["tasks", "end", "pause", "tasks", "end"];
    let check = |last: Answer, expected: &str| {
        let answers = unheard().into_iter().chain([(2, last)]).collect();
        check(taken_over(migrate()), answers, &[&ends[..], &[expected]].concat());
    };
    check(updated(SwarmError::Superseded), "completed");
    check(updated(SwarmError::Gone), "superseded");
    check(Answer::Updated(Ok(())), "completed");
}

#[test]
fn what_did_not_end_and_was_changed_by_somebody_is_told_so_though_an_answer_was_lost() {
    // It is watched on, since by now a replacement starts; then the mark is gone, or still there at first.
    let unheard = || vec![(1, tasks("BC")), (1, updated(unanswered())), (1, Answer::Paused), (1, tasks("BCd"))];
    let watched = ["tasks", "end", "pause", "tasks", "pause"];
    let check_after = |answers: Vec<(u64, Answer)>, expected: &[&str]| {
        check(
            taken_over(migrate()),
            unheard().into_iter().chain(answers).collect(),
            &[&watched[..], expected].concat(),
        );
    };
    let gone = || Answer::Mark(Ok(None));
    let looks = |second: u64| (0..LOOKS_PER_MARK).flat_map(move |_| [(second, Answer::Paused), (second, tasks("BCd"))]);
    let until_mark = ["tasks", "pause"].repeat(9).into_iter().chain(["tasks", "mark"]).collect::<Vec<_>>();
    check_after(looks(2).chain([(2, gone())]).collect(), &[&until_mark[..], &["completed"]].concat());
    let still_there = looks(2).chain([(2, found("ours", false))]).chain(looks(3)).chain([(3, gone())]).collect();
    check_after(still_there, &[&until_mark[..], &["pause"], &until_mark[..], &["superseded"]].concat());
    // A refusal is an answer, and one to a question before the update says nothing of that.
    let refused = RawError::Refused { status: 500, message: String::new() };
    let asked = SwarmError::Raw { what: "inspecting the service", source: RawError::Timeout };
    for error in [SwarmError::Raw { what: "updating the service", source: refused }, asked] {
        let answers = vec![(1, tasks("BC")), (1, updated(error)), (1, Answer::Paused), (1, tasks("BC"))];
        let answers = answers.into_iter().chain([(2, updated(SwarmError::Superseded))]).collect();
        check(taken_over(migrate()), answers, &["tasks", "end", "pause", "tasks", "end", "superseded"]);
    }
}

#[test]
fn where_what_was_moved_came_to_run_is_told_also_where_that_was_not_planned() {
    let check = |nodes: [(&str, u64); 2], expected: Option<&str>| {
        let found = nodes.map(|(node, since)| {
            let (id, task) = task(node, TaskState::Running, true);
            (id, Task { running_since: (since > 0).then(|| at(since)), ..task })
        });
        let mut mark = migrate();
        mark.times.t4 = Some(at(5));
        let (mut course, _) = taken_over(mark);
        let end = course.next(Answer::Tasks(Ok(found.to_vec())), at(1));
        let Step::Done(ended) = course.next(Answer::Updated(Ok(())), at(1)) else { panic!("{end:?}") };
        assert_eq!(ended.reached, expected.map(|node| node.parse().unwrap()), "{nodes:?}");
    };
    check([("b", 9), ("c", 3)], Some("c"));
    check([("b", 3), ("d", 9)], Some("d"));
    check([("b", 9), ("d", 9)], None);
    check([("b", 3), ("d", 0)], None);
}

#[test]
fn a_move_is_over_once_what_fails_again_and_again_beside_it_begins_to_rest() {
    let resting = |second| {
        let resting = Task { desired_gone: false, ..task("c", TaskState::Starting, false).1 };
        let moved = [task("b", TaskState::Running, true), task("c", TaskState::Running, true)];
        (second, Answer::Tasks(Ok([moved.to_vec(), vec![("tr".parse().unwrap(), resting)]].concat())))
    };
    let fails = || vec![(61, tasks("BCc")), (61, found("ours", false)), (61, Answer::Paused)];
    let answers = fails().into_iter().chain([resting(61), (61, Answer::Updated(Ok(())))]).collect();
    check(taken_over(migrate()), answers, &["tasks", "mark", "pause", "tasks", "end", "completed"]);
    // Somebody else's update may want the healthy one replaced, though they have changed something else since.
    let looks = (0..LOOKS_PER_MARK).flat_map(|_| [(61, Answer::Paused), (61, tasks("BCc"))]);
    let label = Marked { mark: migrate(), changed: true, rolls_out: false };
    let theirs = [(61, tasks("BCc")), (61, found("ours", true))].into_iter().chain(looks);
    let last = [(61, Answer::Mark(Ok(Some(Box::new(label))))), (61, Answer::Paused), resting(61)];
    let steps = ["tasks", "mark", "pause"].into_iter().chain(["tasks", "pause"].repeat(9)).chain(["tasks", "mark"]);
    let steps = steps.chain(["pause", "tasks", "pause"]).collect::<Vec<_>>();
    check(taken_over(migrate()), theirs.chain(last).collect(), &steps);
    // By now it may start at any moment.
    let answers = fails().into_iter().chain([resting(64)]).collect();
    check(taken_over(migrate()), answers, &["tasks", "mark", "pause", "tasks", "pause"]);
}

#[test]
fn a_move_ends_though_a_task_of_somebodys_update_has_no_node_only_while_its_constraints_may_be_why() {
    let check_with = |added: &[&str], expected: &str| {
        let (source, target) = ("a".parse().unwrap(), "c".parse().unwrap());
        let added = added.iter().map(|constraint| (*constraint).to_owned()).collect();
        let moving = mark(Change::Migrate { source, target, added });
        let waits = || {
            let waiting = Task { node: None, ..task("x", TaskState::Starting, true).1 };
            let Answer::Tasks(Ok(mut found)) = tasks("AB") else { panic!() };
            found.push(("tx".parse().unwrap(), waiting));
            Answer::Tasks(Ok(found))
        };
        let answers = vec![(1, waits()), (1, found("ours", true)), (1, Answer::Paused), (62, waits()), (62, waits())];
        check(taken_over(moving), answers, &["tasks", "mark", "pause", "tasks", "tasks", expected]);
    };
    check_with(&["node.id!=a"], "revert");
    check_with(&[], "unfinished");
}

#[test]
fn a_scaling_is_not_ended_while_a_task_of_somebodys_update_has_no_node() {
    let without_node = |slot: u64| {
        let waiting = Task { node: None, ..task("x", TaskState::Starting, true).1 };
        (format!("x{slot}").parse().unwrap(), Task { slot: Some(slot), ..waiting })
    };
    let seen = |nodes: &str, waiting: &[u64]| {
        let Answer::Tasks(Ok(mut found)) = in_slots(tasks(nodes), &[1, 2, 3]) else { panic!("{nodes}") };
        found.extend(waiting.iter().map(|slot| without_node(*slot)));
        Answer::Tasks(Ok(found))
    };
    let check_late = |change: Change, nodes: &str, waiting: &[u64], expected: &[&str]| {
        let late = DEADLINE.as_secs() + 2;
        let rolls_out = [(0, seen("", waiting)), (0, found("ours", true)), (0, Answer::Paused)];
        let looks = [(late, seen(nodes, waiting)), (late, seen(nodes, waiting))];
        let steps = [&["tasks", "mark", "pause", "tasks"], expected].concat();
        let answers = rolls_out.into_iter().chain(looks).take(steps.len() - 1).collect();
        check(taken_over(mark(change)), answers, &steps);
    };
    let (up, down) = (|| Change::ScaleUp { to: 3 }, || Change::ScaleDown { to: 2 });
    // Beside a healthy task, for which Swarm would keep it; and in place of one, which the next step would not wait for.
    check_late(up(), "ABC", &[1], &["pause"]);
    check_late(up(), "AB", &[1], &["tasks", "unfinished"]);
    check_late(up(), "A", &[2, 3], &["tasks", "unfinished"]);
    check_late(down(), "AB", &[1], &["tasks", "unfinished"]);
    check_late(down(), "B", &[1], &["tasks", "unfinished"]);
    // One replica has none, and goes.
    check_late(up(), "AB", &[3], &["tasks", "revert"]);
}
