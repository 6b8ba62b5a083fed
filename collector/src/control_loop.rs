//! The one loop that decides: facts in, plan, check, hand to the executor.
//!
//! It wakes at each alert, each look at the Swarm and each action's end. Deciding is a function call without an await,
//! so that no fact changes under it. Actions run as tasks of their own and report back; one service has one at a time.

mod acting;
mod pauses;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use swarmguard_daemon::presence::Presence;
use swarmguard_influx::Sink;
use swarmguard_planner::claims::Claims;
use swarmguard_planner::facts::{Leader, Swarm};
use swarmguard_planner::labels::LabelProblem;
use swarmguard_planner::memory::Past;
use swarmguard_planner::plan::{ActionKind, Withheld};
use swarmguard_planner::quiet::Pauses;
use swarmguard_planner::{Memory, Outcome, Policy, plan};
use swarmguard_wire::{Name, NodeId, ServiceId, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::clock::{now, wall_ahead};
use crate::events;
use crate::executor::Ended;
use crate::journal::{ActionRecord, State, record};
use crate::state::{PauseWish, Shared};
use crate::swarm::{DockerSwarm, SwarmError};

/// How often the whole Swarm is read.
const SWARM_READ_INTERVAL: Duration = Duration::from_secs(1);

/// Actions under way and looks at the Swarm that wait to be told of; each service has at most one action.
const NEWS_MAX: usize = 1_024;

/// A look at the Swarm: the connection to use again, its state, and what is paused.
type Look = (DockerSwarm, Swarm, Result<Pauses, SwarmError>);

/// What comes back from the tasks the loop started.
#[derive(Debug)]
enum News {
    /// The Swarm was read, or not.
    Read(Result<Box<Look>, SwarmError>),
    /// The Swarm keeps what people said of pauses now, or not.
    PausesSaved(Vec<PauseWish>, Result<(), SwarmError>),
    /// An action ended.
    Ended { service: ServiceId, kind: ActionKind, record: Box<ActionRecord>, ended: Box<Ended> },
    /// An action that another collector began is gone on with.
    TakenOver { record: Box<ActionRecord> },
    /// There was nothing to take over after all.
    NothingToTakeOver { service: ServiceId },
}

/// What made the loop look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waked {
    /// An alert.
    ByFacts,
    /// A look at the Swarm.
    ByTime,
}

/// Labels that cannot be followed, each said once.
#[derive(Debug, Default)]
struct LabelProblems(BTreeMap<ServiceId, Vec<LabelProblem>>);

impl LabelProblems {
    fn tell(&mut self, swarm: &Swarm, policy: &Policy) {
        self.0.retain(|id, _| swarm.services.contains_key(id));
        for (id, service) in &swarm.services {
            let (_, _, problems) = service.labels.over(policy);
            let before =
                if problems.is_empty() { self.0.remove(id) } else { self.0.insert(id.clone(), problems.clone()) };
            for problem in problems.iter().filter(|problem| !before.iter().flatten().any(|said| said == *problem)) {
                tracing::warn!(service = %service.name, "{problem}; until then the service is only observed");
            }
        }
    }
}

/// The loop and what it alone knows.
pub struct ControlLoop {
    shared: Arc<Shared>,
    memory: Memory,
    sink: Option<Sink>,
    docker: Option<DockerSwarm>,
    presence: Presence,
    /// Whether the Swarm tells and keeps what people paused.
    pauses_kept: Presence,
    taking_over: BTreeSet<ServiceId>,
    /// Actions under way, for as long as this collector is the one that acts.
    running: BTreeMap<ServiceId, AbortHandle>,
    /// Who led at the last look.
    leader: Leader,
    /// Until when that lets this collector act, if it is the one.
    leads_until: watch::Sender<Timestamp>,
    labels: LabelProblems,
    /// Pauses are being saved: a second save could be overtaken by the first.
    saving: bool,
    /// Looks at the Swarm that began before this show actions that have ended since.
    trusted_from: Timestamp,
    started_at: Timestamp,
    actions: u64,
    news: mpsc::Sender<News>,
    inbox: mpsc::Receiver<News>,
}

impl ControlLoop {
    /// A loop that has seen nothing yet.
    pub fn new(shared: Arc<Shared>, sink: Option<Sink>) -> Self {
        let (news, inbox) = mpsc::channel(NEWS_MAX);
        // Of actions before this collector's time only cooldowns and counts matter; what is unended has its mark in the Swarm.
        let mut memory = Memory::default();
        let past: Vec<Past> = shared.state().journal.actions().filter_map(ActionRecord::past).collect();
        past.into_iter().for_each(|past| memory.restore(past, now()));
        Self {
            shared,
            memory,
            sink,
            docker: None,
            presence: Presence::new("docker"),
            pauses_kept: Presence::new("pauses"),
            taking_over: BTreeSet::new(),
            running: BTreeMap::new(),
            leader: Leader::Unknown,
            leads_until: watch::Sender::new(Timestamp::default()),
            labels: LabelProblems::default(),
            saving: false,
            trusted_from: Timestamp::default(),
            started_at: now(),
            actions: 0,
            news,
            inbox,
        }
    }

    /// Decides until the task is dropped. Actions under way are then left to their marks.
    pub async fn run(mut self) {
        let mut read = tokio::time::interval(SWARM_READ_INTERVAL);
        read.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reading = false;
        let shared = self.shared.clone();
        loop {
            tokio::select! {
                () = shared.facts_came() => self.decide(Waked::ByFacts),
                _ = read.tick(), if !reading => {
                    reading = true;
                    let mut state = self.shared.state();
                    state.fleet.record_wall(wall_ahead());
                    state.fleet.forget(now());
                    drop(state);
                    self.read_swarm();
                }
                Some(news) = self.inbox.recv() => match news {
                    News::Read(result) => {
                        reading = false;
                        self.saw_swarm(result);
                    }
                    News::Ended { service, kind, record, ended } => {
                        self.action_ended(&service, kind, *record, &ended);
                        // What the action left is looked at anew, not at the next tick.
                        read.reset_immediately();
                    }
                    News::PausesSaved(wishes, result) => self.pauses_saved(&wishes, result),
                    News::TakenOver { record } => drop(self.shared.state().journal.record_action(*record)),
                    News::NothingToTakeOver { service } => {
                        self.running.remove(&service);
                        self.taking_over.remove(&service);
                    }
                }
            }
        }
    }

    fn read_swarm(&self) {
        let (docker, news) = (self.docker.clone(), self.news.clone());
        let host = self.shared.config.docker_host.clone();
        tokio::spawn(async move {
            let connected = match docker {
                Some(docker) => Ok(docker),
                None => DockerSwarm::connect(&host).await,
            };
            let result = match connected {
                Ok(docker) => {
                    docker.read(now(), wall_ahead()).await.map(|(swarm, pauses)| Box::new((docker, swarm, pauses)))
                }
                Err(error) => Err(error),
            };
            // The loop is gone only when the collector ends.
            let _ = news.send(News::Read(result)).await;
        });
    }

    fn saw_swarm(&mut self, result: Result<Box<Look>, SwarmError>) {
        let (docker, swarm, pauses) = match result {
            Ok(read) => *read,
            Err(error) => {
                self.presence.lost(&error);
                // The next look connects anew, and agrees on an API version anew: the engine may be another one.
                self.docker = None;
                self.shared.state().counters.swarm_failures += 1;
                return;
            }
        };
        self.presence.back();
        self.docker = Some(docker);
        self.saw_leader(&swarm.leader, swarm.seen_at);
        if swarm.seen_at < self.trusted_from {
            return;
        }
        let is_ours = swarm.leader == Leader::Here;
        self.memory.saw(&swarm, now());
        let marked: Vec<ServiceId> = swarm
            .services
            .iter()
            .filter(|(id, service)| is_ours && service.action_marked && self.memory.in_flight(id).is_none())
            .map(|(id, _)| id.clone())
            .collect();
        {
            let mut state = self.shared.state();
            state.journal.retain_services(|id| swarm.services.contains_key(id));
            self.labels.tell(&swarm, &state.rules.policy);
            let is_over = |service: &ServiceId| {
                self.memory.in_flight(service).is_none()
                    && swarm.services.get(service).is_none_or(|found| !found.action_marked)
            };
            state.journal.hand_over("its end was not seen by this collector", is_over);
            state.fleet.record_swarm(swarm, now());
            state.labelled_thresholds = state.fleet.labelled_thresholds(&state.rules.policy);
        }
        self.saw_pauses(pauses);
        self.save_pauses();
        marked.into_iter().for_each(|service| self.take_over(service));
        self.decide(Waked::ByTime);
    }

    /// Plans, checks and hands over, without waiting for anything.
    fn decide(&mut self, waked: Waked) {
        let at = now();
        let shared = self.shared.clone();
        let mut state = shared.state();
        let rules = state.rules.clone();
        let policy = &rules.policy;
        let decisions = plan(state.fleet.facts(), policy, &self.memory, at);
        for mut decision in decisions {
            if let Outcome::Act { action } = &decision.outcome
                && let Some(withheld) = self.hold_back(action, &decision, state.fleet.facts(), policy, at)
            {
                state.counters.violations += u64::from(matches!(withheld, Withheld::HeldBack { .. }));
                decision.outcome = Outcome::Withhold { withheld };
            }
            let news = state.journal.record_decision(&decision, at);
            state.counters.decisions += 1;
            let is_error = matches!(&decision.outcome, Outcome::Withhold { withheld: Withheld::HeldBack { .. } });
            if is_error && (news.is_new || news.is_kept) {
                tracing::error!(service = %decision.service_name, "{decision}");
            } else if news.is_new {
                tracing::info!(service = %decision.service_name, "{decision}");
            }
            // Those that stand by would say the same of the same.
            if news.is_kept
                && self.leader == Leader::Here
                && let Some(sink) = &mut self.sink
            {
                events::write_decision(sink, &decision, unix_ns(at));
            }
            if !matches!(decision.outcome, Outcome::Act { .. }) {
                continue;
            }
            let because = decision.explain();
            let Outcome::Act { action } = decision.outcome else { continue };
            // One that had to wait for a cooldown or a look at the Swarm says nothing about how fast decisions are.
            let took = at.since(action.trigger().received_at);
            if waked == Waked::ByFacts && took > rules.expected.decision {
                tracing::warn!(took = ?took, "the decision took longer than performance.max_decision_time_ms");
            }
            if waked == Waked::ByFacts {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                state.counters.decision_us_max = state.counters.decision_us_max.max(micros);
            }
            if let Some(record) = self.act(action, because, policy, state.fleet.facts().swarm(), at) {
                state.counters.actions += 1;
                state.journal.record_action(record);
            }
        }
        state.decided_at = at;
        let swarm = state.fleet.facts().swarm();
        state.in_flight = swarm.map_or(0, |swarm| Claims::of(&self.memory, swarm, at).in_flight());
        state.within_hour = self.memory.begun_within_hour(at);
        drop(state);
        // Once all is handed over: packing takes its time, where there is anything to pack.
        self.sink.iter_mut().for_each(Sink::flush);
    }

    fn action_ended(&mut self, service: &ServiceId, kind: ActionKind, mut record: ActionRecord, ended: &Ended) {
        let at = now();
        self.running.remove(service);
        if ended.state == State::Unfinished && self.leader == Leader::Here {
            self.try_again_later(service.clone());
        } else {
            self.taking_over.remove(service);
        }
        self.trusted_from = at;
        let under_way = self.memory.under_way(service);
        let was_over = self.shared.state().journal.is_over(&record.id);
        match ended.state.ended_by() {
            Some(by) => self.memory.ended(service, kind, by, at),
            None => self.memory.refused(service, at),
        }
        record::complete(&mut record, ended, &self.node_names(), at);
        let (record, is_news) = {
            let mut state = self.shared.state();
            state.fleet.distrust(service, under_way, ended.state == State::Unfinished);
            let is_news = state.journal.is_news(&record);
            (state.journal.record_action(record), is_news)
        };
        if !is_news {
            return;
        }
        if was_over {
            let (service, id, detail) = (&record.service_name, &record.id, &record.detail);
            let downtime_ms = ended.downtime.as_secs_f64() * 1e3;
            return tracing::warn!(%service, id, detail, downtime_ms, "the mark of an action that is over came back");
        }
        self.judge(&record);
        let record = record.by_wall();
        events::print(&record);
        if let Some(sink) = &mut self.sink {
            events::write(sink, &record, unix_ns(at));
            sink.flush();
        }
    }

    /// Tells a person what came of it, and what was not as expected.
    fn judge(&self, record: &ActionRecord) {
        let expected = self.shared.state().rules.expected;
        let took = record.times_ms[5];
        let (service, kind, outcome) = (&record.service_name, &record.kind, record.state.as_str());
        let (from, to) = (&record.from_node, &record.to_node);
        let replicas = format!("{} to {}", record.replicas_before, record.replicas_after);
        match record.state {
            State::Completed => {
                tracing::info!(%service, %kind, from, to, %replicas, breach_to_running_ms = took, "action completed")
            }
            State::Running
            | State::Reverted
            | State::Left
            | State::Refused
            | State::Superseded
            | State::Unfinished
            | State::HandedOver => {
                tracing::warn!(%service, %kind, %outcome, detail = record.detail, "action not completed");
            }
        }
        // A scale-down waits for the load to be gone for long: that is no recovery.
        // Of one that was taken over the beginning is by another clock.
        let is_recovery = record.kind != ActionKind::ScaleDown.as_str() && !record.taken_over;
        if is_recovery && took.is_some_and(|took| took > expected.recovery.as_secs_f64() * 1e3) {
            tracing::warn!(%service, took_ms = took, "the recovery took longer than performance.target_mttr_seconds");
        }
        if record.downtime_ms > expected.downtime.as_secs_f64() * 1e3 {
            tracing::warn!(%service, downtime_ms = record.downtime_ms, "no task ran for longer than performance.max_downtime_seconds");
        }
        if record.has_healthcheck == Some(false) {
            tracing::warn!(%service, "the image has no HEALTHCHECK: a task counts as running before it serves");
        }
    }

    fn node_names(&self) -> BTreeMap<NodeId, Name> {
        let state = self.shared.state();
        let nodes = state.fleet.facts().swarm().into_iter().flat_map(|swarm| &swarm.nodes);
        nodes.map(|(id, node)| (id.clone(), node.hostname.clone())).collect()
    }

    fn service_name(&self, id: &ServiceId) -> String {
        let state = self.shared.state();
        let service = state.fleet.facts().swarm().and_then(|swarm| swarm.services.get(id));
        service.map_or_else(|| id.to_string(), |service| service.name.to_string())
    }
}

/// By the wall clock, as the agents' points are.
fn unix_ns(at: Timestamp) -> i64 {
    i64::try_from(at.shifted(wall_ahead()).as_micros()).unwrap_or(i64::MAX).saturating_mul(1_000)
}
