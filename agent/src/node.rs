//! The node itself: CPU, memory and the link that its traffic goes over.
//!
//! What does not change is asked once, of sysinfo; what does is read from kept files of `/proc` as containers are.

use std::path::Path;
use std::time::Duration;

use swarmguard_wire::{Network, NodeSample};

use crate::cgroup::{KeptFile, Reader};
use crate::host::Host;
use crate::network::{Counters, Interfaces, Source};
use crate::rates;

/// What does not change while the agent runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Logical processors.
    pub cores: u16,
    /// Memory in all, in bytes; absent if it could not be read.
    pub memory_bytes: Option<u64>,
    /// The interface that node traffic is counted on; absent if none was given or found.
    pub interface: Option<String>,
    /// The link's speed in Mbit/s; absent if it was not given and the kernel does not know it (virtual links).
    pub link_mbps: Option<f64>,
}

impl Facts {
    /// Asks the kernel, where the user did not say.
    pub fn read(host: &Host, namespace: &str, interface: Option<String>, link_mbps: Option<f64>) -> Self {
        let memory_bytes = sysinfo::System::new().ok().map(|mut system| {
            system.refresh_memory();
            system.total_memory()
        });
        let stat = std::fs::read_to_string(host.proc("stat")).unwrap_or_default();
        let route = std::fs::read_to_string(host.proc(&format!("{namespace}/net/route"))).unwrap_or_default();
        let interface = interface.or_else(|| default_interface(&route));
        let speed = |name: &String| std::fs::read_to_string(host.sys().join("class/net").join(name).join("speed")).ok();
        let link_mbps = link_mbps.or_else(|| link_speed(&interface.as_ref().and_then(speed)?));
        Self { cores: cores(&stat), memory_bytes: memory_bytes.filter(|bytes| *bytes > 0), interface, link_mbps }
    }

    /// Traffic as a share of the link, the busier direction.
    pub fn network(&self, gained: &Gained, elapsed: Duration) -> Option<Network> {
        let (rx_mbps, tx_mbps) = (rates::mbps(gained.rx_bytes, elapsed)?, rates::mbps(gained.tx_bytes, elapsed)?);
        let busier = f64::from(rx_mbps.max(tx_mbps));
        let percent = self.link_mbps.and_then(|link| rates::ratio_percent(busier, link));
        Some(Network { rx_mbps, tx_mbps, percent, source: gained.source })
    }
}

/// What traffic counters gained between two ticks.
#[derive(Debug, Clone, Copy)]
pub struct Gained {
    /// Received.
    pub rx_bytes: u64,
    /// Sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// TCP segments sent again; absent where the source does not tell.
    pub tcp_retransmits: Option<u64>,
    /// Where they were counted.
    pub source: swarmguard_wire::NetworkSource,
}

impl Gained {
    /// Between two readings; `None` if a counter went backwards.
    pub fn between(before: Counters, now: Counters, source: swarmguard_wire::NetworkSource) -> Option<Self> {
        Some(Self {
            rx_bytes: rates::gained(Some(before.rx_bytes), Some(now.rx_bytes))?,
            tx_bytes: rates::gained(Some(before.tx_bytes), Some(now.tx_bytes))?,
            tx_packets: rates::gained(Some(before.tx_packets), Some(now.tx_packets))?,
            tcp_retransmits: rates::gained(before.tcp_retransmits, now.tcp_retransmits),
            source,
        })
    }

    /// TCP segments sent again in percent of all packets sent; absent where nothing was sent.
    pub fn tcp_retransmit_percent(&self) -> Option<f32> {
        rates::ratio_percent(self.tcp_retransmits? as f64, self.tx_packets as f64)
    }
}

/// The node's kept files and the last reading.
#[derive(Debug)]
pub struct Node {
    stat: KeptFile,
    meminfo: KeptFile,
    network: Source,
    before: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    cpu: Option<CpuTime>,
    network: Option<Counters>,
}

impl Node {
    /// Opens the files.
    pub fn open(host: &Host, namespace: &str) -> Self {
        Self {
            stat: KeptFile::open(&host.proc("stat")),
            meminfo: KeptFile::open(&host.proc("meminfo")),
            network: Source::proc_net_dev(Path::new(&host.proc(&format!("{namespace}/net/dev")))),
            before: None,
        }
    }

    /// Samples the node; what needs an earlier reading is absent at the first tick.
    pub fn sample(&mut self, facts: &Facts, elapsed: Duration, reader: &mut Reader) -> NodeSample {
        let cpu = reader.read_by(&self.stat, |file, buffer| file.read_first_line(buffer).and_then(parse_cpu_time));
        let memory = reader.read(&self.meminfo, parse_meminfo);
        let interfaces = facts.interface.as_deref().map_or(Interfaces::NotLoopback, Interfaces::Only);
        let network = self.network.read(None, interfaces, reader);
        let before = self.before.replace(Reading { cpu, network: network.map(|(counters, _)| counters) });
        let cpu_percent = before.and_then(|before| cpu?.busy_percent_since(before.cpu?));
        let gained = before.and_then(|before| {
            let (now, source) = network?;
            Gained::between(before.network?, now, source)
        });
        NodeSample {
            cores: facts.cores,
            cpu_percent,
            memory_total_mb: memory.map(|memory| rates::round(memory.total_kib as f64 / 1024.0)),
            memory_percent: memory.and_then(|memory| {
                let used = memory.total_kib.saturating_sub(memory.available_kib);
                rates::ratio_percent(used as f64, memory.total_kib as f64)
            }),
            network: gained.and_then(|gained| facts.network(&gained, elapsed)),
            link_mbps: facts.link_mbps.map(rates::round),
            readings_failed: reader.failed(),
            network_uncounted: 0,
        }
    }
}

/// Jiffies since boot, of all cores together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTime {
    busy: u64,
    all: u64,
}

impl CpuTime {
    fn busy_percent_since(self, before: Self) -> Option<f32> {
        let all = rates::gained(Some(before.all), Some(self.all))?;
        let busy = rates::gained(Some(before.busy), Some(self.busy))?;
        // Waiting for a disk is a counter that may go back a little; see proc(5).
        rates::ratio_percent(busy as f64, all.max(busy) as f64)
    }
}

/// The `cpu` line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; see proc(5).
fn parse_cpu_time(line: &[u8]) -> Option<CpuTime> {
    let mut columns = std::str::from_utf8(line).ok()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let mut next = || columns.next()?.parse::<u64>().ok();
    let (user, nice, system, idle, iowait) = (next()?, next()?, next()?, next()?, next()?);
    let (irq, softirq, steal) = (next()?, next()?, next()?);
    let sum = |ticks: &[u64]| ticks.iter().try_fold(0_u64, |sum, ticks| sum.checked_add(*ticks));
    let busy = sum(&[user, nice, system, irq, softirq, steal])?;
    Some(CpuTime { busy, all: sum(&[busy, idle, iowait])? })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MemoryInfo {
    total_kib: u64,
    available_kib: u64,
}

/// `MemTotal` and `MemAvailable` of `/proc/meminfo`.
fn parse_meminfo(text: &[u8]) -> Option<MemoryInfo> {
    let text = std::str::from_utf8(text).ok()?;
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    Some(MemoryInfo { total_kib: field("MemTotal:")?, available_kib: field("MemAvailable:")? })
}

fn cores(stat: &str) -> u16 {
    let is_core =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    u16::try_from(stat.lines().filter(is_core).count().max(1)).unwrap_or(u16::MAX)
}

/// The interface of the route to 0.0.0.0 in `/proc/net/route`.
fn default_interface(route: &str) -> Option<String> {
    route.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let (name, destination) = (columns.next()?, columns.next()?);
        (destination == "00000000").then(|| name.to_owned())
    })
}

/// `/sys/class/net/<interface>/speed`: -1 or nothing where the link is virtual or down.
fn link_speed(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|mbps| mbps.is_finite() && *mbps > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_waiting_for_a_disk_is_idle() {
        let before = parse_cpu_time(b"cpu  100 0 100 800 0 0 0 0 0 0").unwrap();
        let now = parse_cpu_time(b"cpu  150 0 150 850 50 0 0 0 0 0").unwrap();
        assert_eq!(now.busy_percent_since(before), Some(50.0));
        assert_eq!(before.busy_percent_since(now), None, "a counter that went backwards");
        let less_waiting = parse_cpu_time(b"cpu  200 0 100 800 0 0 0 0 0 0").unwrap();
        let waited = parse_cpu_time(b"cpu  100 0 100 800 1 0 0 0 0 0").unwrap();
        assert_eq!(less_waiting.busy_percent_since(waited), Some(100.0), "more busy than there was time");
        assert_eq!(parse_cpu_time(b"cpu  100 0 100"), None);
        assert_eq!(parse_cpu_time(b"cpu  18446744073709551615 1 0 0 0 0 0 0"), None, "a sum beyond any counter");
        assert_eq!(parse_cpu_time(b"cpu0 100 0 100 800 0 0 0 0"), None);
    }

    #[test]
    fn memory_needs_both_lines() {
        let whole = b"MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:  400 kB\n";
        assert_eq!(parse_meminfo(whole), Some(MemoryInfo { total_kib: 1000, available_kib: 400 }));
        assert_eq!(parse_meminfo(b"MemTotal:  1000 kB\n"), None);
    }

    #[test]
    fn the_default_interface_is_the_one_of_the_default_route() {
        let route = "Iface\tDestination\tGateway\ndocker0\t000011AC\t0\neno1\t00000000\t0102A8C0\n";
        assert_eq!(default_interface(route).as_deref(), Some("eno1"));
        assert_eq!(default_interface("Iface\tDestination\n"), None);
    }

    #[test]
    fn a_link_without_speed_has_no_speed() {
        assert_eq!(link_speed("1000\n"), Some(1000.0));
        assert_eq!(link_speed("-1\n"), None);
        assert_eq!(link_speed(""), None);
    }

    #[test]
    fn cores_are_counted_and_their_sum_is_not_one() {
        assert_eq!(cores("cpu  1 2\ncpu0 1\ncpu1 2\nintr 5\n"), 2);
    }
}
