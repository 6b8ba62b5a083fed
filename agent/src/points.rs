//! One tick as points for the database: `container_metrics` and `node_metrics`.
//!
//! Measurement, tag and field names are the requirement's and are part of the interface: dashboards rest on them.
//! Percentages and rates have the two decimals they were sampled with.

use swarmguard_influx::{Lines, Point, Sink};
use swarmguard_wire::{Network, NodeRef};

use crate::sample::{Measured, Tick};

/// Where points go: to the database's queue, or into a buffer to be shown.
pub trait Destination {
    /// Begins a point.
    fn point(&mut self, measurement: &str) -> Point<'_>;
}

impl Destination for Sink {
    fn point(&mut self, measurement: &str) -> Point<'_> {
        Self::point(self, measurement)
    }
}

impl Destination for Lines {
    fn point(&mut self, measurement: &str) -> Point<'_> {
        Self::point(self, measurement)
    }
}

/// The points of a tick.
pub fn write(lines: &mut impl Destination, node: &NodeRef, tick: &Tick, unix_ns: i64) {
    write_node(lines, node, tick, unix_ns);
    for measured in &tick.containers {
        write_container(lines, node, measured, unix_ns);
    }
}

fn write_node(lines: &mut impl Destination, node: &NodeRef, tick: &Tick, unix_ns: i64) {
    let sample = &tick.node;
    lines
        .point("node_metrics")
        .tag("node", node.name.as_str())
        .field("cores", u64::from(sample.cores))
        .field("cpu_percent", decimal(sample.cpu_percent))
        .field("memory_total_mb", decimal(sample.memory_total_mb))
        .field("memory_percent", decimal(sample.memory_percent))
        .field("network_rx_mbps", rate(sample.network, |network| network.rx_mbps))
        .field("network_tx_mbps", rate(sample.network, |network| network.tx_mbps))
        .field("network_percent", decimal(sample.network.and_then(|network| network.percent)))
        .close(unix_ns);
}

fn write_container(lines: &mut impl Destination, node: &NodeRef, measured: &Measured, unix_ns: i64) {
    let sample = &measured.sample;
    let counter = |pick: fn(&crate::network::Counters) -> u64| measured.network.as_ref().map(pick);
    let container_id = sample.id.to_string();
    lines
        .point("container_metrics")
        .tag("container_id", container_id.as_str())
        .tag("container_name", sample.name.as_ref().map(|name| name.as_str()))
        .tag("node", node.name.as_str())
        .tag("service_name", sample.service.as_ref().map(|service| service.name.as_str()))
        .tag("task_id", sample.task.as_ref().map(|task| task.as_str()))
        .field("cpu_percent", decimal(sample.cpu_percent))
        .field("cpu_limit_percent", decimal(sample.cpu_limit_percent))
        .field("memory_mb", decimal(sample.memory_mb))
        .field("memory_percent", decimal(sample.memory_percent))
        .field("network_rx_bytes", counter(|counters| counters.rx_bytes))
        .field("network_tx_bytes", counter(|counters| counters.tx_bytes))
        .field("network_rx_packets", counter(|counters| counters.rx_packets))
        .field("network_tx_packets", counter(|counters| counters.tx_packets))
        .field("network_rx_mbps", rate(sample.network, |network| network.rx_mbps))
        .field("network_tx_mbps", rate(sample.network, |network| network.tx_mbps))
        .field("network_percent", decimal(sample.network.and_then(|network| network.percent)))
        .field("throttled_percent", decimal(sample.throttled_percent))
        .field("oom_kills", sample.oom_kills)
        .close(unix_ns);
}

fn rate(network: Option<Network>, pick: fn(Network) -> f32) -> Option<f64> {
    decimal(network.map(pick))
}

/// The decimal that was sampled: widening an `f32` alone would write its binary tail.
fn decimal(value: Option<f32>) -> Option<f64> {
    value.map(|value| (f64::from(value) * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use swarmguard_influx::Precision;
    use swarmguard_wire::{ContainerId, ContainerSample, Name, NetworkSource, NodeSample, ServiceRef};

    use super::*;
    use crate::network::Counters;

    fn tick(service: bool) -> Tick {
        let service = service.then(|| ServiceRef { id: "7p3smy95k7lh".parse().unwrap(), name: Name::new("web shop") });
        let sample = ContainerSample {
            id: ContainerId::new([0xab; 32]),
            name: service.is_none().then(|| Name::new("by-hand")),
            task: service.as_ref().map(|_| "t1".parse().unwrap()),
            service,
            has_healthcheck: None,
            cpu_percent: Some(12.3),
            cpu_limit_percent: None,
            memory_mb: Some(64.5),
            memory_percent: Some(50.0),
            network: Some(Network { rx_mbps: 1.5, tx_mbps: 0.25, percent: None, source: NetworkSource::ProcNetDev }),
            throttled_percent: None,
            oom_kills: Some(0),
        };
        let network = Some(Counters { rx_bytes: 10, tx_bytes: 20, rx_packets: 1, tx_packets: 2 });
        let node = NodeSample {
            cores: 4,
            cpu_percent: None,
            memory_total_mb: Some(1000.0),
            memory_percent: None,
            network: None,
            link_mbps: None,
        };
        Tick { number: 1, node, containers: vec![Measured { sample, network }] }
    }

    fn check(service: bool, expected: &str) {
        let node = NodeRef { id: None, name: Name::new("n1") };
        let mut lines = Lines::new(Precision::Seconds);
        write(&mut lines, &node, &tick(service), 5_000_000_000);
        let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
        let expected = expected.replace("ID", &"ab".repeat(32));
        assert_eq!(text, expected);
    }

    #[test]
    fn absent_values_and_empty_tags_are_not_written() {
        check(
            true,
            "node_metrics,node=n1 cores=4i,memory_total_mb=1000 5\n\
             container_metrics,container_id=ID,node=n1,service_name=web\\ shop,task_id=t1 cpu_percent=12.3,\
             memory_mb=64.5,memory_percent=50,network_rx_bytes=10i,network_tx_bytes=20i,network_rx_packets=1i,\
             network_tx_packets=2i,network_rx_mbps=1.5,network_tx_mbps=0.25,oom_kills=0i 5\n",
        );
        check(
            false,
            "node_metrics,node=n1 cores=4i,memory_total_mb=1000 5\n\
             container_metrics,container_id=ID,container_name=by-hand,node=n1 cpu_percent=12.3,\
             memory_mb=64.5,memory_percent=50,network_rx_bytes=10i,network_tx_bytes=20i,network_rx_packets=1i,\
             network_tx_packets=2i,network_rx_mbps=1.5,network_tx_mbps=0.25,oom_kills=0i 5\n",
        );
    }
}
