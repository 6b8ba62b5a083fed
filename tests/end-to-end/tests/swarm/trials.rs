//! The trials that users make on their own Swarm: they find their way by addresses alone.

use anyhow::{Context, ensure};
use serde_json::Value;
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::scenario::Sickness;
use swarmguard_end_to_end::trial::{self, Case};

use crate::on_stage;

/// A decimal number may be read back as the next one beside it.
fn is_near(stored: &Value, measured: Option<f64>) -> bool {
    stored.as_f64().zip(measured).is_some_and(|(stored, measured)| (stored - measured).abs() < 1e-9)
}

#[test]
fn a_crash_costs_users_what_a_migration_spares_them_and_both_results_are_stored() {
    on_stage(async |stage| {
        let web = Deployed::deploy(&stage.lab, App { replicas: 1, ..App::new("trial", 8050) }).await?;
        let site = stage.site(&web).await?;
        let crash = trial::crash(&site).await?;
        ensure!(crash.downtime_seconds > 1.0 && crash.failed_requests > 0, "{crash:?}");
        ensure!(stage.actions("trial").await?.is_empty(), "SwarmGuard was to leave it alone");
        web.wait_for_replicas(&stage.lab, 1).await?;
        let moved = trial::migration(&site, Sickness::Cpu.path()).await?;
        ensure!((moved.downtime_seconds, moved.failed_requests) == (0.0, 0), "{moved:?}");
        ensure!(moved.from_node.is_some() && moved.from_node != moved.to_node, "{moved:?}");
        println!(
            "one replica: a crash is mended after {:.1} s with {:.1} s downtime, a migration after {:.1} s with none",
            crash.mttr_seconds.unwrap_or_default(),
            crash.downtime_seconds,
            moved.mttr_seconds.unwrap_or_default()
        );

        let trials = [crash, moved];
        let database = site.database.as_ref().context("no database")?;
        database.store(&trials).await?;
        let query = "SELECT mttr_seconds, downtime_seconds, failed_requests FROM test_results GROUP BY test_case";
        let stored = database.query(query).await?;
        for (series, trial) in stored["series"].as_array().into_iter().flatten().zip(&trials) {
            let row = &series["values"][0];
            ensure!(series["tags"]["test_case"] == trial.test_case.as_str(), "{stored:#}");
            ensure!(is_near(&row[1], trial.mttr_seconds), "{stored:#}");
            ensure!(is_near(&row[2], Some(trial.downtime_seconds)), "{stored:#}");
            ensure!(row[3] == trial.failed_requests, "{stored:#}");
        }
        ensure!(stored["series"].as_array().map_or(0, Vec::len) == 2, "{stored:#}");
        ensure!(trials.map(|trial| trial.test_case) == [Case::Crash, Case::Migration]);
        Ok(())
    });
}
