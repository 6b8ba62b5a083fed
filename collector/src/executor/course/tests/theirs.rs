//! Of what somebody else changes while an action is under way.

use super::*;

#[test]
fn what_somebody_else_did_meanwhile_supersedes_it() {
    let seen = |answer| vec![(0, tasks("AB")), (0, answer)];
    check(taken_over(migrate()), seen(Answer::Mark(Ok(None))), &["tasks", "mark", "superseded"]);
    check(taken_over(migrate()), seen(found("other", false)), &["tasks", "mark", "superseded"]);
    check(taken_over(migrate()), seen(Answer::Mark(Err(SwarmError::Gone))), &["tasks", "mark", "superseded"]);
    let mut changed = seen(found("ours", true));
    changed.extend([(0, tasks("AB")), (0, Answer::Updated(Ok(())))]);
    check(taken_over(migrate()), changed, &["tasks", "mark", "tasks", "end", "superseded"]);
    let mut unsafe_by_now = seen(found("ours", true));
    unsafe_by_now.extend([(0, tasks("ABc")), (1, Answer::Paused)]);
    check(taken_over(migrate()), unsafe_by_now, &["tasks", "mark", "tasks", "pause", "tasks"]);
    let scale_up = || mark(Change::ScaleUp { to: 3 });
    let scaled = vec![(0, tasks("AB")), (0, found("ours", true)), (0, tasks("AB")), (0, Answer::Updated(Ok(())))];
    check(taken_over(scale_up()), scaled, &["tasks", "mark", "tasks", "end", "superseded"]);
    // Swarm would begin their update anew, with the next task before this one runs.
    let mut halfway = vec![(0, tasks("ABc")), (0, found("ours", true)), (0, Answer::Paused), (0, tasks("ABC"))];
    halfway.push((0, Answer::Updated(Ok(()))));
    check(taken_over(scale_up()), halfway, &["tasks", "mark", "pause", "tasks", "end", "superseded"]);
    // What they changed has Swarm replace nothing.
    let label = Marked { mark: migrate(), changed: true, rolls_out: false };
    let label = || Answer::Mark(Ok(Some(Box::new(label.clone()))));
    let crash_loop = |second| (second, in_slots(tasks("BCd"), &[1, 2, 3]));
    check(taken_over(scale_up()), vec![(0, tasks("ABc")), (0, label())], &["tasks", "mark", "end"]);
    check(taken_over(migrate()), vec![crash_loop(0)], &["tasks", "end"]);
    let mut late = vec![(0, tasks("ABc")), (0, found("ours", true))];
    late.extend([(0, Answer::Paused), (61, tasks("ABc")), (61, tasks("ABc"))]);
    check(taken_over(scale_up()), late, &["tasks", "mark", "pause", "tasks", "tasks", "unfinished"]);
    let unexpected = vec![
        (0, tasks("BC")),
        (0, updated(SwarmError::OthersChange)),
        (0, tasks("Bc")),
        (0, Answer::Paused),
        (1, tasks("BC")),
    ];
    check(taken_over(migrate()), unexpected, &["tasks", "end", "tasks", "pause", "tasks", "end"]);
    let waited_for = vec![(0, tasks("ABc")), (0, found("ours", true))];
    check(taken_over(migrate()), waited_for, &["tasks", "mark", "pause"]);
}

#[test]
fn what_is_to_run_after_another_waits_for_that_one_however_long_it_takes() {
    let one_after_another = || {
        let waiting = Task { node: None, desired_gone: false, ..task("x", TaskState::Starting, false).1 };
        let found = [task("a", TaskState::Running, false), task("b", TaskState::Running, true)];
        Answer::Tasks(Ok([&found[..], &[("tx".parse().unwrap(), waiting)]].concat()))
    };
    let looks = (0..LOOKS_PER_MARK.into()).flat_map(|second| {
        let mark = (second == 0).then(|| (second, found("ours", true)));
        [(second, one_after_another())].into_iter().chain(mark).chain([(second, Answer::Paused)])
    });
    let last = u64::from(LOOKS_PER_MARK);
    let answers = looks.chain([(last, one_after_another()), (last, found("ours", true))]);
    let steps = [vec!["tasks", "mark", "pause"], ["tasks", "pause"].repeat(9), vec!["tasks", "mark", "pause"]].concat();
    check(taken_over(mark(Change::ScaleUp { to: 3 })), answers.collect(), &steps);
}

#[test]
fn what_swarm_does_not_hold_back_waits_for_a_node_though_an_old_task_of_its_slot_is_there() {
    let seen = |desired_running: bool| {
        let old = task("c", TaskState::Running, false);
        let waiting = Task { node: None, desired_gone: false, ..task("x", TaskState::Starting, desired_running).1 };
        Answer::Tasks(Ok(vec![old, ("tx".parse().unwrap(), waiting)]))
    };
    // The source is asked for as long as it may be given what waits.
    let looks = |desired_running: bool| {
        let look = move |second| {
            let source = (second < 20 || !desired_running).then_some((second, Answer::Node(Ok(true))));
            [(second, seen(desired_running))].into_iter().chain(source)
        };
        let begun = [(0, seen(desired_running)), (0, found("ours", true)), (0, Answer::Paused)].into_iter();
        let looks = (15..24).flat_map(move |second| look(second).chain([(second, Answer::Paused)]));
        begun.chain(looks).chain(look(24)).chain([(24, found("ours", true))]).collect()
    };
    let (begun, asked, looked) = (["tasks", "mark", "pause"], ["tasks", "node", "pause"], ["tasks", "pause"]);
    let given_up = [&begun[..], &asked.repeat(5), &looked.repeat(4), &["tasks", "mark", "tasks"]].concat();
    check(taken_over(migrate()), looks(true), &given_up);
    let waited_for = [&begun[..], &asked.repeat(9), &["tasks", "node", "mark", "pause"]].concat();
    check(taken_over(migrate()), looks(false), &waited_for);
}

#[test]
fn somebody_elses_change_is_yielded_to_once_the_source_can_have_what_waits() {
    let label = || Answer::Mark(Ok(Some(Box::new(Marked { mark: migrate(), changed: true, rolls_out: false }))));
    let seen = || and_one_waits(in_slots(tasks("B"), &[1]), 2);
    let asked = |second, node| [(second, seen()), (second, Answer::Node(Ok(true))), (second, node)];
    let looks = |last: u64| {
        let looks = (1..10).flat_map(move |look| asked(look * last / 10, Answer::Paused));
        let begun = [(0, seen()), (0, label()), (0, Answer::Paused)].into_iter();
        begun.chain(looks).chain(asked(last, label())).collect::<Vec<_>>()
    };
    let asked = [["tasks", "node", "pause"].repeat(9), vec!["tasks", "node", "mark"]].concat();
    let steps = |last| [&["tasks", "mark", "pause"], &asked[..], &[last]].concat();
    check(taken_over(migrate()), looks(2), &steps("pause"));
    check(taken_over(migrate()), looks(10), &steps("tasks"));
}

#[test]
fn a_move_is_not_ended_while_what_waits_in_somebody_elses_change_would_be_given_the_source() {
    let seen = || and_one_waits(in_slots(tasks("BC"), &[1, 2]), 3);
    let look = |second| [(second, seen()), (second, Answer::Node(Ok(true))), (second, Answer::Paused)];
    let begun = [(1, seen()), (1, Answer::Node(Ok(true))), (1, found("ours", false)), (1, Answer::Paused)];
    let over = [(4, seen()), (4, Answer::Updated(Ok(())))];
    let answers = begun.into_iter().chain([2, 3].into_iter().flat_map(look)).chain(over).collect();
    let asked = ["tasks", "node", "mark", "pause", "tasks", "node", "pause", "tasks", "node", "pause"];
    check(taken_over(migrate()), answers, &[&asked[..], &["tasks", "end", "completed"]].concat());
    // Nor where it has come to wait since it was first tried.
    let raced = updated(SwarmError::Version { planned: 1, found: None });
    let answers = vec![(1, tasks("BC")), (1, raced), (1, Answer::Paused), (2, seen())];
    check(taken_over(migrate()), answers, &["tasks", "end", "pause", "tasks", "pause"]);
}
