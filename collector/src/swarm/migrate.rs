//! When a migration is done. Pure: over the service's tasks alone, so that any collector can tell at any time.

use swarmguard_planner::facts::Task;
use swarmguard_wire::NodeId;

use super::Progress;

/// The replacement runs when as many tasks run off the source as the service has replicas; the old ones are gone when
/// none holds a place on the source.
pub fn progress<'a>(source: &NodeId, replicas: u64, tasks: impl Iterator<Item = &'a Task> + Clone) -> Progress {
    let on_source = |task: &&Task| task.node.as_ref() == Some(source);
    let elsewhere = tasks.clone().filter(|task| task.is_running() && !on_source(task)).count() as u64;
    let held = tasks.clone().filter(|task| task.is_alive() && on_source(task)).count();
    let running = tasks.filter(|task| task.is_running()).count() as u64;
    Progress { replacement_running: elsewhere >= replicas, old_gone: held == 0, running }
}

#[cfg(test)]
mod tests {
    use swarmguard_planner::facts::TaskState::{Ended, Running, Starting};
    use swarmguard_planner::facts::{Task, TaskState};

    use super::*;

    fn check(tasks: &[(&str, TaskState, bool)], expected: (bool, bool, u64)) {
        let tasks: Vec<Task> = tasks
            .iter()
            .map(|(node, state, desired_running)| Task {
                node: Some(node.parse().unwrap()),
                slot: None,
                state: *state,
                desired_running: *desired_running,
                container: None,
            })
            .collect();
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
    fn a_replacement_that_fails_is_not_running() {
        check(&[("a", Running, true), ("b", Running, true), ("c", Ended, false)], (false, false, 2));
    }
}
