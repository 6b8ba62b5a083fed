//! Handing actions to the executor, for as long as this collector is the one that acts.

use std::fmt;
use std::time::Duration;

use swarmguard_daemon::presence::chain;
use swarmguard_planner::checks;
use swarmguard_planner::facts::{Facts, Leader, Swarm};
use swarmguard_planner::plan::Withheld;
use swarmguard_planner::{Action, Policy};
use swarmguard_wire::{ServiceId, Timestamp};

use super::{ControlLoop, News};
use crate::executor::{self, Stage};
use crate::journal::{ActionRecord, record};
use crate::swarm::Mark;

/// An action that could not be taken over is tried again after this.
const TAKE_OVER_PAUSE: Duration = Duration::from_secs(30);

impl ControlLoop {
    /// Only beside the leader anything is done. Whatever is under way when another manager leads is left to the collector
    /// beside that one, which finds its mark.
    pub(super) fn saw_leader(&mut self, leader: &Leader, seen_at: Timestamp) {
        let is_ours = *leader == Leader::Here;
        let until =
            if is_ours { seen_at + self.shared.state().rules.policy.leader_window } else { Timestamp::default() };
        self.leads_until.send_replace(until);
        if *leader == self.leader {
            return;
        }
        match leader {
            Leader::Here => tracing::info!("the manager here leads the Swarm: this collector acts"),
            Leader::Elsewhere { node } => {
                tracing::info!(leader = %node, "another manager leads the Swarm: standing by")
            }
            Leader::Unknown => tracing::warn!("it is not known which manager leads the Swarm: standing by"),
        }
        self.leader = leader.clone();
        if !is_ours {
            std::mem::take(&mut self.running).into_values().for_each(|action| action.abort());
            self.taking_over.clear();
            self.memory.leave_to_others();
            let why = match leader {
                Leader::Elsewhere { .. } => "another manager leads the Swarm: the collector there goes on with it",
                Leader::Here | Leader::Unknown => "it is not known which manager leads the Swarm",
            };
            self.shared.state().journal.hand_over(why, |_| true);
        }
    }

    /// Why what was planned is not carried out, where that is so. `planned` is that in words.
    pub(super) fn hold_back(
        &self,
        action: &Action,
        planned: &dyn fmt::Display,
        facts: &Facts,
        policy: &Policy,
        now: Timestamp,
    ) -> Option<Withheld> {
        let seen_at = facts.swarm().map(|swarm| swarm.seen_at).unwrap_or_default();
        // Since the facts were recorded the manager does not answer any more, or has said that it does not lead.
        if self.docker.is_none() || self.leader != Leader::Here {
            return Some(Withheld::SwarmStale { seconds: now.since(seen_at).as_secs() });
        }
        // What is taken over, or waits to be, is among them.
        if self.running.contains_key(&action.trigger().service) {
            return Some(Withheld::InFlight { kind: None });
        }
        let broken = checks::vet(action, facts, policy, &self.memory, now).err();
        broken.map(|broken| Withheld::HeldBack { planned: planned.to_string(), promise: broken.to_string() })
    }

    pub(super) fn act(
        &mut self,
        action: Action,
        because: Vec<String>,
        policy: &Policy,
        swarm: Option<&Swarm>,
        decided_at: Timestamp,
    ) -> Option<ActionRecord> {
        let (stage, swarm) = (self.stage(policy.action_deadline)?, swarm?);
        self.actions += 1;
        let id = self.id_of(&self.actions.to_string());
        let record = record::planned(id.clone(), &action, because, swarm, decided_at);
        let (service, kind) = (action.trigger().service.clone(), action.kind());
        let found = swarm.services.get(&service)?;
        let scaled_from = self.memory.scaled_from(&service, found);
        let mark = Mark::new(id, &action, found, scaled_from, record.times);
        self.memory.started(&service, kind, action.nodes(), decided_at);
        let news = self.news.clone();
        let running = record.clone();
        let acted_on = service.clone();
        let task = tokio::spawn(async move {
            let ended = executor::execute(&stage, action, mark).await;
            let record = Box::new(record);
            let _ = news.send(News::Ended { service, kind, record, ended: Box::new(ended) }).await;
        });
        self.running.insert(acted_on, task.abort_handle());
        Some(running)
    }

    /// What this collector calls an action with this number since its start.
    fn id_of(&self, number: &str) -> String {
        format!("{}-{number}", self.started_at.as_micros() / 1_000)
    }

    fn stage(&self, deadline: Duration) -> Option<Stage> {
        Some(Stage { docker: self.docker.clone()?, leads_until: self.leads_until.subscribe(), deadline })
    }

    /// Finishes or takes back what a collector before this one began.
    pub(super) fn take_over(&mut self, service: ServiceId) {
        let deadline = self.shared.state().rules.policy.action_deadline;
        let Some(stage) = self.stage(deadline) else { return };
        if !self.taking_over.insert(service.clone()) {
            return;
        }
        let news = self.news.clone();
        let service_name = self.service_name(&service);
        let names = self.node_names();
        let (taken_over, own) = (service.clone(), self.id_of(""));
        let task = tokio::spawn(async move {
            let message = match stage.docker.mark(&service).await {
                Ok(Some(mark)) => {
                    let is_own = mark.id.starts_with(&own);
                    let record = Box::new(record::taken_over(&service, service_name, &names, &mark, is_own));
                    let _ = news.send(News::TakenOver { record: record.clone() }).await;
                    let kind = mark.kind();
                    let ended = Box::new(executor::take_over(&stage, &service, mark).await);
                    News::Ended { service, kind, record, ended }
                }
                Ok(None) => News::NothingToTakeOver { service },
                Err(error) => {
                    // Said once and tried again after a while: a person may be needed.
                    tracing::warn!(service = %service_name, error = %chain(&error), "an action cannot be taken over");
                    tokio::time::sleep(TAKE_OVER_PAUSE).await;
                    News::NothingToTakeOver { service }
                }
            };
            let _ = news.send(message).await;
        });
        self.running.insert(taken_over, task.abort_handle());
    }

    /// What is unfinished is taken over again, but not at once: what hindered it needs time.
    pub(super) fn try_again_later(&mut self, service: ServiceId) {
        self.taking_over.insert(service.clone());
        let (news, waited_for) = (self.news.clone(), service.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(TAKE_OVER_PAUSE).await;
            let _ = news.send(News::NothingToTakeOver { service: waited_for }).await;
        });
        self.running.insert(service, task.abort_handle());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use swarmguard_planner::plan::{Candidates, Scale, Trigger, WhyScale};
    use swarmguard_wire::{ContainerId, Name};

    use super::*;
    use crate::config::Settings;
    use crate::state::Shared;

    #[test]
    fn what_is_planned_while_no_manager_answers_is_told_as_not_done() {
        let at = Timestamp::from_micros(20_000_000);
        let trigger = Trigger {
            service: "web".parse().unwrap(),
            service_name: Name::new("web"),
            version: 1,
            has_healthcheck: None,
            container: ContainerId::new([1; 32]),
            cpu_percent: None,
            memory_percent: None,
            network_percent: None,
            breach_at: at,
            sent_at: at,
            received_at: at,
        };
        let action = Action::ScaleUp(Scale { trigger, from: 2, to: 3, why: WhyScale::Busy(Candidates::default()) });
        let mut facts = Facts::default();
        facts.record_swarm(Swarm { seen_at: at - Duration::from_secs(3), ..Swarm::default() });
        let shared = Arc::new(Shared::new(Settings::default().resolve().unwrap()));
        let mut control_loop = ControlLoop::new(shared, None);
        control_loop.leader = Leader::Here;
        let held_back = control_loop.hold_back(&action, &"go on", &facts, &Policy::default(), at);
        assert_eq!(held_back, Some(Withheld::SwarmStale { seconds: 3 }));
    }
}
