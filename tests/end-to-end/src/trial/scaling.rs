//! Scenario 2: traffic goes up and down, and the number of replicas with it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use swarmguard_lab::load::{Load, Ramp};

use super::{AFTERMATH, AtWork, Trial, WITHIN};
use crate::results::Mean;
use crate::site::Site;
use crate::stage::wait_for;

/// The load's share of each replica is measured over so long, before the load goes down.
const SHARES_OVER: Duration = Duration::from_secs(10);

/// After a replica came, connections and what requests hold have to settle.
const SETTLED_AFTER: Duration = Duration::from_secs(8);

/// Agents send their points every so often, and they may be late.
const POINTS_AFTER_S: u64 = 4;

/// Many users who ask for much.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// What they ask for.
    pub path: String,
    /// How often, at the most.
    pub requests_per_second: u32,
    /// From nothing to that.
    pub up: Duration,
    /// How long at that.
    pub hold: Duration,
    /// From that to nothing.
    pub down: Duration,
}

/// What came of scenario 2.
#[derive(Debug, Clone, Serialize)]
pub struct Scaling {
    /// One for each replica that was added or given back.
    pub trials: Vec<Trial>,
    /// Each replica's part of the load under the most of it.
    pub shares: Vec<Share>,
}

/// A replica's part of the load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// The container.
    pub container: String,
    /// CPU, 100 is one core.
    pub cpu_percent: f64,
    /// Sent, in Mbit/s.
    pub sent_mbps: f64,
    /// CPU in percent of an equal part.
    pub cpu_of_equal: f64,
    /// What was sent in percent of an equal part.
    pub sent_of_equal: f64,
}

impl Scaling {
    /// How far the replica that is farthest from an equal part is from it, in percent; nothing where it was not measured.
    #[must_use]
    pub fn unevenness(&self) -> Option<f64> {
        let off = |share: &Share| (share.cpu_of_equal - 100.0).abs().max((share.sent_of_equal - 100.0).abs());
        self.shares.iter().map(off).reduce(f64::max)
    }
}

/// Scenario 2: traffic goes up until replicas are added, holds, goes down, and the replicas are given back.
///
/// # Errors
/// When none is added, or not all are given back.
pub async fn scaling(
    site: &Site,
    traffic: &Traffic,
    given_back_within: Duration,
    tell: &dyn Fn(&str),
) -> Result<Scaling> {
    let (known, before) = (site.ended().await?.len(), site.running().await?.len());
    let mut load = Load::new(&format!("http://{}", site.target()), traffic.requests_per_second);
    load.paths = vec![traffic.path.clone()];
    load.connections = 64;
    load.ramp = Ramp { up: traffic.up, hold: Some(traffic.hold), down: traffic.down };
    let busy = AtWork::with(site, load)?;
    let begun = Instant::now();
    let mut seen = known;
    let mut last_at = begun;
    let mut shares = Vec::new();
    while !busy.load.is_over() {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let ended = site.ended().await?;
        for action in ended.iter().skip(seen) {
            tell(&format!("{} to {} replicas", action.replicas_before, action.replicas_after));
            last_at = Instant::now();
        }
        seen = ended.len();
        let holds = (traffic.up..traffic.up + traffic.hold).contains(&begun.elapsed());
        if holds && seen > known && last_at.elapsed() >= SETTLED_AFTER + SHARES_OVER && shares.is_empty() {
            shares = measure_shares(site).await?;
        }
    }
    let busy = busy.stop().await?;
    ensure!(seen > known, "no replica was added; is the load enough? {:?}", busy.report);
    tell("the load has ended");
    let light = AtWork::start(site)?;
    let back = wait_for("the service to be back at its replicas", given_back_within, || async {
        Ok((site.running().await?.len() == before).then_some(()))
    });
    back.await?;
    // The last action ends after the last task has gone.
    let added = seen - known;
    let actions = wait_for("the last action to end", WITHIN, || async {
        let ended = site.ended().await?;
        Ok((ended.len() >= known + 2 * added).then_some(ended))
    })
    .await?;
    tokio::time::sleep(AFTERMATH).await;
    let light = light.stop().await?;
    let mut trials: Vec<Trial> = Vec::new();
    for action in actions.iter().skip(known) {
        let users = if action.kind == "scale_up" { &busy } else { &light };
        let trial = Trial::of_action(action, users)?;
        let same_users = trials.last().is_some_and(|before| before.test_case == trial.test_case);
        trials.push(Trial { same_users, ..trial });
    }
    Ok(Scaling { trials, shares })
}

/// Each replica's part of the load, from the metrics in the database.
async fn measure_shares(site: &Site) -> Result<Vec<Share>> {
    let Some(database) = &site.database else { return Ok(Vec::new()) };
    let running = site.running().await?;
    let means = database.means(site.service(), POINTS_AFTER_S + SHARES_OVER.as_secs(), POINTS_AFTER_S).await?;
    let means: Vec<_> =
        means.into_iter().filter(|mean| running.iter().any(|it| it.container == mean.container)).collect();
    ensure!(means.len() == running.len(), "of {} replicas {} have metrics", running.len(), means.len());
    let equal = |of: fn(&Mean) -> f64| means.iter().map(of).sum::<f64>() / means.len() as f64;
    let (cpu, sent) = (equal(|mean| mean.cpu_percent), equal(|mean| mean.sent_mbps));
    let share = |mean: &Mean| Share {
        container: mean.container.clone(),
        cpu_percent: mean.cpu_percent,
        sent_mbps: mean.sent_mbps,
        cpu_of_equal: mean.cpu_percent / cpu * 100.0,
        sent_of_equal: mean.sent_mbps / sent * 100.0,
    };
    Ok(means.iter().map(share).collect())
}
