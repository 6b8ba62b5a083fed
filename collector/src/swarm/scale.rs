//! When a scale-up is done. Pure, as for migrations.

use swarmguard_planner::facts::Task;

use super::Progress;

/// The new replica runs when as many tasks run as were asked for; nothing is to go.
pub fn progress<'a>(to: u64, tasks: impl Iterator<Item = &'a Task>) -> Progress {
    let running = tasks.filter(|task| task.is_running()).count() as u64;
    Progress { replacement_running: running >= to, old_gone: true, running }
}
