//! `cargo xtask bench plan`: how long planning takes in a large Swarm, and how that grows.
//!
//! Measured by criterion (`planner/benches/plan.rs`), whose estimates are read here and held against what is promised.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::report::{Outcome, Promise, promises, table};
use crate::run::{cargo, run as run_command, target_folder};

/// What is measured: the state of the Swarm, and its nodes.
const ROWS: [(&str, u32); 9] = [
    ("some", 250),
    ("some", 500),
    ("some", 1_000),
    ("some", 2_000),
    ("idle", 1_000),
    ("everywhere", 1_000),
    ("warm", 1_000),
    ("look", 1_000),
    ("samples", 1_000),
];

const CONTAINERS_PER_NODE: f64 = 20.0;

/// What noise may add to the growth.
const NOISE: f64 = 1.15;

struct Row {
    name: &'static str,
    nodes: u32,
    /// Median and the bounds of its confidence interval.
    ms: [f64; 3],
}

pub(super) fn run() -> Result<Outcome> {
    run_command(cargo(&["bench", "--quiet", "--package", "swarmguard-planner", "--bench", "plan", "--", "--noplot"]))?;
    let folder = target_folder().join("criterion/plan");
    let rows: Result<Vec<Row>> = ROWS.into_iter().map(|(name, nodes)| row(&folder, name, nodes)).collect();
    Ok(outcome(&rows?))
}

fn row(folder: &Path, name: &'static str, nodes: u32) -> Result<Row> {
    let path = folder.join(name).join(nodes.to_string()).join("new/estimates.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let estimates: Value = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    let ms = [&median["point_estimate"], &interval["lower_bound"], &interval["upper_bound"]];
    let ms = ms.map(|value| value.as_f64().map(|ns| ns / 1e6));
    let [Some(median), Some(low), Some(high)] = ms else { anyhow::bail!("{} has no median", path.display()) };
    Ok(Row { name, nodes, ms: [median, low, high] })
}

fn outcome(rows: &[Row]) -> Outcome {
    let of = |name: &str, nodes: u32| {
        rows.iter().find(|row| row.name == name && row.nodes == nodes).map_or(f64::INFINITY, |row| row.ms[0])
    };
    let (small, large) = (1_000_u32, 2_000_u32);
    let n_log_n = |nodes: u32| f64::from(nodes) * (f64::from(nodes) * CONTAINERS_PER_NODE).log2();
    let growth = (of("some", large) / of("some", small)) / (n_log_n(large) / n_log_n(small));
    let (text, missed) = promises(&[
        Promise { what: "plan for 1,000 nodes, 20,000 containers, ms", found: of("some", small), at_most: 5.0 },
        Promise { what: "growth to twice that, times n log n", found: growth, at_most: NOISE },
    ]);
    let head = ["state", "nodes", "containers", "services", "ms (95 % certain)"];
    let mut lines: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    for Row { name, nodes, ms: [median, low, high] } in rows {
        lines.push(vec![
            (*name).to_owned(),
            nodes.to_string(),
            (nodes * 20).to_string(),
            (nodes * 2).to_string(),
            format!("{median:.2} ({low:.2}-{high:.2})"),
        ]);
    }
    let json = rows.iter().map(|Row { name, nodes, ms }| json!({ "state": name, "nodes": nodes, "ms": ms }));
    Outcome {
        text: format!("{}\n{text}", table(&lines)),
        json: json!({ "rows": json.collect::<Vec<_>>(), "growth_times_n_log_n": growth }),
        missed,
    }
}
