//! `cargo xtask bench scale`: the agent's cost per container with few and with very many cgroups.
//!
//! Plain cgroups stand in for containers: the agent reads the same files of them.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use swarmguard_end_to_end::binaries::Binaries;

use super::cgroups::{self, PARENT};
use super::measure;
use super::peers::Peer;
use crate::report::{Figure, Outcome, Promise, promises, table};
use crate::run::step;

const COUNTS: [u32; 5] = [1, 10, 50, 100, 500];
/// Found and read twice: what start-up costs is over.
const WARM_UP: Duration = Duration::from_secs(12);

/// Whatever the hierarchies are, each container has at least so many files: those of CPU time and of pressure, or those of
/// CPU time and of memory.
const DESCRIPTORS_MIN: u64 = 4;

struct Cost {
    us_per_second: f64,
    rss_kib: u64,
    descriptors: u64,
}

struct Row {
    count: u32,
    costs: Vec<Cost>,
}

impl Row {
    fn us_per_container(&self) -> Figure {
        Figure::of(self.costs.iter().map(|cost| cost.us_per_second / f64::from(self.count)))
    }

    fn figure(&self, pick: fn(&Cost) -> f64) -> Figure {
        Figure::of(self.costs.iter().map(pick))
    }
}

pub(super) async fn run(seconds: u32, runs: u32, binaries: &Binaries) -> Result<Outcome> {
    let begun = Instant::now();
    cgroups::remove_all();
    let (mut rows, mut sleepers) = (Vec::new(), Vec::new());
    for count in COUNTS {
        while sleepers.len() < count as usize {
            sleepers.push(sleeper(sleepers.len())?);
        }
        let mut row = Row { count, costs: Vec::new() };
        for run in 1..=runs {
            step(begun, &format!("{count} cgroups, run {run} of {runs}, {seconds} s"));
            row.costs.push(measure_one(count, seconds, binaries).await?);
        }
        rows.push(row);
    }
    drop(sleepers);
    Ok(outcome(&rows))
}

async fn measure_one(count: u32, seconds: u32, binaries: &Binaries) -> Result<Cost> {
    let mut command = Command::new(&binaries.agent);
    command.args(["--cgroup-parent", PARENT, "--docker-host", "unix:///nonexistent", "--log", "error"]);
    let agent = Peer::start(&mut command)?;
    tokio::time::sleep(WARM_UP).await;
    let (at, before) = (Instant::now(), measure::cpu_ns(&[agent.pid()])?);
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let gained = measure::cpu_ns(&[agent.pid()])?.saturating_sub(before);
    let us_per_second = gained as f64 / 1e3 / at.elapsed().as_secs_f64();
    let descriptors = measure::descriptors_of(agent.pid(), "");
    ensure!(descriptors >= DESCRIPTORS_MIN * u64::from(count), "{descriptors} files are open for {count} cgroups");
    Ok(Cost { us_per_second, rss_kib: measure::memory(agent.pid())?.rss, descriptors })
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
            row.figure(|cost| cost.us_per_second / 1e4).shown(4),
            row.us_per_container().shown(2),
            format!("{:.0}", row.figure(|cost| cost.rss_kib as f64).median),
            format!("{:.0}", row.figure(|cost| cost.descriptors as f64).median),
        ]
    }));
    let cost = |count: u32| rows.iter().find(|row| row.count == count).map_or(0.0, |row| row.us_per_container().median);
    let (text, missed) =
        promises(&[Promise { what: "us per cgroup at 500, against 50", found: cost(500), at_most: cost(50) }]);
    let json = json!(
        rows.iter()
            .map(|row| json!({
                "cgroups": row.count,
                "cpu_percent": row.figure(|cost| cost.us_per_second / 1e4).json(),
                "us_per_cgroup": row.us_per_container().json(),
                "rss_kib": row.figure(|cost| cost.rss_kib as f64).json(),
                "descriptors": row.figure(|cost| cost.descriptors as f64).json(),
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
