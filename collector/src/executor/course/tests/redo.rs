//! Of a move that is begun anew.

use super::*;

#[test]
fn once_the_old_task_is_gone_any_other_node_may_take_what_the_planned_one_does_not() {
    let added = vec!["node.id!=a".into(), "node.id!=d".into()];
    let (source, target) = ("a".parse().unwrap(), "c".parse().unwrap());
    let two_nodes_off = mark(Change::Migrate { source, target, added });
    let two = || taken_over(two_nodes_off.clone());
    let nowhere = || {
        let waiting = Task { node: None, slot: Some(2), ..task("x", TaskState::Starting, true).1 };
        Answer::Tasks(Ok(vec![task("b", TaskState::Running, true), ("tx".parse().unwrap(), waiting)]))
    };
    let told = |second| [(second, Answer::Updated(Ok(()))), (second, Answer::Paused)];
    let widened = || {
        let looked = [(0, nowhere()), (0, found("ours", false)), (1, Answer::Paused), (1, nowhere())];
        looked.into_iter().chain(told(1)).chain([(2, nowhere()), (2, Answer::Paused)])
    };
    let steps = ["tasks", "mark", "pause", "tasks", "back out of a", "pause", "tasks", "pause", "tasks"];
    let taken = widened().chain([(4, tasks("BD")), (4, Answer::Updated(Ok(())))]);
    check(two(), taken.collect(), &[&steps[..], &["end", "completed"]].concat());
    // Where none takes it, it may start where it was, once Swarm has heard from there for a while; the spec comes back
    // once it runs.
    let heard =
        |second, is_ready| [(second, nowhere()), (second, Answer::Node(Ok(is_ready))), (second, Answer::Paused)];
    let anywhere = || {
        let heard = [heard(3, false), heard(4, true), heard(6, true)].into_iter().flatten();
        widened().chain(heard).chain([(7, nowhere())]).chain(told(7)).chain([(7, nowhere()), (7, Answer::Paused)])
    };
    let asked = ["node", "pause", "tasks"].repeat(3);
    let steps = [&steps[..], &asked, &["back out of nothing", "pause", "tasks", "pause"]].concat();
    let back = anywhere().chain([(8, tasks("BA")), (8, Answer::Updated(Ok(())))]);
    check(two(), back.collect(), &[&steps[..], &["tasks", "end", "reverted"]].concat());
    let elsewhere = anywhere().chain([(8, tasks("BC")), (8, Answer::Updated(Ok(())))]);
    check(two(), elsewhere.collect(), &[&steps[..], &["tasks", "end", "completed"]].concat());
    // What starts there beside one that runs elsewhere by now has to go first.
    let beside = anywhere().chain([(8, in_slots(tasks("BCa"), &[1, 2, 2])), (8, Answer::Paused)]);
    let late = beside.chain([(68, in_slots(tasks("BCa"), &[1, 2, 2]))]);
    check(two(), late.collect(), &[&steps[..], &["tasks", "pause", "tasks", "back out of a"]].concat());
    // The next collector knows by the mark.
    let open = Change::Migrate { source: "a".parse().unwrap(), target: "c".parse().unwrap(), added: Vec::new() };
    check(taken_over(mark(open)), vec![(0, tasks("BA"))], &["tasks", "end"]);
    // An update without an answer may have been taken: the mark tells.
    let unanswered = [(0, nowhere()), (0, found("ours", false)), (1, Answer::Paused), (1, nowhere())];
    let unanswered = || unanswered.into_iter().chain([(1, updated(self::unanswered())), (1, Answer::Paused)]);
    let Change::Migrate { source, target, .. } = two_nodes_off.change.clone() else { return };
    let widened = mark(Change::Migrate { source, target, added: vec!["node.id!=a".into()] });
    let widened = Marked { mark: widened, changed: false, rolls_out: false };
    let taken =
        unanswered().chain([(1, Answer::Mark(Ok(Some(Box::new(widened))))), (1, Answer::Paused), (2, nowhere())]);
    // From then on it has as long as if the answer had come.
    let taken = taken.chain([(2, Answer::Paused), (3, nowhere())]);
    let steps = ["tasks", "mark", "pause", "tasks", "back out of a", "pause", "mark", "pause", "tasks"];
    check(two(), taken.collect(), &[&steps[..], &["pause", "tasks", "node"]].concat());
}

#[test]
fn what_a_node_does_not_take_is_given_to_another_once_the_old_task_is_gone() {
    let untaken = |second: u64, nodes: &str, slots: &[u64]| {
        let Answer::Tasks(Ok(mut found)) = in_slots(tasks(nodes), slots) else { return (second, Answer::Paused) };
        found.iter_mut().filter(|(_, task)| task.is_unready()).for_each(|(_, task)| task.accepted = false);
        (second, Answer::Tasks(Ok(found)))
    };
    let looks = |nodes: &'static str, slots: &'static [u64]| {
        let look = move |second| untaken(second, nodes, slots);
        vec![look(0), (0, found("ours", false)), (2, Answer::Paused), look(2), (3, Answer::Paused), look(3)]
    };
    let steps = ["tasks", "mark", "pause", "tasks", "pause", "tasks"];
    // The planned node is c, which Swarm hears from.
    let told =
        looks("Bc", &[1, 2]).into_iter().chain([(3, Answer::Updated(Ok(()))), (3, Answer::Paused), (4, tasks("BD"))]);
    check(
        taken_over(migrate()),
        told.collect(),
        &[&steps[..], &["back out of a and c", "pause", "tasks", "end"]].concat(),
    );
    // While the old one runs nobody is without it.
    check(taken_over(migrate()), looks("ABc", &[2, 1, 2]), &[&steps[..], &["pause"]].concat());
}

#[test]
fn a_slot_waits_for_a_node_whatever_becomes_of_another() {
    let stranded = |nodes: &str, slots: &[u64]| {
        let Answer::Tasks(Ok(found)) = in_slots(tasks(nodes), slots) else { return false };
        let waiting = Task { node: None, slot: Some(2), ..task("x", TaskState::Starting, true).1 };
        let all = found.into_iter().chain([("tx".parse().unwrap(), waiting)]).collect::<Vec<_>>();
        taken_over(migrate()).0.is_stranded(&all, at(0))
    };
    assert!(stranded("B", &[1]), "another runs");
    assert!(stranded("b", &[1]), "another starts");
    assert!(!stranded("BC", &[1, 2]), "it runs beside it");
    assert!(!stranded("Bc", &[1, 2]), "one starts beside it");
}

/// Until six seconds after the start the source is asked for, from which Swarm hears after three.
fn vacated(tasks: impl Fn() -> Answer) -> impl Iterator<Item = (u64, Answer)> {
    let look =
        move |second, is_ready| [(second, tasks()), (second, Answer::Node(Ok(is_ready))), (second, Answer::Paused)];
    [look(2, false), look(3, true), look(5, true)].into_iter().flatten()
}

#[test]
fn a_replacement_that_nobody_reaches_is_made_again_on_a_third_node() {
    let unreached = || {
        let nodes = || without_ports_on("c", "ABC");
        vec![(1, nodes()), (1, found("ours", false)), (1, Answer::Paused), (1, nodes())]
    };
    let mut answers = unreached();
    answers.extend([
        (1, Answer::Updated(Ok(()))),
        (1, Answer::Paused),
        (2, without_ports_on("c", "BCd")),
        (2, Answer::Paused),
        (3, without_ports_on("c", "BCD")),
        (3, Answer::Node(Ok(true))),
        (3, Answer::Paused),
        (4, tasks("BD")),
        (4, Answer::Updated(Ok(()))),
    ]);
    let remade = ["tasks", "mark", "pause", "tasks", "back out of a and c", "pause"];
    let then = ["tasks", "pause", "tasks", "node", "pause"];
    let steps = [&remade[..], &then[..], &["tasks", "end", "completed"][..]].concat();
    check(taken_over(migrate()), answers, &steps);
    let mut again = unreached();
    let raced = updated(SwarmError::Version { planned: 1, found: None });
    again.extend([(1, raced), (1, Answer::Paused), (2, tasks("BC"))]);
    check(taken_over(migrate()), again, &[&remade[..], &["tasks", "end"][..]].concat());
    let mut removed = unreached();
    removed.push((1, updated(SwarmError::Superseded)));
    check(taken_over(migrate()), removed, &[&remade[..5], &["superseded"][..]].concat());
    // The owner has chosen that nothing is published any more.
    let unpublished = || (1, without_ports_on("c", "BC"));
    let theirs = vec![unpublished(), (1, found("ours", true)), (1, Answer::Paused), unpublished()];
    check(taken_over(migrate()), theirs, &["tasks", "mark", "pause", "tasks", "end"]);
}

#[test]
fn a_replacement_is_not_made_again_while_another_is_on_its_way_beside_a_healthy_task() {
    let answers = vec![
        (1, in_slots(without_ports_on("c", "ACd"), &[2, 1, 2])),
        (1, found("ours", false)),
        (1, Answer::Paused),
        (2, in_slots(without_ports_on("c", "CD"), &[1, 2])),
    ];
    check(taken_over(migrate()), answers, &["tasks", "mark", "pause", "tasks", "back out of a and c"]);
}

#[test]
fn where_no_third_node_takes_it_the_source_may_and_where_none_does_it_is_left() {
    let unreached = || in_slots(without_ports_on("c", "BC"), &[1, 2]);
    let begun = || {
        let (taken, paused) = (Answer::Updated(Ok(())), Answer::Paused);
        vec![
            (1, unreached()),
            (1, found("ours", false)),
            (1, Answer::Paused),
            (1, unreached()),
            (1, taken),
            (1, paused),
        ]
    };
    let vacated = || vacated(unreached).chain([(6, unreached()), (6, Answer::Updated(Ok(())))]);
    let mut back = begun();
    back.extend(vacated().chain([(6, without_ports_on("c", "aBC"))]));
    back.extend([(6, Answer::Paused), (7, tasks("AB")), (7, tasks("AB")), (7, Answer::Updated(Ok(())))]);
    let sure = ["tasks", "mark", "pause", "tasks"];
    let asked = ["tasks", "node", "pause"].repeat(3);
    let back_out = ["tasks", "back out of c", "tasks"];
    let first = [&sure[..], &["back out of a and c", "pause"], &asked, &back_out].concat();
    check(taken_over(migrate()), back, &[&first[..], &["pause", "tasks", "tasks", "revert", "reverted"][..]].concat());
    let mut nowhere = begun();
    let left = [(73, unreached()), (73, unreached()), (73, Answer::Updated(Ok(())))];
    nowhere.extend(vacated().chain(left));
    check(taken_over(migrate()), nowhere, &[&first[..], &["tasks", "end", "left"][..]].concat());
}

#[test]
fn the_source_is_heard_from_for_three_seconds_on_end_before_it_is_allowed_again() {
    let unreached = || in_slots(without_ports_on("c", "BC"), &[1, 2]);
    let heard = |second| [(second, unreached()), (second, Answer::Node(Ok(true))), (second, Answer::Paused)];
    let begun = [(1, unreached()), (1, found("ours", false)), (1, Answer::Paused), (1, unreached())];
    let told = begun.into_iter().chain([(1, Answer::Updated(Ok(()))), (1, Answer::Paused)]);
    // The manager was silent in between.
    let silent = heard(2).into_iter().chain(heard(9)).chain(heard(11));
    let answers = told.chain(silent).chain([(12, unreached())]).collect();
    let begun = ["tasks", "mark", "pause", "tasks", "back out of a and c", "pause"];
    let asked = ["tasks", "node", "pause"].repeat(3);
    check(taken_over(migrate()), answers, &[&begun[..], &asked, &["tasks", "back out of c"]].concat());
}

#[test]
fn a_third_node_without_ports_is_left_though_the_source_is_not_heard_from() {
    let on = |node: &'static str, nodes: &str| in_slots(without_ports_on(node, nodes), &[1, 2]);
    let mut answers = vec![(1, on("c", "BC")), (1, found("ours", false)), (1, Answer::Paused), (1, on("c", "BC"))];
    answers.extend([(1, Answer::Updated(Ok(()))), (1, Answer::Paused), (3, on("d", "BD")), (3, Answer::Paused)]);
    answers.push((5, on("d", "BD")));
    let begun = ["tasks", "mark", "pause", "tasks", "back out of a and c", "pause"];
    check(taken_over(migrate()), answers, &[&begun[..], &["tasks", "pause", "tasks", "back out of d"]].concat());
}

#[test]
fn what_comes_without_ports_as_well_is_made_anew_on_yet_other_nodes_twice() {
    let on = |node: &'static str, nodes: &str| in_slots(without_ports_on(node, nodes), &[1, 2]);
    let taken = || Answer::Updated(Ok(()));
    let mut answers = vec![(1, on("c", "BC")), (1, found("ours", false)), (1, Answer::Paused), (1, on("c", "BC"))];
    answers.extend([(1, taken()), (1, Answer::Paused)]);
    answers.extend(vacated(|| on("c", "BC")).chain([(6, on("c", "BC")), (6, taken())]));
    answers.extend([(22, on("d", "BD")), (22, taken()), (33, on("e", "BE"))]);
    let raced = updated(SwarmError::Version { planned: 1, found: None });
    answers.extend([(33, raced), (33, Answer::Paused), (33, on("e", "BE")), (33, taken())]);
    answers.extend([(94, on("f", "BF")), (94, on("f", "BF")), (94, taken())]);
    let begun = ["tasks", "mark", "pause", "tasks", "back out of a and c", "pause"];
    let first = [&begun[..], &["tasks", "node", "pause"].repeat(3), &["tasks", "back out of c"]].concat();
    let again = ["tasks", "back out of d", "tasks", "back out of e", "pause", "tasks", "back out of e"];
    check(taken_over(migrate()), answers, &[&first[..], &again[..], &["tasks", "tasks", "end", "left"][..]].concat());
}

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
    assert_eq!([0, 1, 2].map(told), [Some((1, 1)), Some((1, 2)), Some((1, 2))], "not for ever");
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
fn nothing_is_made_anew_while_what_is_moved_with_it_is_on_its_way() {
    let added = vec!["node.id!=c".into(), "node.id!=d".into()];
    let change = Change::Migrate { source: "a".parse().unwrap(), target: "c".parse().unwrap(), added };
    let taken = (81, Answer::Updated(Ok(())));
    let begun = || (81, in_slots(without_ports_on("d", "ACD"), &[2, 1, 2]));
    let coming = || in_slots(without_ports_on("d", "ACeD"), &[2, 1, 1, 3]);
    let answers = vec![begun(), taken, (141, coming()), (141, coming())];
    let steps = ["tasks", "back out of d", "tasks", "tasks", "unfinished"];
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

#[test]
fn nothing_is_begun_anew_in_the_middle_of_somebody_elses_rollout() {
    let unreached = || without_ports_on("c", "BC");
    let refused = || updated(SwarmError::OthersChange);
    let mut answers = vec![(1, unreached()), (1, found("ours", false)), (1, Answer::Paused), (1, unreached())];
    answers.extend([(1, refused()), (1, Answer::Paused), (2, tasks("BCd")), (2, Answer::Paused), (3, tasks("BC"))]);
    let steps = ["tasks", "mark", "pause", "tasks", "back out of a and c", "pause", "tasks", "pause", "tasks", "end"];
    check(taken_over(migrate()), answers, &steps);
}

#[test]
fn where_tasks_published_nothing_before_none_is_missed() {
    let silent = Mark { publishes: false, ..migrate() };
    check(taken_over(silent), vec![(1, without_ports_on("c", "BC"))], &["tasks", "end"]);
}
