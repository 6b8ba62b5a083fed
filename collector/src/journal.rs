//! What was decided and done: the last [`ACTIONS_MAX`] actions and the last decisions for each service in memory, and more of
//! both on [`disk`], where they outlive the collector.

pub mod disk;

pub(crate) mod record;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use swarmguard_planner::memory::{EndedBy, Past};
use swarmguard_planner::plan::{ActionKind, Decision};
use swarmguard_wire::{ServiceId, Timestamp};

use disk::{Disk, Entry, Told};

/// Actions in memory.
pub const ACTIONS_MAX: usize = 1_000;

/// Decisions told of each service.
pub const TOLD_MAX: usize = 10;

/// Decisions about a service that follow one another faster are not all kept: those to act always are, as actions.
const TOLD_APART: Duration = Duration::from_secs(10);

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Under way.
    Running,
    /// Done, and the user's spec is back.
    Completed,
    /// The deadline passed: taken back, and the user's spec is back.
    Reverted,
    /// The deadline passed: the user's spec is back, and what was begun is left to Swarm, since taking it back could take
    /// a healthy task with it.
    Left,
    /// Swarm refused it: nothing was changed.
    Refused,
    /// Someone else changed the service, or removed it, before it was done.
    Superseded,
    /// The mark could not be taken away; the next look at the Swarm tries again.
    Unfinished,
}

impl State {
    /// The state in one word, as in the database.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Reverted => "reverted",
            Self::Left => "left",
            Self::Refused => "refused",
            Self::Superseded => "superseded",
            Self::Unfinished => "unfinished",
        }
    }
}

/// T0 to T6 of an action, by the collector's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeLine {
    /// The first breach of the row was measured. Absent in an action taken over from another collector, as are T1-T3.
    pub t0: Option<Timestamp>,
    /// The message that completed the row was sent.
    pub t1: Option<Timestamp>,
    /// It was received.
    pub t2: Option<Timestamp>,
    /// The decision was made.
    pub t3: Option<Timestamp>,
    /// Docker was called.
    pub t4: Option<Timestamp>,
    /// What was asked for runs.
    pub t5: Option<Timestamp>,
    /// What was to go is gone.
    pub t6: Option<Timestamp>,
}

impl TimeLine {
    /// T0 to T6 in order.
    pub fn points(&self) -> [Option<Timestamp>; 7] {
        [self.t0, self.t1, self.t2, self.t3, self.t4, self.t5, self.t6]
    }

    /// Milliseconds since T0 of each; absent where either is.
    pub fn millis(&self) -> [Option<f64>; 7] {
        let origin = self.t0;
        self.points().map(|point| point.zip(origin).map(|(point, origin)| point.millis_after(origin)))
    }
}

/// One action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRecord {
    /// Its identifier: the collector's start time and a number.
    pub id: String,
    /// `migrate`, `scale_up` or `scale_down`.
    pub kind: String,
    /// The service.
    pub service: String,
    /// Its name.
    pub service_name: String,
    /// What came of it.
    pub state: State,
    /// More about that, for people.
    pub detail: Option<String>,
    /// The container that set it off.
    pub container: Option<String>,
    /// Its CPU in percent of what it may use.
    pub cpu_percent: Option<f32>,
    /// Its memory in percent of what it may use.
    pub memory_percent: Option<f32>,
    /// Its network in percent of the link.
    pub network_percent: Option<f32>,
    /// The node that was left.
    pub from_node: Option<String>,
    /// The node that was reached.
    pub to_node: Option<String>,
    /// Replicas before.
    pub replicas_before: u64,
    /// Replicas after.
    pub replicas_after: u64,
    /// Whether RUNNING meant healthy; without a health check there is no promise of zero downtime. Absent: not known.
    pub has_healthcheck: Option<bool>,
    /// Fewest tasks seen running meanwhile.
    pub running_min: Option<u64>,
    /// Milliseconds in which no task was seen running.
    pub downtime_ms: f64,
    /// What was seen, which rule applies, and which nodes were looked at, in sentences.
    #[serde(default)]
    pub because: Vec<String>,
    /// When it ended; absent while it is under way.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// When its steps were.
    pub times: TimeLine,
    /// The same in milliseconds since T0.
    pub times_ms: [Option<f64>; 7],
}

impl ActionRecord {
    /// When it began, as far as that is known.
    pub fn begun_at(&self) -> Option<Timestamp> {
        self.times.t3.or(self.times.t4).or(self.ended_at)
    }

    /// What is to be remembered of it; nothing of one that changed nothing.
    pub fn past(&self) -> Option<Past> {
        let by = match self.state {
            State::Refused => return None,
            State::Superseded => EndedBy::Somebody,
            State::Running | State::Unfinished => EndedBy::Nobody,
            State::Completed | State::Reverted | State::Left => EndedBy::Us,
        };
        let kinds = [ActionKind::Migrate, ActionKind::ScaleUp, ActionKind::ScaleDown];
        let kind = kinds.into_iter().find(|kind| kind.as_str() == self.kind)?;
        let ended = self.ended_at.map(|at| (by, at));
        Some(Past { service: self.service.parse().ok()?, kind, begun: self.begun_at()?, ended })
    }
}

/// A decision and when it was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionRecord {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub decision: Decision,
}

/// What is kept.
#[derive(Debug, Default)]
pub struct Journal {
    actions: VecDeque<ActionRecord>,
    decisions: BTreeMap<ServiceId, DecisionRecord>,
    told: BTreeMap<String, VecDeque<Told>>,
    disk: Option<Disk>,
}

/// What is new about a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// It differs in substance from the one before.
    pub is_new: bool,
    /// It is told of later.
    pub is_kept: bool,
}

impl Journal {
    /// One that goes on with what is on disk, oldest first.
    pub fn on(disk: Disk, entries: Vec<Entry>) -> Self {
        let mut journal = Self::default();
        for entry in entries {
            match entry {
                Entry::Action(record) => journal.record_action(*record),
                Entry::Decision(told) => journal.tell(told),
            }
        }
        journal.disk = Some(disk);
        journal
    }

    /// Where it is kept.
    pub fn disk(&self) -> Option<Disk> {
        self.disk.clone()
    }

    fn tell(&mut self, told: Told) {
        let of_service = self.told.entry(told.service.clone()).or_default();
        if of_service.len() == TOLD_MAX {
            of_service.pop_front();
        }
        of_service.push_back(told);
    }

    /// Adds an action, or what is new of one that is known: the mark of one that was taken over tells less.
    pub fn record_action(&mut self, mut record: ActionRecord) {
        if let Some(known) = self.actions.iter_mut().find(|known| known.id == record.id) {
            record.container = record.container.or(known.container.take());
            record.cpu_percent = record.cpu_percent.or(known.cpu_percent);
            record.memory_percent = record.memory_percent.or(known.memory_percent);
            record.network_percent = record.network_percent.or(known.network_percent);
            record.to_node = record.to_node.or(known.to_node.take());
            record.has_healthcheck = record.has_healthcheck.or(known.has_healthcheck);
            record.times.t0 = record.times.t0.or(known.times.t0);
            if record.because.is_empty() {
                record.because = std::mem::take(&mut known.because);
            }
            *known = record;
            self.disk.iter().for_each(|disk| disk.put(Entry::Action(Box::new(known.clone()))));
            return;
        }
        if self.actions.len() == ACTIONS_MAX {
            self.actions.pop_front();
        }
        self.disk.iter().for_each(|disk| disk.put(Entry::Action(Box::new(record.clone()))));
        self.actions.push_back(record);
    }

    /// Keeps a decision as the service's last; says what is new about it.
    pub fn record_decision(&mut self, decision: &Decision, now: Timestamp) -> News {
        let record = DecisionRecord { at: now, decision: decision.clone() };
        let before = self.decisions.insert(decision.service.clone(), record);
        let is_new = before.is_none_or(|before| {
            std::mem::discriminant(&before.decision.outcome) != std::mem::discriminant(&decision.outcome)
                || reason(&before.decision) != reason(decision)
        });
        let last = self.told.get(decision.service.as_str()).and_then(|told| told.back());
        let is_act = matches!(decision.outcome, swarmguard_planner::Outcome::Act { .. });
        let is_kept = is_new && !is_act && last.is_none_or(|last| now.since(last.at) >= TOLD_APART);
        if is_kept {
            let told = Told {
                at: now,
                service: decision.service.to_string(),
                service_name: decision.service_name.to_string(),
                sentences: decision.explain(),
            };
            self.disk.iter().for_each(|disk| disk.put(Entry::Decision(told.clone())));
            self.tell(told);
        }
        News { is_new, is_kept }
    }

    /// Forgets decisions for services that are gone.
    pub fn retain_services(&mut self, exists: impl Fn(&ServiceId) -> bool) {
        self.decisions.retain(|service, _| exists(service));
        self.told.retain(|service, _| service.parse().is_ok_and(|service| exists(&service)));
    }

    /// An action by its identifier, from disk if it is not in memory any more.
    pub fn action(&self, id: &str) -> Option<ActionRecord> {
        if let Some(found) = self.actions.iter().rfind(|record| record.id == id) {
            return Some(found.clone());
        }
        // A disk that fails is said by whoever writes to it.
        self.disk.as_ref()?.action(id).ok().flatten()
    }

    /// The last decisions to do nothing about a service, oldest first.
    pub fn told(&self, service: &ServiceId) -> impl Iterator<Item = &Told> {
        self.told.get(service.as_str()).into_iter().flatten()
    }

    /// Actions, oldest first.
    pub fn actions(&self) -> impl Iterator<Item = &ActionRecord> {
        self.actions.iter()
    }

    /// The last decision for a service.
    pub fn decision(&self, service: &ServiceId) -> Option<&DecisionRecord> {
        self.decisions.get(service)
    }
}

fn reason(decision: &Decision) -> Option<std::mem::Discriminant<swarmguard_planner::Withheld>> {
    match &decision.outcome {
        swarmguard_planner::Outcome::Withhold { withheld } => Some(std::mem::discriminant(withheld)),
        swarmguard_planner::Outcome::Act { .. } | swarmguard_planner::Outcome::Observe { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_line_is_told_in_milliseconds_since_the_breach() {
        let t0 = Timestamp::from_micros(1_000_000);
        let times = TimeLine { t0: Some(t0), t5: Some(t0 + Duration::from_millis(1500)), ..TimeLine::default() };
        assert_eq!(times.millis(), [Some(0.0), None, None, None, None, Some(1500.0), None]);
        assert_eq!(TimeLine { t0: None, ..times }.millis(), [None; 7]);
    }
}
