//! Of a replacement that runs without the ports that its service publishes.

use super::*;

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
    let seen = || and_one_waits(unreached(), 2);
    let left = [(12, seen()), (12, Answer::Paused), (73, seen()), (73, seen()), (73, Answer::Updated(Ok(())))];
    nowhere.extend(vacated().chain(left));
    check(taken_over(migrate()), nowhere, &[&first[..], &["pause", "tasks", "tasks", "end", "left"][..]].concat());
}

#[test]
fn swarm_is_told_again_where_it_has_stopped_half_way_and_what_nobody_reaches_stays_in_another_slot() {
    let mut mark = migrate();
    let nodes = || ["c".parse().unwrap(), "d".parse().unwrap()];
    mark.keep_off(&[vec!["a".parse().unwrap()], nodes().into()].concat(), 0);
    let unreached = |nodes: &str| {
        let answer = in_slots(without_ports_on("c", nodes), &[2, 1, 2, 3][4 - nodes.len()..]);
        let Answer::Tasks(Ok(mut found)) = answer else { return answer };
        found.iter_mut().filter(|(id, _)| id.as_str() == "td").for_each(|(_, task)| task.publishes = false);
        Answer::Tasks(Ok(found))
    };
    let begun = [(1, unreached("BCD")), (1, found("ours", false)), (1, Answer::Paused), (61, unreached("BCD"))];
    let stopped = [(61, Answer::Updated(Ok(()))), (62, unreached("ABCD")), (62, Answer::Paused)];
    let answers = begun.into_iter().chain(stopped).chain([(80, unreached("ABCD")), (80, Answer::Paused)]);
    let answers = answers.chain([(81, unreached("ABCD"))]).collect();
    let steps = ["tasks", "mark", "pause", "tasks", "back out of c and d", "tasks", "pause", "tasks", "pause", "tasks"];
    check(taken_over(mark), answers, &[&steps[..], &["back out of c and d"]].concat());
}

#[test]
fn the_spec_is_not_put_back_while_nobody_reaches_a_task_on_the_source_beside_a_healthy_one() {
    let mut mark = migrate();
    mark.keep_off(&["a".parse().unwrap()], 4);
    let seen = || in_slots(without_ports_on("a", "ABC"), &[1, 2, 1]);
    let begun = [(1, seen()), (1, found("ours", false)), (1, Answer::Paused), (61, seen())];
    let told = [(61, Answer::Updated(Ok(()))), (122, seen()), (122, seen())];
    let steps = ["tasks", "mark", "pause", "tasks", "back out of a", "tasks", "tasks", "unfinished"];
    check(taken_over(mark), begun.into_iter().chain(told).collect(), &steps);
}

#[test]
fn swarm_is_told_again_though_a_healthy_one_on_its_node_is_moved_with_it() {
    let mut mark = migrate();
    mark.keep_off(&["a".parse().unwrap(), "c".parse().unwrap()], 0);
    // Of two on one node nobody reaches one; in its slot another came to run.
    let seen = |nodes: &str| {
        let Answer::Tasks(Ok(mut found)) = in_slots(tasks(nodes), &[1, 2, 2]) else { return Answer::Paused };
        found.iter_mut().filter(|(_, it)| it.slot == Some(2)).take(1).for_each(|(_, it)| it.publishes = false);
        Answer::Tasks(Ok(found))
    };
    let begun = [(1, seen("CC")), (1, found("ours", false)), (1, Answer::Paused), (61, seen("CC"))];
    let stopped = [(61, Answer::Updated(Ok(()))), (66, seen("CCA")), (66, Answer::Paused), (81, seen("CCA"))];
    let steps = ["tasks", "mark", "pause", "tasks", "back out of c", "tasks", "pause", "tasks", "back out of c"];
    check(taken_over(mark), begun.into_iter().chain(stopped).collect(), &steps);
}

#[test]
fn a_third_node_without_ports_on_which_a_healthy_one_runs_is_left_once_nothing_starts_beside_it() {
    let seen = |nodes: &'static str| {
        let Answer::Tasks(Ok(mut found)) = in_slots(tasks(nodes), &[1, 3, 2, 2]) else { return Answer::Paused };
        found.iter_mut().filter(|(_, it)| it.slot == Some(2)).take(1).for_each(|(_, it)| it.publishes = false);
        Answer::Tasks(Ok(found))
    };
    let answers = vec![
        (1, seen("BDC")),
        (1, found("ours", false)),
        (1, Answer::Paused),
        (1, seen("BDC")),
        (1, Answer::Updated(Ok(()))),
        (1, Answer::Paused),
        (5, seen("BDDd")),
        (5, Answer::Paused),
        (6, seen("BDD")),
    ];
    let begun = ["tasks", "mark", "pause", "tasks", "back out of a and c", "pause"];
    let then = ["tasks", "pause", "tasks", "back out of d"];
    check(taken_over(Mark { replicas: 3, ..migrate() }), answers, &[&begun[..], &then].concat());
}

#[test]
fn what_no_node_has_taken_for_long_does_not_keep_what_nobody_reaches_where_it_is() {
    // In one slot a task waits beside a healthy one and one that nobody reaches, on whose node a replica serves.
    let mut mark = migrate();
    mark.keep_off(&["d".parse().unwrap()], 0);
    let seen = || {
        let Answer::Tasks(Ok(mut found)) = in_slots(tasks("ABB"), &[2, 1, 2]) else { return Answer::Paused };
        found.iter_mut().filter(|(_, it)| it.slot == Some(2)).skip(1).for_each(|(_, it)| it.publishes = false);
        and_one_waits(Answer::Tasks(Ok(found)), 2)
    };
    let (mut course, _) = taken_over(mark);
    for (second, leaves) in [(1, false), (20, false), (21, true)] {
        let Answer::Tasks(Ok(found)) = seen() else { return };
        course.as_they_serve(found, at(second));
        assert_eq!(course.to_leave().next().is_some(), leaves, "{second} s");
    }
}

#[test]
fn what_waits_is_not_in_line_with_what_swarm_is_told_anew() {
    let nodes = || and_one_waits(in_slots(without_ports_on("c", "BC"), &[1, 2]), 2);
    let (mut course, _) = taken_over(migrate());
    let steps = [(1, nodes()), (1, found("ours", false)), (1, Answer::Paused), (1, nodes())].map(|(second, answer)| {
        course.asked_at = Some(at(second));
        course.next(answer, at(second))
    });
    assert!(matches!(steps.last(), Some(Step::BackOut { remade: 1, .. })), "{steps:?}");
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
fn the_source_is_allowed_again_though_a_replica_in_another_slot_fails_again_and_again() {
    let unreached = || in_slots(without_ports_on("c", "BCe"), &[1, 2, 3]);
    let begun = [(1, unreached()), (1, found("ours", false)), (1, Answer::Paused), (1, unreached())];
    let told = begun.into_iter().chain([(1, Answer::Updated(Ok(()))), (1, Answer::Paused)]);
    let answers = told.chain(vacated(unreached)).chain([(6, unreached())]).collect();
    let begun = ["tasks", "mark", "pause", "tasks", "back out of a and c", "pause"];
    let asked = ["tasks", "node", "pause"].repeat(3);
    check(taken_over(migrate()), answers, &[&begun[..], &asked, &["tasks", "back out of c"]].concat());
    // A third node that does not take it is not one on which it is on its way.
    let untaken = || {
        let Answer::Tasks(Ok(mut found)) = in_slots(without_ports_on("c", "BCd"), &[1, 2, 2]) else {
            return Answer::Paused;
        };
        found
            .iter_mut()
            .filter(|(_, task)| task.is_unready() && task.publishes)
            .for_each(|(_, it)| it.accepted = false);
        Answer::Tasks(Ok(found))
    };
    let (mut course, _) = taken_over(migrate());
    for (second, expected) in [(1, true), (2, true), (3, false)] {
        let Answer::Tasks(Ok(found)) = untaken() else { return };
        let seen = course.as_they_serve(found, at(second));
        assert_eq!(course.third_is_coming(&seen, at(second)), expected, "{second} s");
    }
}

#[test]
fn what_the_source_was_allowed_for_is_not_begun_once_more_by_who_takes_over() {
    let mut mark = migrate();
    mark.keep_off(&["c".parse().unwrap()], 0);
    let coming = || in_slots(without_ports_on("c", "aBC"), &[2, 1, 2]);
    let answers = vec![(1, coming()), (1, found("ours", false)), (1, Answer::Paused), (2, coming())];
    check(taken_over(mark), answers, &["tasks", "mark", "pause", "tasks", "pause"]);
}

#[test]
fn what_starts_while_the_retreat_is_long_under_way_is_not_dropped_for_what_nobody_reaches() {
    let unreached = |nodes: &str| in_slots(without_ports_on("c", nodes), &[1, 2, 2]);
    let mut mark = migrate();
    mark.keep_off(&["a".parse().unwrap(), "c".parse().unwrap()], 0);
    let told = || {
        let begun = [(1, unreached("BC")), (1, found("ours", false)), (1, Answer::Paused), (61, unreached("BC"))];
        let told = [(61, Answer::Updated(Ok(()))), (121, unreached("BCa")), (121, Answer::Paused)];
        begun.into_iter().chain(told)
    };
    let steps = ["tasks", "mark", "pause", "tasks", "back out of c", "tasks", "pause", "tasks"];
    let runs = told().chain([(150, tasks("BA")), (150, tasks("BA")), (150, Answer::Updated(Ok(())))]);
    let then = ["tasks", "revert", "reverted"];
    check(taken_over(mark.clone()), runs.collect(), &[&steps[..], &then].concat());
    let never = told().chain([(181, unreached("BCa")), (181, unreached("BCa")), (181, Answer::Updated(Ok(())))]);
    check(taken_over(mark), never.collect(), &[&steps[..], &["tasks", "end", "left"]].concat());
}

#[test]
fn the_source_is_allowed_again_where_what_nobody_reached_has_gone_by_itself_and_no_third_node_takes_it() {
    let unreached = || in_slots(without_ports_on("c", "BC"), &[1, 2]);
    let gone = || and_one_waits(in_slots(tasks("B"), &[1]), 2);
    let begun = [(1, unreached()), (1, found("ours", false)), (1, Answer::Paused), (1, unreached())];
    let told = begun.into_iter().chain([(1, Answer::Updated(Ok(()))), (1, Answer::Paused)]);
    let waits = [(1, gone()), (1, Answer::Paused)];
    let answers = told.chain(waits).chain(vacated(gone)).chain([(6, gone())]);
    let back = answers.chain([(6, Answer::Updated(Ok(()))), (6, Answer::Paused), (7, tasks("AB"))]).collect();
    let begun = ["tasks", "mark", "pause", "tasks", "back out of a and c", "pause", "tasks", "pause"];
    let asked = ["tasks", "node", "pause"].repeat(3);
    let then = ["tasks", "back out of nothing", "pause", "tasks", "end"];
    check(taken_over(migrate()), back, &[&begun[..], &asked, &then].concat());
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
fn what_comes_without_ports_as_well_is_made_anew_on_yet_other_nodes_four_times() {
    let on = |node: &'static str, nodes: &str| in_slots(without_ports_on(node, nodes), &[1, 2]);
    let taken = || Answer::Updated(Ok(()));
    let mut answers = vec![(1, on("c", "BC")), (1, found("ours", false)), (1, Answer::Paused), (1, on("c", "BC"))];
    answers.extend([(1, taken()), (1, Answer::Paused)]);
    answers.extend(vacated(|| on("c", "BC")).chain([(6, on("c", "BC")), (6, taken())]));
    answers.extend([(22, on("d", "BD")), (22, taken()), (33, on("e", "BE"))]);
    let raced = updated(SwarmError::Version { planned: 1, found: None });
    answers.extend([(33, raced), (33, Answer::Paused), (33, on("e", "BE")), (33, taken())]);
    answers.extend([(44, on("f", "BF")), (44, taken()), (55, on("g", "BG")), (55, taken())]);
    answers.extend([(116, on("h", "BH")), (116, on("h", "BH")), (116, taken())]);
    let begun = ["tasks", "mark", "pause", "tasks", "back out of a and c", "pause"];
    let first = [&begun[..], &["tasks", "node", "pause"].repeat(3), &["tasks", "back out of c"]].concat();
    let again = ["tasks", "back out of d", "tasks", "back out of e", "pause", "tasks", "back out of e"];
    let then = ["tasks", "back out of f", "tasks", "back out of g", "tasks", "tasks", "end", "left"];
    check(taken_over(migrate()), answers, &[&first[..], &again, &then].concat());
}

#[test]
fn where_tasks_published_nothing_before_none_is_missed() {
    let silent = Mark { publishes: false, ..migrate() };
    check(taken_over(silent), vec![(1, without_ports_on("c", "BC"))], &["tasks", "end"]);
}
