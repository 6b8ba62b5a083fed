//! What the process uses: readings of counters, and rates between two of them.
//!
//! A [`Reading`] is taken from the kernel, [`Usage::between`] is arithmetic on two. Loopback is left
//! out of the network, since only what crosses the container's interface is traffic to a monitor.

use std::fs;
use std::time::{Duration, Instant};

use crate::cpu_time;

const BITS_PER_BYTE: f64 = 8.0;
const BITS_PER_MEGABIT: f64 = 1e6;

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    at: Instant,
    cpu: Duration,
    resident_bytes: u64,
    network: NetworkBytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct NetworkBytes {
    received: u64,
    sent: u64,
}

/// Rates over the time between two readings, and the memory at the later one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Usage {
    /// 100 is one core.
    pub(crate) cpu_percent: f64,
    /// Resident memory.
    pub(crate) resident_bytes: u64,
    /// Received, megabits per second.
    pub(crate) received_mbps: f64,
    /// Sent, megabits per second.
    pub(crate) sent_mbps: f64,
}

impl Reading {
    /// Reads the counters; a file that cannot be read counts as all zero.
    pub(crate) fn take(at: Instant) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let interfaces = fs::read_to_string("/proc/net/dev").unwrap_or_default();
        Self {
            at,
            cpu: cpu_time::process(),
            resident_bytes: resident_bytes(&status).unwrap_or_default(),
            network: network_bytes(&interfaces),
        }
    }
}

impl Usage {
    /// The rates from `earlier` to `later`; zero if no time passed.
    pub(crate) fn between(earlier: &Reading, later: &Reading) -> Self {
        let seconds = later.at.duration_since(earlier.at).as_secs_f64();
        let rate = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        // An interface that went away takes its counters along, hence no plain subtraction.
        let mbps = |from: u64, to: u64| rate(to.saturating_sub(from) as f64 * BITS_PER_BYTE / BITS_PER_MEGABIT);
        Self {
            cpu_percent: rate(later.cpu.saturating_sub(earlier.cpu).as_secs_f64() * 100.0),
            resident_bytes: later.resident_bytes,
            received_mbps: mbps(earlier.network.received, later.network.received),
            sent_mbps: mbps(earlier.network.sent, later.network.sent),
        }
    }
}

/// `VmRSS` of `/proc/self/status`, which is given in KiB.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Sums over `/proc/net/dev` without loopback: the first field is received bytes, the ninth sent.
fn network_bytes(interfaces: &str) -> NetworkBytes {
    let mut sum = NetworkBytes::default();
    let lines = interfaces.lines().filter_map(|line| line.split_once(':'));
    for (_, counters) in lines.filter(|(name, _)| name.trim() != "lo") {
        let mut counters = counters.split_ascii_whitespace().map(str::parse::<u64>);
        if let (Some(Ok(received)), Some(Ok(sent))) = (counters.next(), counters.nth(7)) {
            sum.received += received;
            sum.sent += sent;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERFACES: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 5000 50 0 0 0 0 0 0 5000 50 0 0 0 0 0 0
  eth0: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0
  eth1:  30 1 0 0 0 0 0 0   4 2 0 0 0 0 0 0
";

    #[test]
    fn loopback_is_no_network_traffic() {
        let expected = NetworkBytes { received: 130, sent: 204 };
        assert_eq!(network_bytes(INTERFACES), expected);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(resident_bytes(status), Some(2 << 20));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn rates_are_per_second_and_a_lost_counter_is_no_negative_rate() {
        let at = Instant::now();
        let reading = |after_ms, cpu_ms, received, sent| Reading {
            at: at + Duration::from_millis(after_ms),
            cpu: Duration::from_millis(cpu_ms),
            resident_bytes: 7,
            network: NetworkBytes { received, sent },
        };
        let usage = Usage::between(&reading(0, 100, 9, 0), &reading(2_000, 500, 0, 1_000_000));
        let expected = Usage { cpu_percent: 20.0, resident_bytes: 7, received_mbps: 0.0, sent_mbps: 4.0 };
        assert_eq!(usage, expected);
        let nothing = Usage::between(&reading(0, 0, 0, 0), &reading(0, 5, 5, 5));
        assert_eq!(nothing.cpu_percent, 0.0);
    }
}
