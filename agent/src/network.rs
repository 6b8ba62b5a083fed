//! Network counters of a container or of the node, and where they come from.
//!
//! [`Counters`] since start and [`Source`] are what the rest of the agent sees. A kernel program tells the traffic of any
//! container; without it `/proc/<pid>/net/dev` shows the container's own network namespace, and a host-network
//! container, which has none, has no counters.

use std::path::Path;

use swarmguard_wire::NetworkSource;

use crate::cgroup::{KeptFile, Reader};
use crate::kernel::programs::NetworkPrograms;
use crate::kernel::traffic::Place;

/// Traffic since the interfaces came up, loopback left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// TCP segments sent again; absent where the source does not tell.
    pub tcp_retransmits: Option<u64>,
}

/// Where one container's counters are read.
#[derive(Debug)]
pub enum Source {
    /// A kernel program counts the container's cgroup.
    Ebpf(Place),
    /// `/proc/<pid>/net/dev`, kept open.
    ProcNetDev(KeptFile),
    /// Nothing tells them.
    Absent,
}

impl Source {
    /// Opens a `net/dev` file.
    pub fn proc_net_dev(path: &Path) -> Self {
        let file = KeptFile::open(path);
        if file.is_present() { Self::ProcNetDev(file) } else { Self::Absent }
    }

    /// Reads the counters and says where from. `programs` are those that gave the places.
    pub fn read(
        &self,
        programs: Option<&NetworkPrograms>,
        interfaces: Interfaces<'_>,
        reader: &mut Reader,
    ) -> Option<(Counters, NetworkSource)> {
        match self {
            Self::Ebpf(place) => {
                let programs = programs?;
                Some((programs.traffic.read(place, programs.tcp_retransmits), NetworkSource::Ebpf))
            }
            Self::ProcNetDev(file) => {
                let sum = reader.read_by(file, |file, buffer| read_net_dev(file, interfaces, buffer))?;
                Some((sum?, NetworkSource::ProcNetDev))
            }
            Self::Absent => None,
        }
    }
}

/// The kernel gathers an interface's counters when its line is asked for, and a node has an interface for each container.
/// The one that is wanted is nearly always the oldest: so long are the header, loopback and one more line.
const FIRST_LINES_BYTES: usize = 600;

/// The kernel gives this file about a page at a time, however large the buffer is: a node with some dozen containers
/// has more interfaces than fit. Without an interface that counts there is no sum, which is not a failure.
fn read_net_dev(file: &KeptFile, interfaces: Interfaces<'_>, buffer: &mut [u8]) -> Option<Option<Counters>> {
    let is_one = matches!(interfaces, Interfaces::Only(_));
    let (mut sum, mut offset, mut length) = (None, 0, if is_one { FIRST_LINES_BYTES } else { buffer.len() });
    loop {
        let lines = file.read_lines(offset, &mut buffer[..length])?;
        if lines.is_empty() {
            // Even a namespace without interfaces has the two header lines.
            return (offset > 0).then_some(sum);
        }
        offset += lines.len() as u64;
        add_net_dev(&mut sum, lines, interfaces)?;
        if sum.is_some() && is_one {
            return Some(sum);
        }
        length = buffer.len();
    }
}

/// Which interfaces count.
#[derive(Debug, Clone, Copy)]
pub enum Interfaces<'a> {
    /// All but loopback.
    NotLoopback,
    /// This one.
    Only(&'a str),
}

/// Columns of a line of `/proc/net/dev` that are read, after the interface's name.
const RX_BYTES: usize = 0;
const RX_PACKETS: usize = 1;
const TX_BYTES: usize = 8;
const TX_PACKETS: usize = 9;

/// Adds lines of `/proc/net/dev` to `sum`, which stays absent while no interface counts; `None` if a line is not whole.
fn add_net_dev(sum: &mut Option<Counters>, text: &[u8], interfaces: Interfaces<'_>) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    for line in text.lines() {
        let Some((name, columns)) = line.split_once(':') else {
            // The two header lines have bars and no colon.
            if line.contains('|') {
                continue;
            }
            return None;
        };
        let counts = match interfaces {
            Interfaces::NotLoopback => name.trim() != "lo",
            Interfaces::Only(wanted) => name.trim() == wanted,
        };
        if !counts {
            continue;
        }
        let counters = parse_columns(columns)?;
        let sum = sum.get_or_insert_default();
        // The kernel's counters wrap; so does their sum.
        sum.rx_bytes = sum.rx_bytes.wrapping_add(counters.rx_bytes);
        sum.tx_bytes = sum.tx_bytes.wrapping_add(counters.tx_bytes);
        sum.rx_packets = sum.rx_packets.wrapping_add(counters.rx_packets);
        sum.tx_packets = sum.tx_packets.wrapping_add(counters.tx_packets);
    }
    Some(())
}

fn parse_columns(columns: &str) -> Option<Counters> {
    let mut counters = Counters::default();
    for (index, column) in columns.split_ascii_whitespace().enumerate().take(TX_PACKETS + 1) {
        match index {
            RX_BYTES => counters.rx_bytes = column.parse().ok()?,
            RX_PACKETS => counters.rx_packets = column.parse().ok()?,
            TX_BYTES => counters.tx_bytes = column.parse().ok()?,
            TX_PACKETS => {
                counters.tx_packets = column.parse().ok()?;
                return Some(counters);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1000 10 0 0 0 0 0 0 1000 10 0 0 0 0 0 0
  eth0: 200 2 0 0 0 0 0 0 300 3 0 0 0 0 0 0
  eth1:4000 40 0 0 0 0 0 0 5000 50 0 0 0 0 0 0
";

    fn check(text: &str, interfaces: Interfaces<'_>, expected: Option<(u64, u64, u64, u64)>) {
        let mut sum = None;
        let found = add_net_dev(&mut sum, text.as_bytes(), interfaces).and(sum);
        let found = found.map(|c| (c.rx_bytes, c.rx_packets, c.tx_bytes, c.tx_packets));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn loopback_does_not_count() {
        check(TEXT, Interfaces::NotLoopback, Some((4200, 42, 5300, 53)));
    }

    #[test]
    fn one_interface_can_be_named() {
        check(TEXT, Interfaces::Only("eth0"), Some((200, 2, 300, 3)));
        check(TEXT, Interfaces::Only("eth7"), None);
    }

    #[test]
    fn no_interface_is_absent_and_not_zero() {
        check("", Interfaces::NotLoopback, None);
        check("    lo: 1000 10 0 0 0 0 0 0 1000 10 0 0 0 0 0 0\n", Interfaces::NotLoopback, None);
    }

    #[test]
    fn a_file_longer_than_a_page_is_read_to_its_end() {
        let path = std::env::temp_dir().join(format!("swarmguard-net-dev-{}", std::process::id()));
        let line = |number: usize| format!("veth{number:04}: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n");
        std::fs::write(&path, (0..1_000).map(line).collect::<String>()).unwrap();
        let read = |interfaces| Source::proc_net_dev(&path).read(None, interfaces, &mut Reader::default());
        let (all, first, last) =
            (read(Interfaces::NotLoopback), read(Interfaces::Only("veth0000")), read(Interfaces::Only("veth0999")));
        std::fs::remove_file(&path).unwrap();
        assert_eq!([all, first, last].map(|found| found.unwrap().0.rx_bytes), [1_000, 1, 1]);
    }

    #[test]
    fn a_line_that_is_cut_is_not_half_believed() {
        check("  eth0: 200 2 0 0 0 0 0 0 300\n", Interfaces::NotLoopback, None);
        check("  eth0: 200 x 0 0 0 0 0 0 300 3\n", Interfaces::NotLoopback, None);
        check("  eth0 200 2 0 0 0 0 0 0 300 3\n", Interfaces::NotLoopback, None);
    }
}
