//! One action as it is kept: what set it off, what was changed, when its steps were, and what came of it.

use serde::{Deserialize, Serialize};
use swarmguard_planner::memory::{EndedBy, Past};
use swarmguard_planner::plan::ActionKind;
use swarmguard_wire::Timestamp;
use swarmguard_wire::time::ClockOffset;

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
    /// Another collector goes on with it, or went on: what came of it this one does not know.
    HandedOver,
}

impl State {
    /// Who ended the action; nothing where it was refused, and so never began.
    pub fn ended_by(&self) -> Option<EndedBy> {
        match self {
            Self::Refused => None,
            Self::Superseded => Some(EndedBy::Somebody),
            Self::Running | Self::Unfinished | Self::HandedOver => Some(EndedBy::Nobody),
            Self::Completed | Self::Reverted | Self::Left => Some(EndedBy::Us),
        }
    }

    /// Whether it is under way, as far as this collector knows.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Running | Self::Unfinished)
    }

    /// Whether we ended it. Its mark may still come back with somebody's change, a rollback for one: that does not undo it.
    pub fn is_ours(&self) -> bool {
        self.ended_by() == Some(EndedBy::Us)
    }

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
            Self::HandedOver => "handed_over",
        }
    }
}

/// T0 to T6 of an action, by the collector's clock; of one that was taken over T0 to T4 are by that of the one that began it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeLine {
    /// The first breach of the row was measured.
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
    /// The node that was planned; once it has ended the one that was reached, if any.
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
    /// Whether it was gone on with by another collector than began it, or by the same after a restart.
    #[serde(default)]
    pub taken_over: bool,
    /// When it ended; absent while it is under way.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// How far the wall clock was ahead of the clock that these times are by.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wall_ahead: ClockOffset,
    /// When its steps were.
    pub times: TimeLine,
    /// The same in milliseconds since T0.
    pub times_ms: [Option<f64>; 7],
}

/// Left out where it says nothing.
pub(super) fn is_zero(offset: &ClockOffset) -> bool {
    *offset == ClockOffset::default()
}

impl ActionRecord {
    /// What it does; nothing where a later version wrote it.
    pub fn action_kind(&self) -> Option<ActionKind> {
        let kinds = [ActionKind::Migrate, ActionKind::ScaleUp, ActionKind::ScaleDown];
        kinds.into_iter().find(|kind| kind.as_str() == self.kind)
    }

    /// Its times by the wall clock, as people and databases are told; but T0 to T4 of one that was taken over, which are by a
    /// clock of which that is not known.
    #[must_use]
    pub fn by_wall(&self) -> Self {
        let by_wall = |at: Option<Timestamp>| at.map(|at| at.shifted(self.wall_ahead));
        let times = self.times;
        let [t0, t1, t2, t3, t4] =
            [times.t0, times.t1, times.t2, times.t3, times.t4].map(|at| if self.taken_over { at } else { by_wall(at) });
        Self {
            times: TimeLine { t0, t1, t2, t3, t4, t5: by_wall(times.t5), t6: by_wall(times.t6) },
            ended_at: by_wall(self.ended_at),
            wall_ahead: ClockOffset::default(),
            ..self.clone()
        }
    }

    /// When it began, as far as that is known.
    pub fn begun_at(&self) -> Option<Timestamp> {
        self.times.t3.or(self.times.t4).or(self.ended_at)
    }

    /// What is to be remembered of it; nothing of one that changed nothing.
    pub fn past(&self) -> Option<Past> {
        let by = self.state.ended_by()?;
        let kind = self.action_kind()?;
        let ended = self.ended_at.map(|at| (by, at));
        Some(Past { service: self.service.parse().ok()?, kind, begun: self.begun_at()?, ended })
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

    #[test]
    fn people_are_told_times_by_the_wall_clock_but_those_of_another_collector() {
        let (at, hour) = (Timestamp::from_micros(1_000_000), Duration::from_secs(3_600));
        let times = TimeLine { t0: Some(at), t3: Some(at), t5: Some(at), ..TimeLine::default() };
        let own = ActionRecord {
            wall_ahead: ClockOffset(3_600_000_000),
            ended_at: Some(at),
            times,
            ..crate::explain::tests::migration()
        };
        let check = |record: ActionRecord, t0, t5| {
            let told = record.by_wall();
            assert_eq!(
                [told.times.t0, told.times.t3, told.times.t5, told.ended_at].map(Option::unwrap),
                [t0, t0, t5, t5]
            );
            assert_eq!(told.by_wall(), told, "once is enough");
        };
        check(own.clone(), at + hour, at + hour);
        check(ActionRecord { taken_over: true, ..own }, at, at + hour);
    }
}
