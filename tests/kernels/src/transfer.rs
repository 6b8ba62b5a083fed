//! Traffic between two cgroups, each in a network namespace of its own, and what it comes to on the link.
//!
//! Payload is known from the order. How many segments TCP made of it, and how many more to confirm them, the kernel says
//! itself, in the counters of each namespace (RFC 1213), which have nothing to do with cgroups.

use std::ops::AddAssign;

use anyhow::{Context, Result, ensure};

use crate::boot::Printed;

/// IP without options.
const IPV4_HEADER_BYTES: u64 = 20;
const IPV6_HEADER_BYTES: u64 = 40;
/// With the timestamps that Linux puts into each segment.
const TCP_HEADER_BYTES: u64 = 32;
/// What the cable takes at once.
const PACKET_BYTES_MAX: u64 = 1_500;
const UDP_HEADER_BYTES: u64 = 8;

/// Which Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ip {
    /// Version 4.
    V4,
    /// Version 6.
    V6,
}

/// One order to `traffic`, from the cgroup `a` to the listener in `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Bytes from `a` to `b`.
    Send(Ip, u64),
    /// Bytes from `b` to `a`, asked for by `a`.
    Receive(Ip, u64),
    /// So many datagrams of so many bytes from `a` to `b`.
    Datagrams(Ip, u64, u64),
    /// The same, and each comes back.
    Echoes(Ip, u64, u64),
}

/// Bytes and packets in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// With IP headers.
    pub bytes: u64,
    /// As they are on the link.
    pub packets: u64,
}

/// Both directions between `a` and `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// What `a` sends and `b` receives.
    pub a_to_b: Flow,
    /// What `b` sends and `a` receives.
    pub b_to_a: Flow,
    /// TCP segments that `a` sent again.
    pub a_retransmits: u64,
    /// TCP segments that `b` sent again.
    pub b_retransmits: u64,
}

impl AddAssign for Flow {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.packets += other.packets;
    }
}

impl Ip {
    fn header_bytes(self) -> u64 {
        match self {
            Self::V4 => IPV4_HEADER_BYTES,
            Self::V6 => IPV6_HEADER_BYTES,
        }
    }

    /// Where the listener is.
    fn listener(self) -> &'static str {
        match self {
            Self::V4 => "10.99.0.2:5000",
            Self::V6 => "[fd99::2]:5000",
        }
    }
}

impl Transfer {
    /// The arguments of `traffic`.
    pub fn arguments(self) -> String {
        match self {
            Self::Send(ip, bytes) => format!("tcp --to {} --bytes {bytes}", ip.listener()),
            Self::Receive(ip, bytes) => format!("tcp --to {} --bytes {bytes} --receive", ip.listener()),
            Self::Datagrams(ip, number, size) => {
                format!("udp --to {} --datagrams {number} --size {size}", ip.listener())
            }
            Self::Echoes(ip, number, size) => {
                format!("udp --to {} --datagrams {number} --size {size} --echo", ip.listener())
            }
        }
    }

    /// What it comes to, given the segments that TCP has sent in each namespace meanwhile.
    fn expected(self, a: Segments, b: Segments) -> Expected {
        let tcp = |ip: Ip, payload: u64, segments: Segments| {
            let packets = segments.sent + segments.sent_again;
            let headers = ip.header_bytes() + TCP_HEADER_BYTES;
            // Nothing is lost, but an emulated processor can be so late that TCP believes it is. What is sent again is
            // on the link again; nearly always it is a full segment.
            let again = segments.sent_again * (PACKET_BYTES_MAX - headers);
            Flow { bytes: payload + again + packets * headers, packets }
        };
        let udp = |ip: Ip, packets: u64, size: u64| Flow {
            bytes: packets * (size + ip.header_bytes() + UDP_HEADER_BYTES),
            packets,
        };
        let (a_to_b, b_to_a) = match self {
            Self::Send(ip, bytes) => (tcp(ip, bytes, a), tcp(ip, 0, b)),
            Self::Receive(ip, bytes) => (tcp(ip, 0, a), tcp(ip, bytes, b)),
            Self::Datagrams(ip, number, size) => (udp(ip, number, size), Flow::default()),
            Self::Echoes(ip, number, size) => (udp(ip, number, size), udp(ip, number, size)),
        };
        Expected { a_to_b, b_to_a, a_retransmits: a.sent_again, b_retransmits: b.sent_again }
    }
}

/// TCP's own count in one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Segments {
    /// For the first time.
    sent: u64,
    sent_again: u64,
}

impl Segments {
    /// From `/proc/net/snmp`: a line of names, then a line of numbers.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, numbers) = (lines.next()?, lines.next()?);
        let value = |wanted: &str| {
            let mut both = names.split_whitespace().zip(numbers.split_whitespace());
            both.find_map(|(name, number)| if name == wanted { number.parse().ok() } else { None })
        };
        Some(Self { sent: value("OutSegs")?, sent_again: value("RetransSegs")? })
    }

    fn since(self, earlier: Self) -> Option<Self> {
        Some(Self {
            sent: self.sent.checked_sub(earlier.sent)?,
            sent_again: self.sent_again.checked_sub(earlier.sent_again)?,
        })
    }
}

/// TCP segments that `a` sent again during one transfer.
///
/// # Errors
/// When the counters were not printed.
pub fn sent_again(printed: &Printed, sample: &str) -> Result<u64> {
    let at = |place: &str| {
        let text = printed.part(&format!("{sample} {place} a"))?;
        Segments::parse(text).with_context(|| format!("no TCP counters in {text:?}"))
    };
    let gained = at("0")?.since(at("before")?).context("TCP's counters went backwards")?;
    Ok(gained.sent_again)
}

/// Adds up what was transferred during a sample.
///
/// # Errors
/// When a transfer failed or lost something: then nobody knows what should have been counted.
pub fn expected(printed: &Printed, sample: &str, transfers: &[Transfer]) -> Result<Expected> {
    let segments = |place: &str, side: &str| {
        let text = printed.part(&format!("{sample} {place} {side}"))?;
        Segments::parse(text).with_context(|| format!("no TCP counters in {text:?}"))
    };
    let mut sum = Expected::default();
    let mut before = (segments("before", "a")?, segments("before", "b")?);
    for (number, transfer) in transfers.iter().enumerate() {
        check(printed.part(&format!("{sample} {number}"))?, *transfer)?;
        let after = (segments(&number.to_string(), "a")?, segments(&number.to_string(), "b")?);
        let (a, b) = (after.0.since(before.0), after.1.since(before.1));
        let flows = transfer.expected(a.context("counters went back")?, b.context("counters went back")?);
        sum.a_to_b += flows.a_to_b;
        sum.b_to_a += flows.b_to_a;
        sum.a_retransmits += flows.a_retransmits;
        sum.b_retransmits += flows.b_retransmits;
        before = after;
    }
    Ok(sum)
}

fn check(said: &str, transfer: Transfer) -> Result<()> {
    let said: serde_json::Value =
        serde_json::from_str(said).with_context(|| format!("{transfer:?} failed: {said:?}"))?;
    if let Transfer::Echoes(_, number, _) = transfer {
        ensure!(said["answers"] == number, "{transfer:?} lost datagrams: {said}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
                        Tcp: RtoAlgorithm InSegs OutSegs RetransSegs\nTcp: 1 5 1000 7\n";

    #[test]
    fn segments_are_found_by_their_names() {
        assert_eq!(Segments::parse(SNMP), Some(Segments { sent: 1_000, sent_again: 7 }));
        assert_eq!(Segments::parse("Tcp: OutSegs\n"), None);
    }

    #[test]
    fn each_packet_has_its_headers() {
        let (a, b) = (Segments { sent: 10, sent_again: 0 }, Segments { sent: 5, sent_again: 0 });
        let sent = Transfer::Send(Ip::V4, 1_000).expected(a, b);
        assert_eq!(sent.a_to_b, Flow { bytes: 1_520, packets: 10 });
        assert_eq!(sent.b_to_a, Flow { bytes: 260, packets: 5 });
        let received = Transfer::Receive(Ip::V6, 1_000).expected(a, b);
        assert_eq!(received.a_to_b, Flow { bytes: 720, packets: 10 });
        assert_eq!(received.b_to_a, Flow { bytes: 1_360, packets: 5 });
        let again = Transfer::Send(Ip::V4, 1_000).expected(Segments { sent: 9, sent_again: 1 }, b);
        assert_eq!(again.a_to_b, Flow { bytes: 1_520 + 1_448, packets: 10 });
        assert_eq!((again.a_retransmits, again.b_retransmits), (1, 0));
        let none = Segments::default();
        let datagrams = Transfer::Datagrams(Ip::V4, 3, 100).expected(none, none);
        assert_eq!((datagrams.a_to_b, datagrams.b_to_a), (Flow { bytes: 384, packets: 3 }, Flow::default()));
        let echoes = Transfer::Echoes(Ip::V6, 3, 100).expected(none, none);
        assert_eq!((echoes.a_to_b, echoes.b_to_a.bytes), (echoes.b_to_a, 444));
    }
}
