//! The requirement's two scenarios: set off under load, and measured.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use swarmguard_collector::journal::ActionRecord;
use swarmguard_lab::load::{Load, Report};

use crate::app::Deployed;
use crate::stage::Stage;

/// Requests a second through the balancer during both scenarios.
pub const REQUESTS_PER_SECOND: u32 = 120;

/// One request of scenario 2: CPU, an answer and a session that together make CPU, memory and network high at
/// [`REQUESTS_PER_SECOND`] on one replica of 0.3 cores and 96 MiB on a link of 100 Mbit/s.
pub const BUSY_PATH: &str = "/api/data?cpu_us=1700&kb=80&hold_kb=132&hold_ms=5000";

/// How long [`BUSY_PATH`] has the app hold a session.
pub const SESSIONS_HELD: Duration = Duration::from_secs(5);

/// How long after the scenario is set off its action may take to end.
const ENDED_WITHIN: Duration = Duration::from_secs(40);

/// The load goes on for so long after the action, so that late failures are seen.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What came of one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// T5 − T0.
    pub breach_to_running_ms: f64,
    /// Requests through the balancer meanwhile.
    pub requests: u64,
    /// The same in each second.
    pub requests_per_second: f64,
    /// Those not answered with 2xx.
    pub failed: u64,
    /// The node that was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_node: Option<String>,
    /// The node that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_node: Option<String>,
    /// Replicas before.
    pub replicas_before: u64,
    /// Replicas after.
    pub replicas_after: u64,
    /// T0, in milliseconds since itself.
    pub t0: Option<f64>,
    /// T1, in milliseconds since T0.
    pub t1: Option<f64>,
    /// T2
    pub t2: Option<f64>,
    /// T3
    pub t3: Option<f64>,
    /// T4
    pub t4: Option<f64>,
    /// T5
    pub t5: Option<f64>,
    /// T6
    pub t6: Option<f64>,
    /// The balancer's latency, and errors in words.
    #[serde(skip)]
    pub load: Report,
}

impl Outcome {
    fn new(action: &ActionRecord, lasted: Duration, load: Report) -> Result<Self> {
        let [t0, t1, t2, t3, t4, t5, t6] = action.times_ms;
        Ok(Self {
            breach_to_running_ms: t5.context("the action has no T5")?,
            requests: load.requests,
            requests_per_second: load.requests as f64 / lasted.as_secs_f64(),
            failed: load.failed,
            from_node: action.from_node.clone(),
            to_node: action.to_node.clone(),
            replicas_before: action.replicas_before,
            replicas_after: action.replicas_after,
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
            load,
        })
    }

    /// Milliseconds from the alert's arrival to the decision.
    ///
    /// # Errors
    /// When the action has no T2 or T3.
    pub fn decision_ms(&self) -> Result<f64> {
        Ok(self.t3.context("no T3")? - self.t2.context("no T2")?)
    }
}

/// What a replica suffers from in scenario 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sickness {
    /// Too much CPU.
    Cpu,
    /// Too much memory.
    Memory,
}

impl Sickness {
    /// What makes web-stress suffer from it for a minute.
    pub fn path(self) -> &'static str {
        match self {
            Self::Cpu => "/stress/cpu?target=95&duration=60&ramp=0",
            Self::Memory => "/stress/memory?target=84&duration=60&ramp=0",
        }
    }
}

/// Scenario 1: one replica's CPU or memory goes up while the network stays low; it must move to another node.
///
/// # Errors
/// When the app cannot be reached, or nothing is done about it.
pub async fn one(stage: &Stage, app: &Deployed, source: u32, sickness: Sickness) -> Result<Outcome> {
    let known = stage.actions(&app.app.name).await?.len();
    let begun = Instant::now();
    let load = light_load(app)?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    app.ask(&stage.lab, source, sickness.path()).await?;
    let action = stage.wait_for_action(&app.app.name, known, ENDED_WITHIN).await?;
    tokio::time::sleep(AFTERMATH).await;
    Outcome::new(&action, begun.elapsed(), load.stop().await?)
}

/// Scenario 2: heavy traffic makes CPU, memory and network high; the service must gain a replica.
///
/// # Errors
/// When the app cannot be reached, or nothing is done about it.
pub async fn two(stage: &Stage, app: &Deployed) -> Result<Outcome> {
    let known = stage.actions(&app.app.name).await?.len();
    let begun = Instant::now();
    let load = busy_load(app)?;
    let action = stage.wait_for_action(&app.app.name, known, ENDED_WITHIN).await?;
    tokio::time::sleep(AFTERMATH).await;
    let outcome = Outcome::new(&action, begun.elapsed(), load.stop().await?)?;
    ensure!(outcome.replicas_after > outcome.replicas_before, "no replica was added");
    Ok(outcome)
}

/// Users who ask for little.
///
/// # Errors
/// When the load cannot start.
pub fn light_load(app: &Deployed) -> Result<swarmguard_lab::load::Running> {
    Load::new(&app.balancer.url(), REQUESTS_PER_SECOND).start()
}

/// Users who ask for much.
///
/// # Errors
/// When the load cannot start.
pub fn busy_load(app: &Deployed) -> Result<swarmguard_lab::load::Running> {
    let mut load = Load::new(&app.balancer.url(), REQUESTS_PER_SECOND);
    load.paths = vec![BUSY_PATH.to_owned()];
    load.start()
}
