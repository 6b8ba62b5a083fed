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

#[test]
fn swarm_is_told_to_go_on_where_it_has_stopped_half_way_and_a_later_replacement_runs() {
    let both = || in_slots(tasks("ABC"), &[1, 2, 1]);
    let seen = |second| [(second, both()), (second, Answer::Paused)];
    let begun = || [(1, both()), (1, found("ours", false)), (1, Answer::Paused)].into_iter();
    let stopped = || begun().chain(seen(5)).chain([(6, both())]);
    let told = || [(6, Answer::Updated(Ok(()))), (6, Answer::Paused), (7, tasks("BC"))].into_iter();
    let first = ["tasks", "mark", "pause", "tasks", "pause", "tasks", "back out of a"];
    let answers = stopped().chain(told()).chain([(7, Answer::Updated(Ok(())))]);
    check(taken_over(migrate()), answers.collect(), &[&first[..], &["pause", "tasks", "end", "completed"]].concat());
    // Once; the constraints are not the same as before, word for word.
    let (mut course, _) = taken_over(migrate());
    let steps: Vec<Step> = stopped()
        .chain(told().take(2))
        .chain([7, 13].into_iter().flat_map(seen))
        .map(|(second, answer)| {
            course.asked_at = Some(at(second));
            course.next(answer, at(second))
        })
        .collect();
    let remade = |step: &Step| if let Step::BackOut { remade, .. } = step { Some(*remade) } else { None };
    assert_eq!(steps.iter().filter_map(remade).collect::<Vec<_>>(), [1]);
    // One that has just failed again is no such.
    let fails = begun().chain([(5, in_slots(tasks("ABc"), &[1, 2, 1])), (5, Answer::Paused)]);
    let fails = fails.chain([(6, both())]).collect();
    check(taken_over(migrate()), fails, &["tasks", "mark", "pause", "tasks", "pause", "tasks", "pause"]);
    // It is for an owner to say whether their update goes on.
    let theirs = [(1, both()), (1, found("ours", true)), (1, both()), (1, Answer::Updated(Ok(())))];
    check(taken_over(migrate()), theirs.into(), &["tasks", "mark", "tasks", "end", "superseded"]);
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
