//! One tick as points for the database: `container_metrics` and `node_metrics`.
//!
//! Measurement, tag and field names are the requirement's and are part of the interface: dashboards rest on them.
//! Percentages and rates have the two decimals they were sampled with. Slow figures are written at the tick they were read at, memory as it was read last.

use swarmguard_influx::{Lines, Point, Series, Sink};
use swarmguard_wire::{ContainerId, ContainerSample, Network, NodeRef, NodeSample};

use crate::network::Counters;
use crate::sample::{Extra, Tick};

/// Where points go: to the database's queue, or into a buffer to be shown.
pub trait Destination {
    /// Begins a point of a series.
    fn point_of(&mut self, series: &Series) -> Point<'_>;
}

impl Destination for Sink {
    fn point_of(&mut self, series: &Series) -> Point<'_> {
        Self::point_of(self, series)
    }
}

impl Destination for Lines {
    fn point_of(&mut self, series: &Series) -> Point<'_> {
        Self::point_of(self, series)
    }
}

/// Writes ticks. Measurement and tags of each container are escaped once and kept.
#[derive(Debug)]
pub struct Points {
    node: NodeRef,
    node_series: Series,
    /// In the order of the containers of the last tick.
    series: Vec<(ContainerId, Series)>,
}

impl Points {
    /// For the ticks of `node`.
    pub fn new(node: NodeRef) -> Self {
        Self { node_series: Series::new("node_metrics").tag("node", node.name.as_str()), node, series: Vec::new() }
    }

    /// Writes the points of a tick.
    pub fn write(&mut self, lines: &mut impl Destination, tick: &Tick<'_>, unix_ns: i64) {
        if let Some(sample) = tick.node {
            write_node(lines.point_of(&self.node_series), sample, unix_ns);
        }
        self.series.truncate(tick.containers.len());
        for (index, (sample, extra)) in tick.containers.iter().zip(tick.extras).enumerate() {
            write_container(lines.point_of(self.series(index, sample)), sample, extra, unix_ns);
        }
    }

    /// The series of the container that is now at `index`. Containers are sorted, so only those behind one that came or
    /// went have moved.
    fn series(&mut self, index: usize, sample: &ContainerSample) -> &Series {
        let is_known = self.series.get(index).is_some_and(|(id, _)| *id == sample.id);
        if !is_known {
            self.series.truncate(index);
            self.series.push((sample.id, series(&self.node, sample)));
        }
        &self.series[index].1
    }
}

fn series(node: &NodeRef, sample: &ContainerSample) -> Series {
    Series::new("container_metrics")
        .tag("container_id", sample.id.to_string().as_str())
        .tag("container_name", sample.name.as_ref().map(|name| name.as_str()))
        .tag("node", node.name.as_str())
        .tag("service_name", sample.service.as_ref().map(|service| service.name.as_str()))
        .tag("task_id", sample.task.as_ref().map(|task| task.as_str()))
}

fn write_node(point: Point<'_>, sample: &NodeSample, unix_ns: i64) {
    point
        .field("cores", u64::from(sample.cores))
        .field("cpu_percent", decimal(sample.cpu_percent))
        .field("memory_total_mb", decimal(sample.memory_total_mb))
        .field("memory_percent", decimal(sample.memory_percent))
        .field("network_rx_mbps", rate(sample.network, |network| network.rx_mbps))
        .field("network_tx_mbps", rate(sample.network, |network| network.tx_mbps))
        .field("network_percent", decimal(sample.network.and_then(|network| network.percent)))
        .field("readings_failed", sample.readings_failed)
        .field("network_uncounted", sample.network_uncounted)
        .close(unix_ns);
}

fn write_container(point: Point<'_>, sample: &ContainerSample, extra: &Extra, unix_ns: i64) {
    let counter = |pick: fn(&Counters) -> u64| extra.network.as_ref().map(pick);
    let slow = |value: Option<f32>| decimal(value.filter(|_| extra.slow_is_fresh));
    point
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
        .field("network_source", sample.network.filter(|_| extra.slow_is_fresh).map(|network| network.source.as_str()))
        .field("tcp_retransmits", extra.network.and_then(|counters| counters.tcp_retransmits))
        .field("throttled_percent", decimal(sample.throttled_percent.filter(|_| extra.throttling_is_fresh)))
        .field("oom_kills", sample.oom_kills.filter(|_| extra.slow_is_fresh))
        .field("cpu_pressure_percent", slow(sample.cpu_pressure_percent))
        .field("memory_pressure_percent", slow(sample.memory_pressure_percent))
        .field("io_pressure_percent", slow(sample.io_pressure_percent))
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
    use swarmguard_wire::{Name, NetworkSource, ServiceRef};

    use super::*;

    const NODE: NodeSample = NodeSample {
        cores: 4,
        cpu_percent: None,
        memory_total_mb: Some(1000.0),
        memory_percent: None,
        network: None,
        link_mbps: None,
        readings_failed: 2,
        network_uncounted: 0,
    };

    fn sample(id: u8, service: bool) -> ContainerSample {
        let service = service.then(|| ServiceRef { id: "7p3smy95k7lh".parse().unwrap(), name: Name::new("web shop") });
        ContainerSample {
            id: ContainerId::new([id; 32]),
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
            tcp_retransmit_percent: None,
            cpu_pressure_percent: Some(1.5),
            memory_pressure_percent: None,
            io_pressure_percent: None,
        }
    }

    fn text(points: &mut Points, node: bool, containers: &[ContainerSample], slow_is_fresh: bool) -> String {
        let network =
            Some(Counters { rx_bytes: 10, tx_bytes: 20, rx_packets: 1, tx_packets: 2, tcp_retransmits: None });
        let extra = Extra { network, slow_is_fresh, ..Extra::default() };
        let extras = vec![extra; containers.len()];
        let tick = Tick { number: 1, node: node.then_some(&NODE), containers, extras: &extras };
        let mut lines = Lines::new(Precision::Seconds);
        points.write(&mut lines, &tick, 5_000_000_000);
        String::from_utf8(lines.as_bytes().to_vec()).unwrap()
    }

    fn points() -> Points {
        Points::new(NodeRef { id: None, name: Name::new("n1") })
    }

    #[test]
    fn absent_values_and_empty_tags_are_not_written() {
        let check = |service, tags: &str| {
            let id = "ab".repeat(32);
            let expected = format!(
                "node_metrics,node=n1 cores=4i,memory_total_mb=1000,readings_failed=2i,network_uncounted=0i 5\n\
                 container_metrics,container_id={id},{tags} cpu_percent=12.3,memory_mb=64.5,memory_percent=50,\
                 network_rx_bytes=10i,network_tx_bytes=20i,network_rx_packets=1i,network_tx_packets=2i,\
                 network_rx_mbps=1.5,network_tx_mbps=0.25,network_source=\"proc_net_dev\",oom_kills=0i,\
                 cpu_pressure_percent=1.5 5\n"
            );
            assert_eq!(text(&mut points(), true, &[sample(0xab, service)], true), expected);
        };
        check(true, "node=n1,service_name=web\\ shop,task_id=t1");
        check(false, "container_name=by-hand,node=n1");
    }

    #[test]
    fn what_was_not_read_at_this_tick_is_not_written() {
        let text = text(&mut points(), false, &[sample(1, true)], false);
        assert!(text.starts_with("container_metrics") && text.lines().count() == 1, "{text}");
        assert!(!text.contains("oom_kills") && !text.contains("pressure") && !text.contains("source"), "{text}");
    }

    #[test]
    fn each_container_keeps_its_own_tags_while_others_come_and_go() {
        let mut points = points();
        for present in [vec![1, 2, 3], vec![1, 3], vec![1, 2, 3, 4], vec![4], vec![], vec![2]] {
            let containers: Vec<_> = present.iter().map(|id| sample(*id, false)).collect();
            let text = text(&mut points, false, &containers, false);
            let ids: Vec<String> = text.lines().map(|line| line[31..95].to_owned()).collect();
            let expected: Vec<String> = containers.iter().map(|sample| sample.id.to_string()).collect();
            assert_eq!(ids, expected);
        }
    }
}
