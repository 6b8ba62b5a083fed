//! One script of updates, crashes and constraints, for the model and for a real Swarm: which tasks move, where to, and in
//! which order.
//!
//! ```text
//! create 3 start-first
//! exclude 1
//! ```
//!
//! Each line is done when all before it has settled, unless it begins with `at once`. Nodes are told by what they hold, since
//! which of several equal ones is taken is left to chance on a real Swarm; so is which of several slots an update takes first.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::{Value, json};

pub use model::on_model;

/// One step of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As it was written.
    pub text: String,
    /// Whether it is done without waiting for what is before it.
    pub is_at_once: bool,
    /// What is done.
    pub what: What,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// So many replicas, updated in this order.
    Create(u64, Order),
    /// The spec is changed.
    Change(Change),
    /// The spec before.
    RollBack,
    /// This slot's container dies.
    Crash(u64),
}

/// What can be changed of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Keep tasks off the node of this slot.
    Exclude(u64),
    /// Keep them off every node.
    ExcludeAll,
    /// The last constraint once more, which changes nothing but the text.
    Again,
    /// Take all constraints away.
    Include,
    /// A new template.
    Deploy(u64),
    /// So many replicas.
    Scale(u64),
    /// Another order from now on.
    Order(Order),
    /// So many slots at a time from now on.
    Parallel(u64),
    /// A label, and nothing else.
    Label,
}

/// Of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The new task runs before the old one goes.
    StartFirst,
    /// The old one goes first.
    StopFirst,
}

impl Order {
    fn as_str(self) -> &'static str {
        match self {
            Self::StartFirst => "start-first",
            Self::StopFirst => "stop-first",
        }
    }
}

/// Reads a script; the number of the first line that is none, else.
///
/// # Errors
/// When a line cannot be read.
pub fn read(script: &str) -> Result<Vec<Step>, usize> {
    let mut steps = Vec::new();
    for (number, line) in (1_usize..).zip(script.lines()) {
        let text = line.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let (is_at_once, words) = match text.strip_prefix("at once ") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let what = step(words).ok_or(number)?;
        steps.push(Step { text: text.to_owned(), is_at_once, what });
    }
    Ok(steps)
}

fn step(words: &str) -> Option<What> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let order = |word: &str| match word {
        "start-first" => Some(Order::StartFirst),
        "stop-first" => Some(Order::StopFirst),
        _ => None,
    };
    let change = match words[..] {
        ["create", replicas, word] => return Some(What::Create(replicas.parse().ok()?, order(word)?)),
        ["rollback"] => return Some(What::RollBack),
        ["crash", slot] => return slot.parse().ok().map(What::Crash),
        ["exclude", "all"] => Change::ExcludeAll,
        ["exclude", slot] => Change::Exclude(slot.parse().ok()?),
        ["again"] => Change::Again,
        ["include"] => Change::Include,
        ["deploy", version] => Change::Deploy(version.parse().ok()?),
        ["scale", replicas] => Change::Scale(replicas.parse().ok()?),
        ["order", word] => Change::Order(order(word)?),
        ["parallel", count] => Change::Parallel(count.parse().ok()?),
        ["label"] => Change::Label,
        _ => return None,
    };
    Some(What::Change(change))
}

/// The spec of a service of that name and image, with so many replicas.
#[must_use]
pub fn spec(name: &str, image: &str, replicas: u64, order: Order) -> Value {
    json!({
        "Name": name,
        "Labels": {},
        "Mode": { "Replicated": { "Replicas": replicas } },
        "TaskTemplate": { "ContainerSpec": { "Image": image }, "Placement": {} },
        "UpdateConfig": { "Parallelism": 1, "Order": order.as_str(), "FailureAction": "pause" },
    })
}

impl Change {
    /// Makes it in a spec; `node_of` names the node of a slot.
    pub fn make(self, spec: &mut Value, node_of: impl Fn(u64) -> Option<String>) {
        match self {
            Self::Exclude(slot) => {
                let constraint = format!("node.id!={}", node_of(slot).unwrap_or_default());
                let placement = &mut spec["TaskTemplate"]["Placement"];
                let mut constraints = placement["Constraints"].as_array().cloned().unwrap_or_default();
                constraints.push(json!(constraint));
                *placement = json!({ "Constraints": constraints });
            }
            Self::ExcludeAll => spec["TaskTemplate"]["Placement"] = json!({ "Constraints": ["node.hostname==none"] }),
            Self::Again => {
                let constraints = spec["TaskTemplate"]["Placement"]["Constraints"].as_array_mut();
                let last = constraints.as_ref().and_then(|all| all.last().cloned());
                constraints.into_iter().for_each(|all| all.extend(last.clone()));
            }
            Self::Include => spec["TaskTemplate"]["Placement"] = json!({}),
            Self::Deploy(version) => {
                spec["TaskTemplate"]["ContainerSpec"]["Env"] = json!([format!("VERSION={version}")]);
            }
            Self::Scale(replicas) => spec["Mode"]["Replicated"]["Replicas"] = json!(replicas),
            Self::Order(order) => spec["UpdateConfig"]["Order"] = json!(order.as_str()),
            Self::Parallel(count) => spec["UpdateConfig"]["Parallelism"] = json!(count),
            Self::Label => spec["Labels"]["note"] = json!("seen"),
        }
    }
}

/// A task as either Swarm shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its identifier.
    pub task: String,
    /// Its slot.
    pub slot: u64,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// How far it is.
    pub state: State,
    /// Whether it is meant to run.
    pub is_wanted: bool,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Before running.
    Starting,
    /// Running, and healthy.
    Running,
    /// Ended.
    Ended,
}

/// What is seen of a service between two moments at which it has settled.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    before: BTreeMap<u64, Seen>,
    now: Vec<Seen>,
    /// Tasks that were not there before and have run, and whether the slot's old one still did when they began to.
    began: BTreeMap<String, bool>,
    together: usize,
}

impl Watch {
    /// From a moment at which these tasks run.
    #[must_use]
    pub fn new(tasks: &[Seen]) -> Self {
        Self { before: running(tasks), now: tasks.to_vec(), ..Self::default() }
    }

    /// All tasks of the service at a later moment.
    pub fn saw(&mut self, tasks: &[Seen]) {
        for task in tasks.iter().filter(|task| task.state == State::Running) {
            let Some(before) = self.before.get(&task.slot).filter(|before| before.task != task.task) else { continue };
            let old_runs = tasks.iter().any(|old| old.task == before.task && old.state == State::Running);
            self.began.entry(task.task.clone()).or_insert(old_runs);
        }
        let is_in_work = |slot: &&u64| {
            tasks.iter().any(|task| {
                task.slot == **slot && task.is_wanted && task.state == State::Starting && task.node.is_some()
            })
        };
        self.together = self.together.max(self.before.keys().filter(is_in_work).count());
        self.now = tasks.to_vec();
    }

    /// What became of the slots, now that all has settled: of the one that the step was about, and of the others.
    #[must_use]
    pub fn told(&self, about: Option<u64>) -> String {
        let after = running(&self.now);
        let mut told = String::new();
        let mut others: BTreeMap<String, usize> = BTreeMap::new();
        for slot in self.before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let text = self.of_slot(*slot, self.before.get(slot), after.get(slot));
            if about == Some(*slot) {
                // Writing to a String cannot fail.
                let _ = writeln!(told, "  it {text}");
            } else {
                *others.entry(text).or_default() += 1;
            }
        }
        for (text, count) in others {
            let _ = writeln!(told, "  {count} {text}");
        }
        if self.together > 1 {
            let _ = writeln!(told, "  {} at a time", self.together);
        }
        let mut held: BTreeMap<&str, usize> = BTreeMap::new();
        for node in after.values().filter_map(|task| task.node.as_deref()) {
            *held.entry(node).or_default() += 1;
        }
        let mut counts: Vec<usize> = held.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let _ = writeln!(told, "  nodes hold {counts:?}");
        told
    }

    fn of_slot(&self, slot: u64, before: Option<&Seen>, after: Option<&Seen>) -> String {
        let is_waited_for =
            self.now.iter().any(|task| task.slot == slot && task.is_wanted && task.state == State::Starting);
        let waiting = if is_waited_for { ", and a new one finds no node" } else { "" };
        match (before, after) {
            (Some(before), Some(after)) if before.task == after.task => format!("stays{waiting}"),
            (Some(before), Some(after)) => {
                let place = if before.node == after.node { "on its node" } else { "on another node" };
                let first = if self.began.get(&after.task) == Some(&true) {
                    "while the old one runs"
                } else {
                    "after the old one"
                };
                format!("is replaced {place}, {first}")
            }
            (None, Some(_)) => "is added".to_owned(),
            (Some(_), None) => format!("is gone{waiting}"),
            (None, None) => "was never there".to_owned(),
        }
    }
}

/// Tasks that run and are meant to, by slot; of two in a slot the newer one, which an update leaves.
fn running(tasks: &[Seen]) -> BTreeMap<u64, Seen> {
    let running = tasks.iter().filter(|task| task.is_wanted && task.state == State::Running);
    running.map(|task| (task.slot, task.clone())).collect()
}

/// The slot that a step is about: the `number`-th of those that run.
#[must_use]
pub fn slot_of(tasks: &[Seen], number: u64) -> Option<(u64, Seen)> {
    running(tasks).into_iter().nth(usize::try_from(number).ok()?.checked_sub(1)?)
}

impl What {
    /// The number of the slot that it is about.
    #[must_use]
    pub fn about(self) -> Option<u64> {
        match self {
            Self::Change(Change::Exclude(number)) | Self::Crash(number) => Some(number),
            Self::Create(..) | Self::Change(_) | Self::RollBack => None,
        }
    }
}
