//! What was decided and done: the last [`ACTIONS_MAX`] actions and the last decisions for each service in memory, and more of
//! both on [`disk`], where they outlive the collector.

mod action;
pub mod disk;
pub(crate) mod record;

use std::collections::{BTreeMap, VecDeque};
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use serde::Serialize;
use swarmguard_planner::plan::{ActionKind, Decision, Observed};
use swarmguard_planner::{Outcome, Withheld};
use swarmguard_wire::{Name, ServiceId, Timestamp};

pub use action::{ActionRecord, State, TimeLine};
use disk::{Disk, Entry, Told};

use crate::clock::wall_ahead;

/// Actions in memory.
pub const ACTIONS_MAX: usize = 1_000;

/// Decisions told of each service.
pub const TOLD_MAX: usize = 10;

/// Decisions about a service that follow one another faster are not all kept: those to act always are, as actions.
const TOLD_APART: Duration = Duration::from_secs(10);

/// A service about which nothing was decided for so long was calm: the same reason after that is told anew.
const CALM_AFTER: Duration = Duration::from_secs(60);

/// Of an action that is over: a rollback, for one, does so.
const BROUGHT_BACK: &str = "someone else's change brought its mark back later";

/// A decision and when it was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionRecord {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub decision: Decision,
}

impl DecisionRecord {
    /// When it was made, by the wall clock.
    pub(crate) fn by_wall(&self) -> Self {
        Self { at: self.at.shifted(wall_ahead()), ..self.clone() }
    }
}

/// What is kept.
#[derive(Debug, Default)]
pub struct Journal {
    actions: VecDeque<ActionRecord>,
    decisions: BTreeMap<ServiceId, DecisionRecord>,
    told: BTreeMap<String, VecDeque<Told>>,
    /// The last decision to do nothing that was kept, of each service.
    kept: BTreeMap<ServiceId, Kept>,
    disk: Option<Disk>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    reason: Reason,
    at: Timestamp,
    /// When one was made last.
    decided_at: Timestamp,
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
                Entry::Action(record) => drop(journal.add(record.by_wall())),
                Entry::Decision(told) => journal.tell(told.by_wall()),
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

    /// Adds an action, or what is new of one that is known: the mark of one that was taken over tells less, and whoever goes on
    /// with it has seen the rest of it only. Gives all that is known of it by now.
    pub fn record_action(&mut self, record: ActionRecord) -> ActionRecord {
        self.add(ActionRecord { wall_ahead: wall_ahead(), ..record })
    }

    fn add(&mut self, mut record: ActionRecord) -> ActionRecord {
        if let Some(known) = self.actions.iter_mut().find(|known| known.id == record.id) {
            if known.state.is_ours() {
                known.detail = detail_of_over(known, &record);
                // It counts from its last end on.
                known.ended_at = record.ended_at.filter(|_| !record.state.is_open()).or(known.ended_at);
                known.wall_ahead = record.wall_ahead;
                self.disk.iter().for_each(|disk| disk.put(Entry::Action(Box::new(known.clone()))));
                return known.clone();
            }
            if record.state == State::Running && matches!(known.state, State::Running | State::Unfinished) {
                record.detail = record.detail.or(known.detail.take());
            }
            record.running_min = known.running_min.into_iter().chain(record.running_min).min();
            record.downtime_ms += known.downtime_ms;
            record.taken_over |= known.taken_over;
            record.times.t5 = known.times.t5.or(record.times.t5);
            record.times.t6 = known.times.t6.or(record.times.t6);
            record.container = record.container.or(known.container.take());
            record.cpu_percent = record.cpu_percent.or(known.cpu_percent);
            record.memory_percent = record.memory_percent.or(known.memory_percent);
            record.network_percent = record.network_percent.or(known.network_percent);
            record.to_node = record.to_node.or(known.to_node.take().filter(|_| record.state.is_open()));
            record.has_healthcheck = record.has_healthcheck.or(known.has_healthcheck);
            record.times.t0 = record.times.t0.or(known.times.t0);
            record.times_ms = record.times.millis();
            if record.because.is_empty() {
                record.because = std::mem::take(&mut known.because);
            }
            *known = record.clone();
            self.disk.iter().for_each(|disk| disk.put(Entry::Action(Box::new(known.clone()))));
            return record;
        }
        if self.actions.len() == ACTIONS_MAX {
            self.actions.pop_front();
        }
        self.disk.iter().for_each(|disk| disk.put(Entry::Action(Box::new(record.clone()))));
        self.actions.push_back(record.clone());
        record
    }

    /// Whether an action ended otherwise than it did last time: one that cannot be finished is tried again and again.
    pub fn is_news(&self, record: &ActionRecord) -> bool {
        match self.action(&record.id) {
            Some(known) if known.state.is_ours() => known.detail != detail_of_over(known, record),
            Some(known) => record.state != State::Unfinished || known.detail != record.detail,
            None => true,
        }
    }

    /// Whether we have ended this action before.
    pub fn is_over(&self, id: &str) -> bool {
        self.action(id).is_some_and(|known| known.state.is_ours())
    }

    fn tell_and_write(&mut self, service: &ServiceId, name: &Name, sentences: Vec<String>, at: Timestamp) {
        let told = Told {
            at,
            wall_ahead: wall_ahead(),
            service: service.to_string(),
            service_name: name.to_string(),
            sentences,
        };
        self.disk.iter().for_each(|disk| disk.put(Entry::Decision(told.clone())));
        self.tell(told);
    }

    /// Closes the records of actions on these services that are under way, as far as this collector knows.
    pub fn hand_over(&mut self, why: &str, of: impl Fn(&ServiceId) -> bool) {
        let is_open = |record: &&mut ActionRecord| record.state.is_open();
        for record in self.actions.iter_mut().filter(is_open) {
            if record.service.parse().is_ok_and(|service| of(&service)) {
                record.state = State::HandedOver;
                record.detail = Some(why.to_owned());
                self.disk.iter().for_each(|disk| disk.put(Entry::Action(Box::new(record.clone()))));
            }
        }
    }

    /// Keeps a decision as the service's last; says what is new about it.
    pub fn record_decision(&mut self, decision: &Decision, now: Timestamp) -> News {
        let record = DecisionRecord { at: now, decision: decision.clone() };
        let before = self.decisions.insert(decision.service.clone(), record);
        let is_new = before.is_none_or(|before| reason(&before.decision) != reason(decision));
        News { is_new, is_kept: self.keep(decision, now) }
    }

    /// Keeps a decision to do nothing if its reason is another than that of the last one kept, or than before the service was
    /// calm, and that is a while ago. A row that has just begun is no reason yet.
    fn keep(&mut self, decision: &Decision, now: Timestamp) -> bool {
        let has_begun = |withheld: &Withheld| matches!(withheld, Withheld::Streak { .. });
        match &decision.outcome {
            Outcome::Act { .. } => return false,
            Outcome::Withhold { withheld } if has_begun(withheld) => return false,
            Outcome::Withhold { .. } | Outcome::Observe { .. } => {}
        }
        let reason = reason(decision);
        if let Some(Kept { reason: last, at, decided_at }) = self.kept.get_mut(&decision.service) {
            let is_same = *last == reason && now.since(*decided_at) < CALM_AFTER;
            *decided_at = now;
            if is_same || now.since(*at) < TOLD_APART {
                return false;
            }
        }
        self.kept.insert(decision.service.clone(), Kept { reason, at: now, decided_at: now });
        self.tell_and_write(&decision.service, &decision.service_name, decision.explain(), now);
        true
    }

    /// Forgets decisions for services that are gone.
    pub fn retain_services(&mut self, exists: impl Fn(&ServiceId) -> bool) {
        self.decisions.retain(|service, _| exists(service));
        self.kept.retain(|service, _| exists(service));
        self.told.retain(|service, _| service.parse().is_ok_and(|service| exists(&service)));
    }

    /// An action by its identifier, as far as it is in memory.
    pub fn action(&self, id: &str) -> Option<&ActionRecord> {
        self.actions.iter().rfind(|record| record.id == id)
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

/// What is told of an action that is over once its mark has come back, with what came of it first.
fn detail_of_over(known: &ActionRecord, later: &ActionRecord) -> Option<String> {
    let what = match later.state {
        State::Running => return known.detail.clone(),
        State::Unfinished => {
            format!(", which is not taken out yet: {}", later.detail.as_deref().unwrap_or("it goes on"))
        }
        State::Completed | State::Reverted | State::Left | State::Refused | State::Superseded | State::HandedOver => {
            ", which was taken out again".to_owned()
        }
    };
    let before = known.detail.as_deref().and_then(|detail| detail.split(BROUGHT_BACK).next()).unwrap_or_default();
    let separator = if before.is_empty() || before.ends_with("; ") { "" } else { "; " };
    Some(format!("{before}{separator}{BROUGHT_BACK}{what}"))
}

/// What tells one decision from another, numbers left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Act(ActionKind),
    Observe(ActionKind, Discriminant<Observed>),
    Withhold(Discriminant<Withheld>),
}

fn reason(decision: &Decision) -> Reason {
    match &decision.outcome {
        Outcome::Act { action } => Reason::Act(action.kind()),
        Outcome::Observe { action, because } => Reason::Observe(action.kind(), discriminant(because)),
        Outcome::Withhold { withheld } => Reason::Withhold(discriminant(withheld)),
    }
}

#[cfg(test)]
mod tests {
    use swarmguard_planner::plan::{Grounds, Thresholds};
    use swarmguard_planner::rules::Condition;
    use swarmguard_wire::ContainerId;

    use super::*;

    fn decision(outcome: Outcome) -> Decision {
        let at = Timestamp::default();
        let thresholds = Thresholds { cpu: 75.0, memory: 80.0, network: 35.0, ticks: 2 };
        Decision {
            service: "s1".parse().unwrap(),
            service_name: Name::new("web"),
            container: ContainerId::new([1; 32]),
            condition: Condition::Sick,
            grounds: Grounds {
                node: Name::new("node1"),
                cpu_percent: Some(95.0),
                memory_percent: None,
                network_percent: None,
                ticks: 2,
                since: at,
                at,
                thresholds,
                running: 1,
                replicas: Some(1),
            },
            outcome,
        }
    }

    fn withheld(withheld: Withheld) -> Decision {
        decision(Outcome::Withhold { withheld })
    }

    /// Decisions at these seconds, and which of them are kept.
    fn check(decisions: &[(u64, Withheld)], kept: &[u64]) {
        let mut journal = Journal::default();
        for (second, reason) in decisions {
            journal.record_decision(&withheld(reason.clone()), Timestamp::from_micros(second * 1_000_000));
        }
        let service = "s1".parse().unwrap();
        let told = journal.told(&service).map(|told| told.at.as_micros() / 1_000_000);
        assert_eq!(told.collect::<Vec<_>>(), kept, "of {decisions:?}");
    }

    #[test]
    fn the_reason_that_lasts_is_kept_and_once() {
        let streak = Withheld::Streak { seen: 1, needed: 2 };
        let max = |max| Withheld::MaxReplicas { replicas: max, max };
        let global = Withheld::NotReplicated;
        check(&[(1, streak.clone()), (2, max(3)), (3, max(3)), (4, max(3))], &[2]);
        check(&[(1, max(3)), (2, global.clone()), (9, global.clone()), (11, global.clone()), (12, global)], &[1, 11]);
        check(&[(1, max(3)), (30, max(3)), (90, max(3)), (91, max(3))], &[1, 90]);
        check(&[(1, streak.clone()), (2, streak)], &[]);
    }

    #[test]
    fn an_action_that_is_gone_on_with_keeps_what_was_seen_of_it_before() {
        let mut journal = Journal::default();
        let began = ActionRecord { detail: None, running_min: None, ..crate::explain::tests::migration() };
        let unfinished = |detail: &str| ActionRecord {
            state: State::Unfinished,
            detail: Some(detail.into()),
            running_min: Some(1),
            downtime_ms: 50.0,
            ..began.clone()
        };
        journal.record_action(ActionRecord { state: State::Running, ..began.clone() });
        assert!(journal.is_news(&unfinished("paused")));
        journal.record_action(unfinished("paused"));
        let again = ActionRecord { state: State::Running, because: Vec::new(), taken_over: true, ..began.clone() };
        assert_eq!(journal.record_action(again).detail.as_deref(), Some("paused"));
        assert!(!journal.is_news(&unfinished("paused")), "the same once more");
        assert!(journal.is_news(&unfinished("moving")));
        let ended = journal.record_action(ActionRecord { running_min: Some(2), downtime_ms: 25.0, ..began.clone() });
        assert_eq!((ended.running_min, ended.downtime_ms, ended.taken_over), (Some(1), 75.0, true));
        assert_eq!((ended.detail, ended.because), (None, began.because));
    }

    #[test]
    fn what_came_of_an_action_stays_though_somebody_brings_its_mark_back() {
        let mut journal = Journal::default();
        let ended = ActionRecord { detail: Some("slowly".into()), ..crate::explain::tests::migration() };
        assert!(!journal.is_over(&ended.id));
        journal.record_action(ended.clone());
        assert!(journal.is_over(&ended.id));
        let mut check = |state, why: Option<&str>, detail: &str| {
            let detail_then = why.map(str::to_owned);
            let again = ActionRecord { state, times: TimeLine::default(), detail: detail_then, ..ended.clone() };
            let is_news = journal.action(&ended.id).unwrap().detail.as_deref() != Some(detail);
            assert_eq!(journal.is_news(&again), is_news);
            assert_eq!(journal.record_action(again), ActionRecord { detail: Some(detail.into()), ..ended.clone() });
        };
        let back = "slowly; someone else's change brought its mark back later";
        check(State::Running, None, "slowly");
        check(State::Unfinished, Some("paused"), &format!("{back}, which is not taken out yet: paused"));
        check(State::Running, None, &format!("{back}, which is not taken out yet: paused"));
        check(State::Unfinished, Some("paused"), &format!("{back}, which is not taken out yet: paused"));
        for state in [State::Superseded, State::Completed, State::Reverted] {
            check(state, None, &format!("{back}, which was taken out again"));
        }
    }

    #[test]
    fn an_action_whose_end_was_not_seen_is_not_under_way_for_ever() {
        let mut journal = Journal::default();
        let record = ActionRecord { service: "s1".into(), ..crate::explain::tests::migration() };
        journal.record_action(ActionRecord { state: State::Running, ..record.clone() });
        journal.record_action(ActionRecord { id: "1-2".into(), ..record });
        journal.hand_over("another collector leads", |_| true);
        let states: Vec<_> = journal.actions().map(|record| (record.state.clone(), record.detail.is_some())).collect();
        assert_eq!(states, [(State::HandedOver, true), (State::Completed, false)]);
    }
}
