//! `swarmguard-agent sample`: one sample of everything, for people and machines. Needs no collector.

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use swarmguard_daemon::presence;
use swarmguard_influx::{Lines, Precision};
use swarmguard_wire::{Name, NodeRef, Timestamp};

use crate::config::Config;
use crate::discovery::{self, Change};
use crate::points::Points;
use crate::sample::{Sampler, Tick, Wanted};
use crate::{attach, hierarchies, node_facts};

/// How a sample is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For machines: one object, absent values as null.
    Json,
    /// As it would be sent to the database, in nanoseconds.
    LineProtocol,
}

/// Takes one sample, over the configured interval, and returns it as text.
pub async fn sample(config: &Config, format: Format) -> String {
    let (host, namespace) = crate::host(config);
    let hierarchies = hierarchies(&host);
    crate::allow_many_files();
    let (programs, _oom) = attach(&host, &hierarchies);
    let mounts = discovery::plain::mounts(&hierarchies);
    let facts = node_facts(config, &host, namespace);
    let mut sampler = Sampler::new(host, namespace, hierarchies, facts, programs);
    for plain in config.cgroup_parent.iter().flat_map(|parent| discovery::plain::scan(&mounts, parent).into_values()) {
        sampler.apply(Change::Started(plain));
    }
    let node = match discovery::once(&config.docker_host, config.node.as_ref()).await {
        Ok((node, containers)) => {
            sampler.apply(Change::Present(containers));
            node
        }
        Err(error) => {
            tracing::warn!(error = %presence::chain(&error), "no containers: is this user allowed to use Docker's socket?");
            NodeRef { id: None, name: crate::fallback_name(config) }
        }
    };
    // Everything of interest, so also what would be read in turn.
    let wanted = Wanted { node: true, memory_percent: 0.0 };
    sampler.tick(Instant::now(), wanted);
    tokio::time::sleep(config.interval.unwrap_or(Duration::from_secs(1))).await;
    let tick = sampler.tick(Instant::now(), wanted);
    let at = Timestamp::from(SystemTime::now());
    match format {
        Format::Table => table(&node, &tick),
        Format::Json => json(&node, &tick, at),
        Format::LineProtocol => line_protocol(&node, &tick, at),
    }
}

fn json(node: &NodeRef, tick: &Tick<'_>, at: Timestamp) -> String {
    let container = |(sample, extra): (&swarmguard_wire::ContainerSample, &crate::sample::Extra)| {
        let mut value = json!(sample);
        if let (Value::Object(fields), Some(counters)) = (&mut value, extra.network) {
            fields.insert("network_rx_bytes".into(), counters.rx_bytes.into());
            fields.insert("network_tx_bytes".into(), counters.tx_bytes.into());
            fields.insert("network_rx_packets".into(), counters.rx_packets.into());
            fields.insert("network_tx_packets".into(), counters.tx_packets.into());
            fields.insert("tcp_retransmits".into(), counters.tcp_retransmits.into());
        }
        value
    };
    let containers: Vec<Value> = tick.containers.iter().zip(tick.extras).map(container).collect();
    let whole = json!({ "timestamp": at.as_micros() as f64 / 1e6, "node": node, "sample": tick.node, "containers": containers });
    format!("{whole:#}\n")
}

fn line_protocol(node: &NodeRef, tick: &Tick<'_>, at: Timestamp) -> String {
    let mut lines = Lines::new(Precision::Nanoseconds);
    let unix_ns = i64::try_from(at.as_micros()).unwrap_or(i64::MAX).saturating_mul(1_000);
    Points::new(node.clone()).write(&mut lines, tick, unix_ns);
    String::from_utf8_lossy(lines.as_bytes()).into_owned()
}

fn table(node: &NodeRef, tick: &Tick<'_>) -> String {
    let mut text = String::new();
    let Some(sample) = tick.node else { return text };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "node {}  {} cores  CPU {} of all  memory {} of {} MiB  network {}\n",
        node.name,
        sample.cores,
        percent(sample.cpu_percent),
        percent(sample.memory_percent),
        number(sample.memory_total_mb),
        network(sample.network.as_ref()),
    );
    let header = [
        "CONTAINER",
        "SERVICE OR NAME",
        "CPU",
        "OF LIMIT",
        "MEM MiB",
        "OF LIMIT",
        "THROTTLED",
        "OOM",
        "NET rx/tx Mbit/s",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    for sample in tick.containers {
        let name = sample.service.as_ref().map(|service| &service.name).or(sample.name.as_ref());
        rows.push([
            sample.id.short(),
            name.map(Name::to_string).unwrap_or_default(),
            percent(sample.cpu_percent),
            percent(sample.cpu_limit_percent),
            number(sample.memory_mb),
            percent(sample.memory_percent),
            percent(sample.throttled_percent),
            sample.oom_kills.map_or_else(|| "-".to_owned(), |kills| kills.to_string()),
            network(sample.network.as_ref()),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    if tick.containers.is_empty() {
        text.push_str("no containers run here\n");
    }
    text
}

fn percent(value: Option<f32>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}%"))
}

fn number(value: Option<f32>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

fn network(network: Option<&swarmguard_wire::Network>) -> String {
    network.map_or_else(
        || "-".to_owned(),
        |network| match network.percent {
            Some(percent) => format!("{:.2}/{:.2} ({percent:.1}%)", network.rx_mbps, network.tx_mbps),
            None => format!("{:.2}/{:.2}", network.rx_mbps, network.tx_mbps),
        },
    )
}
