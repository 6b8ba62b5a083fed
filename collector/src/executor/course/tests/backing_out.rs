//! Of what nobody reaches while a move is backed out of.

use super::*;

#[test]
fn what_came_instead_without_ports_is_made_anew_though_what_was_to_go_is_still_there() {
    let on_both = || {
        let Answer::Tasks(Ok(mut found)) = in_slots(tasks("BCA"), &[1, 2, 2]) else { return Answer::Paused };
        found[1..].iter_mut().for_each(|(_, task)| task.publishes = false);
        Answer::Tasks(Ok(found))
    };
    let mut mark = migrate();
    mark.keep_off(&["c".parse().unwrap()], 0);
    let on_c = || in_slots(without_ports_on("c", "BC"), &[1, 2]);
    let mut answers = vec![(81, on_c()), (81, Answer::Updated(Ok(())))];
    answers.extend([(90, on_both()), (90, Answer::Paused), (91, on_both())]);
    check(taken_over(mark), answers, &["tasks", "back out of c", "tasks", "pause", "tasks", "back out of a and c"]);
}

#[test]
fn what_nobody_reaches_goes_though_a_healthy_one_on_its_node_is_moved_with_it() {
    let added = vec!["node.id!=c".into(), "node.id!=d".into()];
    let kept_off = || Mark {
        change: Change::Migrate { source: "a".parse().unwrap(), target: "c".parse().unwrap(), added: added.clone() },
        ..migrate()
    };
    let with_another = |nodes: &str, slots: &[u64]| {
        let Answer::Tasks(Ok(mut found)) = in_slots(without_ports_on("c", nodes), slots) else { return Answer::Paused };
        let (id, mut other) = task("c", TaskState::Running, true);
        other.slot = Some(1);
        found.push((id, other));
        Answer::Tasks(Ok(found))
    };
    let check =
        |answer: Answer, expected: &str| check(taken_over(kept_off()), vec![(81, answer)], &["tasks", expected]);
    check(with_another("AC", &[2, 2]), "back out of c");
    // What starts beside a healthy one could be kept for it.
    check(with_another("ACd", &[2, 2, 1]), "unfinished");
    check(in_slots(without_ports_on("c", "AEeC"), &[1, 3, 1, 2]), "unfinished");
}

#[test]
fn swarm_is_told_again_where_it_does_not_replace_what_nobody_reaches_beside_a_healthy_one() {
    let told = |remade: u32| {
        let mut mark = migrate();
        mark.keep_off(&["c".parse().unwrap()], remade);
        let (mut course, _) = taken_over(mark);
        let Answer::Tasks(Ok(mut found)) = in_slots(without_ports_on("c", "ABC"), &[1, 2, 2]) else { return None };
        let (_, mut waiting) = task("", TaskState::Starting, true);
        waiting.slot = Some(2);
        found.push(("waiting".parse().unwrap(), waiting));
        course.asked_at = Some(at(81));
        let Step::BackOut { nodes, remade } = course.next(Answer::Tasks(Ok(found)), at(81)) else { return None };
        Some((nodes.len(), remade))
    };
    assert_eq!([0, 3, 4].map(told), [Some((1, 1)), Some((1, 4)), Some((1, 4))], "not for ever");
}

#[test]
fn where_a_replacement_failed_on_the_way_and_runs_beside_what_nobody_reaches_swarm_is_told_again() {
    let seen = |nodes: &str, is_waiting: bool| {
        let slots = vec![2; nodes.len()];
        let Answer::Tasks(Ok(mut found)) = in_slots(without_ports_on("c", nodes), &slots) else {
            return Answer::Paused;
        };
        let waiting = Task { node: None, slot: Some(2), ..task("x", TaskState::Starting, true).1 };
        found.extend(is_waiting.then_some(("tx".parse().unwrap(), waiting)));
        Answer::Tasks(Ok(found))
    };
    let taken = || Answer::Updated(Ok(()));
    // Where nothing waits beside them it may be the owner's pause between two replacements.
    for (is_waiting, early, late) in [(true, 69, 71), (false, 79, 81)] {
        let mut mark = migrate();
        mark.keep_off(&["a".parse().unwrap(), "c".parse().unwrap()], 0);
        let mut answers = vec![(1, seen("C", is_waiting)), (1, found("ours", false)), (1, Answer::Paused)];
        answers.extend([
            (61, seen("C", is_waiting)),
            (61, taken()),
            (65, seen("Ca", is_waiting)),
            (65, Answer::Paused),
        ]);
        answers.extend([(early, seen("CA", is_waiting)), (early, Answer::Paused), (late, seen("CA", is_waiting))]);
        answers.extend([(late, taken()), (late, tasks("A")), (late, tasks("A")), (late, taken())]);
        let first = ["tasks", "mark", "pause", "tasks", "back out of c", "tasks", "pause", "tasks", "pause", "tasks"];
        let then = ["back out of c", "tasks", "tasks", "revert", "reverted"];
        check(taken_over(Mark { replicas: 1, ..mark }), answers, &[&first[..], &then].concat());
    }
}

#[test]
fn where_no_node_is_left_swarm_is_told_of_no_more_nodes_than_it_must() {
    let mut mark = migrate();
    mark.keep_off(&["b".parse().unwrap(), "c".parse().unwrap()], 0);
    let seen = |slots: &[u64], unreached: usize, waits_in| {
        let Answer::Tasks(Ok(mut found)) = and_one_waits(in_slots(tasks("BCCD"), slots), waits_in) else {
            return Answer::Paused;
        };
        found[unreached..2].iter_mut().for_each(|(_, task)| task.publishes = false);
        Answer::Tasks(Ok(found))
    };
    let check = |slots: &[u64], then: usize, waits_in, raced: bool| {
        let begun = || seen(slots, 0, waits_in);
        let told = [(1, begun()), (1, found("ours", false)), (1, Answer::Paused), (81, begun())];
        let later = || seen(slots, then, waits_in);
        let again = [(81, Answer::Updated(Ok(()))), (85, later()), (85, Answer::Paused), (102, later())];
        let lost = updated(SwarmError::Version { planned: 1, found: None });
        let race = [(102, lost), (102, Answer::Paused), (102, later())].into_iter().take(if raced { 3 } else { 0 });
        let steps =
            ["tasks", "mark", "pause", "tasks", "back out of b and c", "tasks", "pause", "tasks", "back out of c"];
        let retried = if raced { &["pause", "tasks", "back out of c"][..] } else { &[] };
        check(
            taken_over(mark.clone()),
            told.into_iter().chain(again).chain(race).collect(),
            &[&steps, retried].concat(),
        );
    };
    for raced in [false, true] {
        // On `b` it stands alone; on `c` another runs in its place, on `d`.
        check(&[1, 2, 3, 2], 0, 1, raced);
        // On `b` it is gone, and what is healthy on `d` is not to go.
        check(&[1, 2, 3, 4], 1, 4, raced);
    }
}

#[test]
fn what_has_come_to_have_a_node_since_swarm_could_not_be_told_is_kept_off_too() {
    let mut mark = migrate();
    mark.keep_off(&["b".parse().unwrap(), "c".parse().unwrap()], 0);
    let seen = |more: Option<(TaskId, Task)>| {
        let Answer::Tasks(Ok(mut found)) = and_one_waits(in_slots(tasks("BCD"), &[1, 2, 2]), 1) else {
            return Answer::Paused;
        };
        found[..2].iter_mut().for_each(|(_, task)| task.publishes = false);
        found.extend(more);
        Answer::Tasks(Ok(found))
    };
    let placed = Task { slot: Some(2), ..task("e", TaskState::Starting, true).1 };
    let lost = updated(SwarmError::Version { planned: 1, found: None });
    let begun = [(1, seen(None)), (1, found("ours", false)), (1, Answer::Paused), (81, seen(None))];
    let told = [(81, Answer::Updated(Ok(()))), (102, seen(None)), (102, lost), (102, Answer::Paused)];
    let answers = begun.into_iter().chain(told).chain([(102, seen(Some(("te".parse().unwrap(), placed))))]).collect();
    let begun = ["tasks", "mark", "pause", "tasks", "back out of b and c", "tasks"];
    let steps = [&begun[..], &["back out of c", "pause", "tasks", "back out of b and c and e"]].concat();
    check(taken_over(mark), answers, &steps);
}

#[test]
fn nothing_is_made_anew_while_what_is_moved_with_it_is_on_its_way() {
    let added = vec!["node.id!=c".into(), "node.id!=d".into()];
    let change = Change::Migrate { source: "a".parse().unwrap(), target: "c".parse().unwrap(), added };
    let taken = (81, Answer::Updated(Ok(())));
    let begun = || (81, in_slots(without_ports_on("d", "ACD"), &[2, 1, 2]));
    let coming = || in_slots(without_ports_on("d", "ACeD"), &[2, 1, 1, 3]);
    let answers = vec![begun(), taken, (141, coming()), (141, Answer::Paused), (201, coming()), (201, coming())];
    let steps = ["tasks", "back out of d", "tasks", "pause", "tasks", "tasks", "unfinished"];
    check(taken_over(Mark { change, ..migrate() }), answers, &steps);
}

#[test]
fn what_is_still_to_come_is_waited_for_since_it_may_have_no_ports_either() {
    let mut answers = vec![(1, tasks("ABc")), (61, tasks("ABc")), (61, Answer::Updated(Ok(())))];
    answers.splice(1..1, [(1, found("ours", false)), (1, Answer::Paused)]);
    let restarting = || in_slots(tasks("Ab"), &[1, 2]);
    answers.extend([(62, restarting()), (62, Answer::Paused), (71, in_slots(without_ports_on("b", "AB"), &[1, 2]))]);
    let steps = ["tasks", "mark", "pause", "tasks", "back out of c", "tasks", "pause", "tasks", "back out of b"];
    check(taken_over(migrate()), answers, &steps);
    // Another leader has ended it before the update was taken, and makes the next.
    let raced = updated(SwarmError::Version { planned: 1, found: None });
    let answers = vec![
        (1, tasks("ABc")),
        (1, found("ours", false)),
        (1, Answer::Paused),
        (61, tasks("ABc")),
        (61, raced),
        (61, Answer::Paused),
        (62, restarting()),
        (62, Answer::Paused),
        (71, tasks("AB")),
    ];
    let steps = ["tasks", "mark", "pause", "tasks", "back out of c", "pause", "tasks", "pause", "tasks", "tasks"];
    check(taken_over(migrate()), answers, &steps);
}
