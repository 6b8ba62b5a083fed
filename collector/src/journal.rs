//! What was decided and done, in memory: the last [`ACTIONS_MAX`] actions and the last decision for each service.

pub(crate) mod record;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use swarmguard_planner::plan::Decision;
use swarmguard_wire::{ServiceId, Timestamp};

/// Actions kept.
pub const ACTIONS_MAX: usize = 1_000;

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
    /// When its steps were.
    pub times: TimeLine,
    /// The same in milliseconds since T0.
    pub times_ms: [Option<f64>; 7],
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
}

impl Journal {
    /// Adds an action, or what is new of one that is known: the mark of one that was taken over tells less.
    pub fn record_action(&mut self, mut record: ActionRecord) {
        if let Some(known) = self.actions.iter_mut().find(|known| known.id == record.id) {
            record.container = record.container.or(known.container.take());
            record.cpu_percent = record.cpu_percent.or(known.cpu_percent);
            record.memory_percent = record.memory_percent.or(known.memory_percent);
            record.network_percent = record.network_percent.or(known.network_percent);
            record.to_node = record.to_node.or(known.to_node.take());
            record.has_healthcheck = record.has_healthcheck.or(known.has_healthcheck);
            *known = record;
            return;
        }
        if self.actions.len() == ACTIONS_MAX {
            self.actions.pop_front();
        }
        self.actions.push_back(record);
    }

    /// Keeps a decision as the service's last; says whether it differs in substance from the one before.
    pub fn record_decision(&mut self, decision: &Decision, now: Timestamp) -> bool {
        let record = DecisionRecord { at: now, decision: decision.clone() };
        let before = self.decisions.insert(decision.service.clone(), record);
        before.is_none_or(|before| {
            std::mem::discriminant(&before.decision.outcome) != std::mem::discriminant(&decision.outcome)
                || reason(&before.decision) != reason(decision)
        })
    }

    /// Forgets decisions for services that are gone.
    pub fn retain_services(&mut self, exists: impl Fn(&ServiceId) -> bool) {
        self.decisions.retain(|service, _| exists(service));
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
