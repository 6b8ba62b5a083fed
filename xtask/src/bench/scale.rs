//! `cargo xtask bench scale`: the agent's cost per container with few and with very many cgroups.
//!
//! Plain cgroups stand in for containers: the agent reads the same files of them.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use swarmguard_end_to_end::binaries::Binaries;

use super::cgroups::{self, PARENT};
use super::measure;
use super::peers::Peer;
use super::report::{Outcome, Promise, promises, table};
use crate::run::step;

const COUNTS: [u32; 5] = [1, 10, 50, 100, 500];
/// Found and read twice: what start-up costs is over.
const WARM_UP: Duration = Duration::from_secs(12);

struct Row {
    count: u32,
    cpu_percent: f64,
    us_per_container: f64,
    rss_kib: u64,
    descriptors: u64,
}

pub(super) async fn run(seconds: u32, binaries: &Binaries) -> Result<Outcome> {
    let begun = Instant::now();
    cgroups::remove_all();
    let (mut rows, mut sleepers) = (Vec::new(), Vec::new());
    for count in COUNTS {
        step(begun, &format!("{count} cgroups, {seconds} s"));
        while sleepers.len() < count as usize {
            sleepers.push(sleeper(sleepers.len())?);
        }
        rows.push(measure_one(count, seconds, binaries).await?);
    }
    drop(sleepers);
    Ok(outcome(&rows))
}

async fn measure_one(count: u32, seconds: u32, binaries: &Binaries) -> Result<Row> {
    let mut command = Command::new(&binaries.agent);
    command.args(["--cgroup-parent", PARENT, "--docker-host", "unix:///nonexistent", "--log", "error"]);
    let agent = Peer::start(&mut command)?;
    tokio::time::sleep(WARM_UP).await;
    let (at, before) = (Instant::now(), measure::cpu_ns(&[agent.pid()])?);
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let gained = measure::cpu_ns(&[agent.pid()])?.saturating_sub(before);
    let per_second_us = gained as f64 / 1e3 / at.elapsed().as_secs_f64();
    Ok(Row {
        count,
        cpu_percent: per_second_us / 1e4,
        us_per_container: per_second_us / f64::from(count),
        rss_kib: measure::memory(agent.pid())?.rss,
        descriptors: measure::descriptors(agent.pid()),
    })
}

fn outcome(rows: &[Row]) -> Outcome {
    let mut lines = vec![
        ["cgroups", "CPU % of a core", "us per cgroup and second", "RSS KiB", "descriptors"]
            .map(str::to_owned)
            .to_vec(),
    ];
    lines.extend(rows.iter().map(|row| {
        vec![
            row.count.to_string(),
            format!("{:.4}", row.cpu_percent),
            format!("{:.2}", row.us_per_container),
            row.rss_kib.to_string(),
            row.descriptors.to_string(),
        ]
    }));
    let cost = |count: u32| rows.iter().find(|row| row.count == count).map_or(0.0, |row| row.us_per_container);
    let (text, missed) =
        promises(&[Promise { what: "us per cgroup at 500, against 50", found: cost(500), at_most: cost(50) }]);
    let json = json!(
        rows.iter()
            .map(|row| json!({
                "cgroups": row.count, "cpu_percent": row.cpu_percent, "us_per_cgroup": row.us_per_container,
                "rss_kib": row.rss_kib, "descriptors": row.descriptors,
            }))
            .collect::<Vec<_>>()
    );
    Outcome { text: format!("\n{}\n{text}", table(&lines)), json: json!({ "scale": json, "missed": missed }), missed }
}

/// One cgroup with one process that does nothing.
fn sleeper(number: usize) -> Result<Peer> {
    let process = Peer::start(Command::new("sleep").arg("infinity"))?;
    cgroups::enter(&cgroups::make(&format!("c{number}"))?, process.pid())?;
    Ok(process)
}
