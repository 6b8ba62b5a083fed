//! When a migration is done. Pure: over the service's tasks alone, so that any collector can tell at any time.

use swarmguard_planner::facts::Task;
use swarmguard_wire::NodeId;

use super::{Progress, Retreat};

/// The replacement runs when as many tasks run off the source as the service has replicas; the old ones are gone when
/// none holds a place on the source.
pub fn progress<'a>(source: &NodeId, replicas: u64, tasks: impl Iterator<Item = &'a Task> + Clone) -> Progress {
    let on_source = |task: &&Task| task.node.as_ref() == Some(source);
    let elsewhere = tasks.clone().filter(|task| task.is_running() && !on_source(task)).count() as u64;
    let held = tasks.clone().filter(|task| task.is_alive() && on_source(task)).count();
    let staying = tasks.clone().filter(|task| task.is_alive() && !task.desired_gone && on_source(task)).count();
    let running = tasks.filter(|task| task.is_running()).count() as u64;
    Progress { replacement_running: elsewhere >= replicas, old_leaving: staying == 0, old_gone: held == 0, running }
}

/// A replacement that has a node but is not healthy must go before the spec is put back: SwarmKit would take it for
/// up to date, and may keep it rather than the healthy task of its slot. It goes when its node is excluded instead of
/// the source; but a node on which another task of the service runs cannot be excluded without moving that one too.
///
/// What is on its way to run on the source is in nobody's way as long as that is not allowed again, and counts only on demand.
pub fn retreat<'a>(source: &NodeId, counts_source: bool, mut tasks: impl Iterator<Item = &'a Task> + Clone) -> Retreat {
    let unready = tasks.clone().filter(|task| is_beside_a_healthy_one(task, tasks.clone()));
    let counts = |node: &NodeId| node != source || counts_source;
    let mut nodes: Vec<NodeId> = unready.filter_map(|task| task.node.clone()).filter(counts).collect();
    nodes.sort();
    nodes.dedup();
    if nodes.is_empty() {
        return Retreat::Clear;
    }
    let runs_there = |task: &Task| task.is_running() && task.node.as_ref().is_some_and(|node| nodes.contains(node));
    if tasks.any(runs_there) { Retreat::Wait } else { Retreat::From(nodes) }
}

/// Whether a task is on its way to run in a slot in which another one runs: only then could Swarm keep it for the healthy one.
pub fn is_beside_a_healthy_one<'a>(task: &Task, mut tasks: impl Iterator<Item = &'a Task>) -> bool {
    task.is_unready() && tasks.any(|other| other.is_running() && other.slot == task.slot)
}

#[cfg(test)]
mod tests {
    use swarmguard_planner::facts::TaskState::{Ended, Running, Starting};
    use swarmguard_planner::facts::{Task, TaskState};

    use super::*;

    fn tasks(found: &[(&str, TaskState, bool)]) -> Vec<Task> {
        let task = |(node, state, desired_running): &(&str, TaskState, bool)| Task {
            node: node.parse().ok(),
            slot: None,
            state: *state,
            running_since: None,
            desired_running: *desired_running,
            desired_gone: !desired_running,
            container: None,
            accepted: true,
            publishes: false,
        };
        found.iter().map(task).collect()
    }

    fn kept_off_a(found: &[Task]) -> Retreat {
        retreat(&"a".parse().unwrap(), false, found.iter())
    }

    fn check(found: &[(&str, TaskState, bool)], expected: (bool, bool, u64)) {
        let tasks = tasks(found);
        let found = progress(&"a".parse().unwrap(), 2, tasks.iter());
        assert_eq!((found.replacement_running, found.old_gone, found.running), expected, "{tasks:?}");
    }

    #[test]
    fn a_migration_goes_from_beside_over_both_to_the_target() {
        check(&[("a", Running, true), ("b", Running, true)], (false, false, 2));
        check(&[("a", Running, true), ("b", Running, true), ("c", Starting, true)], (false, false, 2));
        check(&[("a", Running, true), ("b", Running, true), ("c", Running, true)], (true, false, 3));
        check(&[("a", Running, false), ("b", Running, true), ("c", Running, true)], (true, false, 2));
        check(&[("a", Ended, false), ("b", Running, true), ("c", Running, true)], (true, true, 2));
    }

    #[test]
    fn a_retreat_never_touches_a_healthy_task() {
        let check = |found: &[(&str, TaskState, bool)], expected: Retreat| {
            assert_eq!(kept_off_a(&tasks(found)), expected, "{found:?}");
        };
        let old = [("a", Running, true), ("b", Running, true)];
        check(&old, Retreat::Clear);
        check(&[old[0], old[1], ("", Starting, true)], Retreat::Clear);
        check(&[old[0], old[1], ("c", Starting, true)], Retreat::From(vec!["c".parse().unwrap()]));
        check(&[old[0], old[1], ("c", Ended, false)], Retreat::Clear);
        check(&[old[0], old[1], ("b", Starting, true)], Retreat::Wait);
        // What Swarm has given up on a dead node is not waited for.
        check(&[old[0], old[1], ("c", Starting, false)], Retreat::Clear);
        check(&[old[0], old[1], ("c", Running, false)], Retreat::Clear);
    }

    #[test]
    fn once_the_source_is_allowed_again_what_starts_there_is_in_the_way_as_anywhere() {
        let found = tasks(&[("c", Running, true), ("a", Starting, true)]);
        assert_eq!(kept_off_a(&found), Retreat::Clear);
        let a = "a".parse().unwrap();
        assert_eq!(retreat(&a, true, found.iter()), Retreat::From(vec![a]));
    }

    #[test]
    fn a_replica_that_never_gets_healthy_by_itself_is_in_nobodys_way() {
        let mut found = tasks(&[("a", Running, true), ("c", Starting, true)]);
        assert_eq!(kept_off_a(&found), Retreat::From(vec!["c".parse().unwrap()]));
        (found[0].slot, found[1].slot) = (Some(1), Some(2));
        assert_eq!(kept_off_a(&found), Retreat::Clear);
    }

    #[test]
    fn a_replacement_that_fails_is_not_running() {
        check(&[("a", Running, true), ("b", Running, true), ("c", Ended, false)], (false, false, 2));
    }
}
