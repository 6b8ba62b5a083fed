//! One trial each of what may happen to a service: it crashes, it gets sick, it gets busy and is busy no more.
//!
//! What is measured is what users have of it: how long until it was mended, for how long nobody answered, and how many
//! requests failed. A trial knows the [`Site`] only, so the same ones are made in the lab and on a Swarm of a user's own.

mod migration;
mod reactive;
mod scaling;

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use swarmguard_collector::journal::ActionRecord;
use swarmguard_influx::Lines;
use swarmguard_lab::load::{Load, Look, Probe, Probing, Report, Running, downtime};

use crate::site::Site;

pub use migration::migration;
pub use reactive::{crash, node_loss};
pub use scaling::{Scaling, Share, Traffic, scaling};

/// Users who ask for little, meanwhile.
pub const REQUESTS_PER_SECOND: u32 = 120;

/// Everything has so long to happen: Swarm takes 15 s to miss a node.
const WITHIN: Duration = Duration::from_secs(90);

/// The load goes on for so long afterwards, so that late failures are seen.
const AFTERMATH: Duration = Duration::from_secs(2);

/// How closely it is looked at whether somebody answers.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// A container died; Swarm alone replaced it.
    Crash,
    /// A node was cut off; Swarm alone replaced what ran there.
    NodeLoss,
    /// Scenario 1: SwarmGuard moved a sick container.
    Migration,
    /// Scenario 2: SwarmGuard added a replica.
    ScaleUp,
    /// SwarmGuard gave a replica back.
    ScaleDown,
    /// Somebody looked whether the service answers, whatever else happened.
    Availability,
}

impl Case {
    /// As in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::NodeLoss => "node_loss",
            Self::Migration => "migration",
            Self::ScaleUp => "scale_up",
            Self::ScaleDown => "scale_down",
            Self::Availability => "availability",
        }
    }

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Crash => "Swarm alone: container killed",
            Self::NodeLoss => "Swarm alone: node cut off",
            Self::Migration => "SwarmGuard: sick container moved",
            Self::ScaleUp => "SwarmGuard: replica added",
            Self::ScaleDown => "SwarmGuard: replica given back",
            Self::Availability => "looks whether it answers",
        }
    }

    /// The requirement's scenario, or that SwarmGuard had no part in it.
    #[must_use]
    pub fn scenario(self) -> &'static str {
        match self {
            Self::Crash | Self::NodeLoss => "reactive",
            Self::Migration => "1",
            Self::ScaleUp | Self::ScaleDown => "2",
            Self::Availability => "any",
        }
    }
}

/// What came of one trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// What happened.
    pub test_case: Case,
    /// The service it happened to.
    pub service: String,
    /// From the failure, or the first breach, to the replacement running and healthy. Of a scale-down from the decision,
    /// since it waits for the load to be gone for long. Absent where nothing was to be mended.
    pub mttr_seconds: Option<f64>,
    /// How long nobody answered.
    pub downtime_seconds: f64,
    /// Whether the users are those of the trial before it, and what they had of it is told there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub same_users: bool,
    /// Requests meanwhile.
    pub requests: u64,
    /// Those not answered with 2xx.
    pub failed_requests: u64,
    /// Why, for people.
    pub errors: Vec<(String, u64)>,
    /// The node that was left.
    pub from_node: Option<String>,
    /// The node that was reached.
    pub to_node: Option<String>,
    /// Replicas before.
    pub replicas_before: u64,
    /// Replicas after.
    pub replicas_after: u64,
    /// T0 to T6, in milliseconds since T0.
    pub times_ms: [Option<f64>; 7],
}

impl Trial {
    /// As a point of `test_results`.
    pub(crate) fn write(&self, lines: &mut Lines, unix_ns: i64) {
        lines
            .point("test_results")
            .tag("scenario", self.test_case.scenario())
            .tag("service_name", self.service.as_str())
            .tag("test_case", self.test_case.as_str())
            .field("mttr_seconds", self.mttr_seconds)
            .field("downtime_seconds", self.downtime_seconds)
            .field("requests", self.requests)
            .field("failed_requests", self.failed_requests)
            .field("replicas_before", self.replicas_before)
            .field("replicas_after", self.replicas_after)
            .close(unix_ns);
    }

    fn of(test_case: Case, service: &str, mttr: Option<Duration>, replicas: u64, users: &Users) -> Self {
        Self {
            test_case,
            service: service.to_owned(),
            mttr_seconds: mttr.map(|mttr| mttr.as_secs_f64()),
            downtime_seconds: users.downtime.as_secs_f64(),
            same_users: false,
            requests: users.report.requests,
            failed_requests: users.report.failed,
            errors: users.report.errors.clone(),
            from_node: None,
            to_node: None,
            replicas_before: replicas,
            replicas_after: replicas,
            times_ms: [None; 7],
        }
    }

    fn of_action(action: &ActionRecord, users: &Users) -> Result<Self> {
        let [_, _, _, decided, _, running, _] = action.times_ms;
        let running = running.context("the action has no T5")?;
        let (test_case, from) = match action.kind.as_str() {
            "migrate" => (Case::Migration, 0.0),
            "scale_up" => (Case::ScaleUp, 0.0),
            "scale_down" => (Case::ScaleDown, decided.context("the action has no T3")?),
            other => anyhow::bail!("an action of an unknown kind: {other}"),
        };
        let mttr = Duration::try_from_secs_f64((running - from) / 1e3).context("T5 is before T0")?;
        Ok(Self {
            from_node: action.from_node.clone(),
            to_node: action.to_node.clone(),
            replicas_before: action.replicas_before,
            replicas_after: action.replicas_after,
            times_ms: action.times_ms,
            ..Self::of(test_case, &action.service_name, Some(mttr), action.replicas_before, users)
        })
    }
}

/// What users had of it.
#[derive(Debug)]
pub struct Users {
    report: Report,
    downtime: Duration,
    /// Every look whether somebody answers.
    pub looks: Vec<Look>,
}

/// Users at work: a load, and somebody who looks whether anybody answers.
#[derive(Debug)]
pub struct AtWork {
    load: Running,
    probing: Probing,
}

impl AtWork {
    /// Users who ask for little.
    ///
    /// # Errors
    /// When the load cannot start.
    pub fn start(site: &Site) -> Result<Self> {
        Self::with(site, Load::new(&format!("http://{}", site.target()), REQUESTS_PER_SECOND))
    }

    fn with(site: &Site, load: Load) -> Result<Self> {
        let probe = Probe {
            address: site.target(),
            // Not the health: a replica that drains says that it is not, and answers users all the same.
            path: "/".to_owned(),
            interval: PROBE_INTERVAL,
            timeout: PROBE_TIMEOUT,
        };
        Ok(Self { load: load.start()?, probing: probe.start(None) })
    }

    /// Ends their work, and says how it went.
    ///
    /// # Errors
    /// When the load broke down.
    pub async fn stop(self) -> Result<Users> {
        let looks = self.probing.stop().await;
        let mut report = self.load.stop().await?;
        for look in looks.iter().filter(|look| !look.is_answered()) {
            report
                .errors
                .push((format!("a look {:.1} s after the start: {:?}", look.after.as_secs_f64(), look.answer), 1));
        }
        Ok(Users { downtime: downtime(&looks), report, looks })
    }
}

/// Looks that were made by somebody else, as a trial.
#[must_use]
pub fn availability(service: &str, looks: &[Look]) -> Trial {
    let failed = looks.iter().filter(|look| !look.is_answered()).count() as u64;
    let report = Report { requests: looks.len() as u64, failed, ..Report::default() };
    let users = Users { report, downtime: downtime(looks), looks: Vec::new() };
    Trial::of(Case::Availability, service, None, 0, &users)
}
