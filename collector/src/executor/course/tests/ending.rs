//! What is told of an action that has ended.

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
