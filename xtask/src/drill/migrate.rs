//! Many migrations, one after the other, under load.
//!
//! The replica gets sick of memory: sick of CPU it would answer slower whatever is done about it, and that is not the
//! migration's. Latency during a migration is that from the moment it got sick until the old task is gone, beside that
//! of the second before, when nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::scenario::Sickness;
use swarmguard_end_to_end::stage::Stage;
use swarmguard_lab::load::{Load, Report, Stretch};

use super::row;
use crate::report::{Outcome, Percentiles, Promise, promises, table};
use crate::run::step;

const BREACH_TO_RUNNING_P95_MS_MAX: f64 = 2_500.0;
const LATENCY_RATIO_MAX: f64 = 2.0;
const SETTLE: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_secs(1);
const MIGRATED_WITHIN: Duration = Duration::from_secs(40);
const CONNECTIONS: usize = 64;
/// A line of progress comes at least so often.
const SIGN_OF_LIFE: u32 = 10;

pub(super) async fn drill(begun: Instant, stage: &Stage, repeat: u32, rps: u32) -> Result<Outcome> {
    let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
    let written = web.spec(&stage.lab).await?;
    let mut load = Load::new(&web.balancer.url(), rps);
    load.connections = CONNECTIONS;
    let load = load.start()?;
    tokio::time::sleep(SETTLE).await;
    let (mut without, mut during) = (Stretch::default(), Stretch::default());
    // Connections that are opened first are not what is measured, but their failures count.
    let mut rest = load.cut();
    let counting = Instant::now();
    let (mut breach_to_running, mut others_changed) = (Vec::new(), 0);
    step(begun, &format!("{repeat} migrations at {rps} requests a second"));
    for number in 1..=repeat {
        tokio::time::sleep(QUIET).await;
        without.add(&load.cut());
        let before = web.running(&stage.lab).await?;
        let (sick, place) = before.iter().next().context("no replica runs")?;
        web.ask(&stage.lab, place.node, Sickness::Memory.path()).await?;
        let action = stage.wait_for_action("web", number as usize - 1, MIGRATED_WITHIN).await?;
        during.add(&load.cut());
        breach_to_running.push(action.times_ms[5].context("the action has no T5")?);
        let after = web.running(&stage.lab).await?;
        let others = before.iter().filter(|(task, _)| *task != sick);
        others_changed += others.filter(|(task, place)| after.get(*task) != Some(place)).count();
        ensure!(!after.contains_key(sick), "migration {number}: the sick task is still there");
        let spec = web.spec(&stage.lab).await?;
        ensure!(spec == written, "migration {number}: the spec is not as it was written:\n{written:#}\n{spec:#}");
        web.wait_for_replicas(&stage.lab, 2).await?;
        rest.add(&load.cut());
        if number % SIGN_OF_LIFE == 0 || number == 1 {
            let failed = [&without, &during, &rest].map(|part| part.report().failed).iter().sum::<u64>();
            let took = breach_to_running.last().copied().unwrap_or_default();
            step(begun, &format!("  {number} of {repeat}: breach to running {took:.0} ms; {failed} requests failed"));
        }
    }
    let lasted = counting.elapsed();
    load.stop().await?;
    let found = Found { repeat, rps, lasted, breach_to_running, others_changed, without, during, rest };
    Ok(found.outcome())
}

struct Found {
    repeat: u32,
    rps: u32,
    lasted: Duration,
    breach_to_running: Vec<f64>,
    others_changed: usize,
    without: Stretch,
    during: Stretch,
    rest: Stretch,
}

impl Found {
    fn outcome(self) -> Outcome {
        let (without, during) = (self.without.report(), self.during.report());
        let mut all = self.rest;
        all.add(&self.without);
        all.add(&self.during);
        let all = all.report();
        let running = Percentiles::of(self.breach_to_running);
        let rows = [
            row(&["ms", "p50", "p95", "p99", "most"]),
            shown("breach to replacement running and healthy", running, 0),
            shown("latency during migrations", latency(&during), 1),
            shown("latency without", latency(&without), 1),
        ];
        let slower = during.latency_ms.p99 / without.latency_ms.p99;
        let per_second = all.requests as f64 / self.lasted.as_secs_f64();
        let promise = |what, found, at_most| Promise { what, found, at_most };
        let (lines, missed) = promises(&[
            promise("requests that failed", all.failed as f64, 0.0),
            promise("tasks that moved and were not to", self.others_changed as f64, 0.0),
            promise("breach to running, p95, ms", running.p95, BREACH_TO_RUNNING_P95_MS_MAX),
            promise("latency during, p99, times that without", slower, LATENCY_RATIO_MAX),
            promise("requests a second fewer than asked for, %", 100.0 * (1.0 - per_second / f64::from(self.rps)), 2.0),
        ]);
        let text = format!(
            "\n{} migrations, {} requests at {per_second:.0} a second, {} failed {:?}\n\n{}\n{lines}",
            self.repeat,
            all.requests,
            all.failed,
            all.errors,
            table(&rows)
        );
        let json = json!({
            "migrations": self.repeat, "requests": all.requests, "failed": all.failed,
            "other_tasks_changed": self.others_changed, "requests_per_second": per_second,
            "breach_to_running_ms": running, "latency_ms": latency(&during), "latency_without_ms": latency(&without),
            "missed": missed,
        });
        Outcome { text, json, missed }
    }
}

fn latency(report: &Report) -> Percentiles {
    let latency = report.latency_ms;
    Percentiles { p50: latency.p50, p95: latency.p95, p99: latency.p99, max: latency.max }
}

pub(super) fn shown(what: &str, percentiles: Percentiles, decimals: usize) -> Vec<String> {
    let Percentiles { p50, p95, p99, max } = percentiles;
    let figures = [p50, p95, p99, max].map(|figure| format!("{figure:.decimals$}"));
    std::iter::once(what.to_owned()).chain(figures).collect()
}
