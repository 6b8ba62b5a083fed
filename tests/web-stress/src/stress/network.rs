//! Network stress: UDP datagrams, paced by a token bucket.
//!
//! Rates count IP packets, header included, as an interface does (its Ethernet headers add 1 %).
//! Without an address given, datagrams go to the discard port of the default gateway: they cross
//! the container's real interface and end at the next hop. No other address is ever made up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ramp::Shape;
use super::slot::{Order, Slot, Turn};
use crate::cpu_time::mix;

/// RFC 863.
const DISCARD_PORT: u16 = 9;
/// Whole IP packets of this size fit the 1450 bytes that an overlay network leaves of 1500.
const PACKET_BYTES: usize = 1_400;
const HEADER_BYTES_V4: usize = 20 + 8;
const HEADER_BYTES_V6: usize = 40 + 8;
const TICK: Duration = Duration::from_millis(2);
/// What a late thread may make up for at once; a CFS throttle lasts less than 100 ms.
const BURST_S_MAX: f64 = 0.1;
const BYTES_PER_MEGABIT: f64 = 1e6 / 8.0;

/// Destination flag of `/proc/net/route` for a route through a gateway (`RTF_GATEWAY`).
const FLAG_GATEWAY: u32 = 0x2;

/// The network stress of the process.
#[derive(Default)]
pub(super) struct NetworkStress {
    slot: Arc<Slot<SocketAddr>>,
}

impl NetworkStress {
    pub(super) fn start(&self, target_mbps: u64, to: SocketAddr, shape: Shape, now: Instant) -> io::Result<()> {
        let order = Order { target: target_mbps as f64, shape, threads: 1, setting: to };
        let sockets = Sockets::open()?;
        self.slot.start(order, now, move |slot| work(slot, &sockets))
    }

    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.slot.is_active(now)
    }

    pub(super) fn stop(&self) {
        self.slot.stop();
    }
}

/// The discard port of the default gateway, from the text of `/proc/net/route`; `None` without one.
pub(crate) fn gateway_discard(routes: &str) -> Option<SocketAddr> {
    let gateways = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else {
            return None;
        };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let default = hex(destination)? == 0 && hex(mask)? == 0;
        let through_gateway = hex(flags)? & FLAG_GATEWAY != 0;
        // The kernel prints the four bytes as one number of this machine's byte order.
        let address = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        let metric: u32 = metric.parse().ok()?;
        (default && through_gateway).then_some((metric, address))
    });
    let (_, address) = gateways.min()?;
    Some(SocketAddr::from((address, DISCARD_PORT)))
}

/// Sockets for both families; a machine without IPv6 has only the first.
#[derive(Clone)]
struct Sockets {
    v4: Arc<UdpSocket>,
    v6: Option<Arc<UdpSocket>>,
}

impl Sockets {
    fn open() -> io::Result<Self> {
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // A full queue must not hold a thread that has been told to stop.
        v4.set_nonblocking(true)?;
        let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok().filter(|socket| socket.set_nonblocking(true).is_ok());
        Ok(Self { v4: Arc::new(v4), v6: v6.map(Arc::new) })
    }

    /// Sends one packet; the sockets stay unconnected, so that a refusal by the receiver (nobody
    /// need listen) costs no datagram.
    fn send(&self, payload: &[u8], to: SocketAddr) -> io::Result<usize> {
        match (to.ip(), &self.v6) {
            (IpAddr::V4(_), _) => self.v4.send_to(payload, to),
            (IpAddr::V6(_), Some(socket)) => socket.send_to(payload, to),
            (IpAddr::V6(_), None) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}

fn work(slot: &Slot<SocketAddr>, sockets: &Sockets) {
    let packet = noise(PACKET_BYTES);
    let mut bucket = TokenBucket::default();
    let mut last = Instant::now();
    loop {
        let now = Instant::now();
        let Some(turn) = slot.turn(now) else { return };
        bucket.refill(now - last, turn.level * BYTES_PER_MEGABIT);
        last = now;
        send_due(&turn, sockets, &packet, &mut bucket);
        std::thread::sleep(TICK);
    }
}

fn send_due(turn: &Turn<SocketAddr>, sockets: &Sockets, packet: &[u8], bucket: &mut TokenBucket) {
    let header_bytes = match turn.setting {
        SocketAddr::V4(_) => HEADER_BYTES_V4,
        SocketAddr::V6(_) => HEADER_BYTES_V6,
    };
    let payload = &packet[header_bytes..];
    while bucket.has(PACKET_BYTES as f64) {
        if sockets.send(payload, turn.setting).is_err() {
            // The queue is full or the route is gone: keep the tokens, within the burst.
            return;
        }
        bucket.take(PACKET_BYTES as f64);
    }
}

/// Data that no link compresses.
fn noise(bytes: usize) -> Vec<u8> {
    let words = std::iter::successors(Some(1), |seed| Some(mix(*seed)));
    words.flat_map(u64::to_le_bytes).take(bytes).collect()
}

/// Tokens are bytes; they come with time and go with packets.
#[derive(Debug, Default, PartialEq)]
struct TokenBucket {
    tokens: f64,
}

impl TokenBucket {
    /// Adds what `rate` (bytes per second) brings in `elapsed`, up to the burst at that rate; a
    /// single packet always fits, or a slow rate would never send any.
    fn refill(&mut self, elapsed: Duration, rate: f64) {
        let burst = (rate * BURST_S_MAX).max(2.0 * PACKET_BYTES as f64);
        self.tokens = (self.tokens + rate * elapsed.as_secs_f64()).min(burst);
    }

    fn has(&self, tokens: f64) -> bool {
        self.tokens >= tokens
    }

    fn take(&mut self, tokens: f64) {
        self.tokens -= tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn check_gateway(lines: &str, expected: Option<[u8; 4]>) {
        let found = gateway_discard(&format!("{HEADER}{lines}"));
        assert_eq!(found, expected.map(|ip| SocketAddr::from((ip, DISCARD_PORT))));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_gateway_is_the_one_with_the_lowest_metric() {
        let lan = "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let first = "eth0\t00000000\t010011AC\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
        let second = "eth1\t00000000\t0100000A\t0003\t0\t0\t50\t00000000\t0\t0\t0\n";
        check_gateway(&format!("{lan}{first}"), Some([172, 17, 0, 1]));
        check_gateway(&format!("{first}{second}"), Some([10, 0, 0, 1]));
        check_gateway(lan, None);
    }

    #[test]
    fn no_route_or_one_without_gateway_is_no_destination() {
        check_gateway("", None);
        check_gateway("eth0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n", None);
        check_gateway("nonsense\n", None);
    }

    /// Bytes sent in `steps` ticks at `rate`.
    fn sent(rate: f64, tick: Duration, steps: usize) -> f64 {
        let (mut bucket, mut sent) = (TokenBucket::default(), 0.0);
        for _ in 0..steps {
            bucket.refill(tick, rate);
            while bucket.has(PACKET_BYTES as f64) {
                bucket.take(PACKET_BYTES as f64);
                sent += PACKET_BYTES as f64;
            }
        }
        sent
    }

    #[test]
    fn the_bucket_lets_through_its_rate_whatever_the_tick() {
        for tick_ms in [1, 2, 10, 90] {
            let steps = 9_000 / tick_ms;
            let tick = Duration::from_millis(tick_ms as u64);
            let expected = 1e6 * 9.0;
            let found = sent(1e6, tick, steps);
            assert!((found / expected - 1.0).abs() < 0.001, "{tick_ms} ms: {found}");
        }
    }

    #[test]
    fn after_a_long_pause_no_more_than_the_burst_is_sent() {
        let burst = 1e6 * BURST_S_MAX;
        let found = sent(1e6, Duration::from_secs(60), 1);
        assert!(found <= burst && found > burst - PACKET_BYTES as f64, "{found}");
    }

    #[test]
    fn a_slow_rate_still_sends_whole_packets() {
        let rate = 100.0;
        assert_eq!(sent(rate, Duration::from_secs(1), 13), 0.0);
        assert_eq!(sent(rate, Duration::from_secs(1), 14), PACKET_BYTES as f64);
    }
}
