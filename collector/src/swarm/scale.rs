//! When a scale-up or a scale-down is done. Pure, as for migrations.

use swarmguard_planner::facts::Task;

use super::{Progress, Retreat};

/// The new replica runs when as many tasks run as were asked for; nothing is to go.
pub fn progress_up<'a>(to: u64, tasks: impl Iterator<Item = &'a Task>) -> Progress {
    let running = tasks.filter(|task| task.is_running()).count() as u64;
    Progress { replacement_running: running >= to, old_leaving: true, old_gone: true, running }
}

/// A replica fewer is there when no more tasks than were asked for hold a place; the one that goes finishes what it does
/// first, within its stop grace period.
pub fn progress_down<'a>(to: u64, tasks: impl Iterator<Item = &'a Task> + Clone) -> Progress {
    let running = tasks.clone().filter(|task| task.is_running()).count() as u64;
    let staying = tasks.clone().filter(|task| task.is_alive() && !task.desired_gone).count() as u64;
    let alive = tasks.filter(|task| task.is_alive()).count() as u64;
    Progress { replacement_running: running >= to, old_leaving: staying <= to, old_gone: alive <= to, running }
}

/// SwarmKit drops a task without a node first; among those that have one it looks at how many tasks a node holds, not
/// at health, so one fewer may be a healthy one.
pub fn retreat<'a>(tasks: impl Iterator<Item = &'a Task>) -> Retreat {
    let mut unready = tasks.filter(|task| task.is_unready());
    if unready.any(|task| task.node.is_some()) { Retreat::Unsafe } else { Retreat::Clear }
}

#[cfg(test)]
mod tests {
    use swarmguard_planner::facts::TaskState;

    use super::*;

    fn task(node: &str, state: TaskState) -> Task {
        Task {
            node: node.parse().ok(),
            slot: None,
            state,
            running_since: None,
            desired_running: true,
            desired_gone: false,
            container: None,
            accepted: true,
            publishes: false,
        }
    }

    #[test]
    fn only_a_replica_without_a_node_is_taken_back() {
        let old = task("a", TaskState::Running);
        let check = |new: Task, expected: Retreat| assert_eq!(retreat([&old, &new].into_iter()), expected);
        check(task("", TaskState::Starting), Retreat::Clear);
        check(task("b", TaskState::Starting), Retreat::Unsafe);
        check(task("b", TaskState::Ended), Retreat::Clear);
    }

    #[test]
    fn a_scale_up_is_done_when_as_many_run_as_were_asked_for() {
        let (old, new) = (task("a", TaskState::Running), task("b", TaskState::Starting));
        assert!(!progress_up(2, [&old, &new].into_iter()).is_done());
        assert!(progress_up(2, [&old, &old].into_iter()).is_done());
    }
    #[test]
    fn a_scale_down_is_decided_when_one_is_to_go_and_done_when_it_is_gone() {
        let stays = task("a", TaskState::Running);
        let leaves =
            Task { running_since: None, desired_running: false, desired_gone: true, ..task("b", TaskState::Running) };
        let gone = Task { state: TaskState::Ended, ..leaves.clone() };
        assert!(!progress_down(1, [&stays, &stays].into_iter()).is_decided());
        let leaving = progress_down(1, [&stays, &leaves].into_iter());
        assert!(leaving.is_decided() && !leaving.is_done());
        assert!(progress_down(1, [&stays, &gone].into_iter()).is_done());
    }
}
