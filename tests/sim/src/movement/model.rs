//! A script on the model.

use std::time::Duration;

use swarmguard_planner::facts::{Node, TaskState};
use swarmguard_wire::{NodeId, ServiceId, TaskId, Timestamp};

use super::{Seen, State, Step, Watch, What, slot_of, spec};
use crate::rng::Rng;
use crate::swarmkit::{SwarmKit, plain_node};

/// Nodes of either Swarm.
const NODES: u64 = 3;

const BEGINNING: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);

/// When nothing has happened for so long, nothing will.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// So long after the step before a step follows that is done at once.
const AT_ONCE: Duration = Duration::from_millis(100);

/// What becomes of each step, where chance falls as the seed has it. Nothing if a step cannot be done.
#[must_use]
pub fn on_model(steps: &[Step], seed: u64) -> Option<String> {
    let service: ServiceId = "web".parse().ok()?;
    let nodes = (1..=NODES).filter_map(node).collect();
    let mut kit = SwarmKit::new(nodes, Rng::new(seed), BEGINNING);
    let mut told = String::new();
    let mut watch = Watch::default();
    let mut about = None;
    for (number, step) in steps.iter().enumerate() {
        if !step.is_at_once {
            watch = Watch::new(&seen(&kit, &service));
            about = None;
        }
        let tasks = seen(&kit, &service);
        if let Some(slot) = step.what.about() {
            about = Some(slot_of(&tasks, slot)?.0);
        }
        apply(&mut kit, &service, step.what, &tasks)?;
        told.push_str(&format!("{}\n", step.text));
        if steps.get(number + 1).is_some_and(|next| next.is_at_once) {
            let until = kit.now + AT_ONCE;
            run(&mut kit, &service, &mut watch, until);
            continue;
        }
        let until = kit.now + SETTLED_AFTER;
        run(&mut kit, &service, &mut watch, until);
        told.push_str(&watch.told(about));
    }
    Some(told)
}

fn run(kit: &mut SwarmKit, service: &ServiceId, watch: &mut Watch, until: Timestamp) {
    watch.saw(&seen(kit, service));
    while let Some(at) = kit.next_due().filter(|at| *at <= until) {
        kit.advance(at);
        watch.saw(&seen(kit, service));
    }
    kit.advance(until);
    kit.forget();
}

fn apply(kit: &mut SwarmKit, service: &ServiceId, what: What, tasks: &[Seen]) -> Option<()> {
    match what {
        What::Create(replicas, order) => kit.create(service.clone(), spec("web", "web:1", replicas, order), 0),
        What::RollBack => kit.roll_back(service).ok()?,
        What::Crash(number) => {
            let task: TaskId = slot_of(tasks, number)?.1.task.parse().ok()?;
            kit.crash(&task);
        }
        What::Change(change) => {
            let found = kit.services.get(service)?;
            let (version, mut spec) = (found.version, found.spec.clone());
            change.make(&mut spec, |number| slot_of(tasks, number)?.1.node);
            kit.update(service, version, spec).ok()?;
        }
    }
    Some(())
}

fn seen(kit: &SwarmKit, service: &ServiceId) -> Vec<Seen> {
    let tasks = kit.tasks.iter().filter(|(_, task)| task.service == *service);
    tasks
        .map(|(id, task)| Seen {
            task: id.to_string(),
            slot: task.slot,
            node: task.node.as_ref().map(NodeId::to_string),
            state: match task.state {
                TaskState::Starting => State::Starting,
                TaskState::Running => State::Running,
                TaskState::Ended => State::Ended,
            },
            is_wanted: task.wanted,
        })
        .collect()
}

fn node(number: u64) -> Option<(NodeId, Node)> {
    let name = format!("node{number}");
    Some((name.parse().ok()?, plain_node(&name)))
}
