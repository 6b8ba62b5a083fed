//! Bytes of every version ever released must decode for ever, and today's messages must have today's bytes.
//!
//! A change that breaks this test breaks agents that are running somewhere: raise the version instead, keep the old
//! bytes, and describe the new ones in `docs/wire.md`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

use swarmguard_wire::alert::ALERT_BYTES_MAX;
use swarmguard_wire::codec::{DecodeError, Message, REPLY_BYTES_MAX, decode, encode};
use swarmguard_wire::report::{REPORT_BYTES_MAX, REPORT_CONTAINERS_MAX};
use swarmguard_wire::time::ClockOffset;
use swarmguard_wire::{
    Alert, ContainerId, ContainerSample, Name, Network, NetworkSource, NodeRef, NodeSample, Policy, Reply, Report,
    ServiceRef, Timestamp,
};

/// An alert of version 1, in hexadecimal.
const ALERT_V1: &str = include_str!("golden/alert-v1.hex");
const REPORT_V1: &str = include_str!("golden/report-v1.hex");
const REPLY_V1: &str = include_str!("golden/reply-v1.hex");

fn container() -> ContainerSample {
    ContainerSample {
        id: ContainerId::new([0xab; 32]),
        service: Some(ServiceRef { id: "7p3smy95k7lhs3x8puo3duh0z".parse().unwrap(), name: Name::new("web-stress") }),
        task: Some("nb3kxmn7zt3i1uvt5a1ewr2qs".parse().unwrap()),
        name: None,
        has_healthcheck: Some(true),
        cpu_percent: Some(28.5),
        cpu_limit_percent: Some(95.0),
        memory_mb: Some(61.25),
        memory_percent: Some(63.8),
        network: Some(Network {
            rx_mbps: 1.5,
            tx_mbps: 20.25,
            percent: Some(20.25),
            source: NetworkSource::ProcNetDev,
        }),
        throttled_percent: Some(40.0),
        oom_kills: Some(0),
        tcp_retransmit_percent: Some(0.5),
        cpu_pressure_percent: Some(0.5),
        memory_pressure_percent: Some(0.5),
        io_pressure_percent: Some(0.5),
    }
}

fn alert() -> Alert {
    Alert {
        sampled_at: Timestamp::from_micros(1_795_226_978_393_000),
        sent_at: Timestamp::from_micros(1_795_226_978_393_450),
        clock_offset: Some(ClockOffset(-120)),
        tick: 86_400,
        node: NodeRef { id: Some("zr8w65b72hn1vu59r7qocyakn".parse().unwrap()), name: Name::new("worker-1") },
        container: container(),
    }
}

fn report() -> Report<'static> {
    let alert = alert();
    Report {
        sampled_at: alert.sampled_at,
        sent_at: alert.sent_at,
        clock_offset: None,
        tick: 86_400,
        interval_ms: 1_000,
        node: std::borrow::Cow::Owned(alert.node),
        sample: NodeSample {
            cores: 4,
            cpu_percent: Some(12.5),
            memory_total_mb: Some(7_812.5),
            memory_percent: Some(40.0),
            network: None,
            link_mbps: Some(100.0),
            readings_failed: 0,
            network_uncounted: 0,
        },
        containers: vec![container()].into(),
        containers_omitted: 0,
        alerts_dropped: 3,
    }
}

fn reply() -> Reply {
    Reply {
        received_at: Timestamp::from_micros(1_795_226_978_393_600),
        answered_at: Timestamp::from_micros(1_795_226_978_393_700),
        policy: Policy::default(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<char> = hexadecimal.trim().chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn check<M: Message + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(message: &M, golden: &str) {
    assert_eq!(&decode::<M>(&bytes(golden)).unwrap(), message, "old bytes mean what they meant");
    assert_eq!(hexadecimal(&encode(message).unwrap()), golden.trim(), "today's bytes are those of version 1");
}

#[test]
fn messages_of_version_1_are_understood() {
    check(&alert(), ALERT_V1);
    check(&report(), REPORT_V1);
    check(&reply(), REPLY_V1);
}

fn longest_container() -> ContainerSample {
    let id = "z".repeat(32);
    let long = "é".repeat(1_000);
    ContainerSample {
        id: ContainerId::new([0xff; 32]),
        service: Some(ServiceRef { id: id.parse().unwrap(), name: Name::new(&long) }),
        task: Some(id.parse().unwrap()),
        name: Some(Name::new(&long)),
        has_healthcheck: Some(true),
        cpu_percent: Some(f32::MAX),
        cpu_limit_percent: Some(f32::MAX),
        memory_mb: Some(f32::MAX),
        memory_percent: Some(f32::MAX),
        network: Some(Network {
            rx_mbps: f32::MAX,
            tx_mbps: f32::MAX,
            percent: Some(f32::MAX),
            source: NetworkSource::ProcNetDev,
        }),
        throttled_percent: Some(f32::MAX),
        oom_kills: Some(u64::MAX),
        tcp_retransmit_percent: Some(f32::MAX),
        cpu_pressure_percent: Some(f32::MAX),
        memory_pressure_percent: Some(f32::MAX),
        io_pressure_percent: Some(f32::MAX),
    }
}

fn longest_node() -> NodeRef {
    NodeRef { id: Some("z".repeat(32).parse().unwrap()), name: Name::new(&"x".repeat(1_000)) }
}

#[test]
fn the_longest_alert_has_at_most_500_bytes_and_a_usual_one_about_200() {
    let longest = Alert {
        sampled_at: Timestamp::from_micros(u64::MAX),
        sent_at: Timestamp::from_micros(u64::MAX),
        clock_offset: Some(ClockOffset(i64::MIN)),
        tick: u64::MAX,
        node: longest_node(),
        container: longest_container(),
    };
    let (usual, most) = (encode(&alert()).unwrap().len(), encode(&longest).unwrap().len());
    println!("alert: {usual} bytes, longest possible {most}");
    assert!(most <= ALERT_BYTES_MAX, "{most} bytes");
    assert!(usual <= 230, "{usual} bytes");
    assert_eq!(decode::<Alert>(&encode(&longest).unwrap()).unwrap(), longest);
}

#[test]
fn the_longest_report_and_reply_fit_their_bounds() {
    let longest = Report {
        containers: vec![longest_container(); REPORT_CONTAINERS_MAX].into(),
        containers_omitted: u32::MAX,
        alerts_dropped: u64::MAX,
        node: std::borrow::Cow::Owned(longest_node()),
        ..report()
    };
    let length = encode(&longest).unwrap().len();
    assert!(length <= REPORT_BYTES_MAX, "{length} bytes");
    let length = encode(&reply()).unwrap().len();
    assert!(length <= REPLY_BYTES_MAX, "{length} bytes");
}

#[test]
fn what_is_not_a_message_is_refused_with_the_reason() {
    let good = bytes(ALERT_V1);
    let check = |bytes: &[u8], reason: &str| {
        let error = decode::<Alert>(bytes).unwrap_err();
        assert!(format!("{error:?} {error}").contains(reason), "{error:?}, expected {reason}");
    };
    check(&[], "Envelope");
    check(b"hello", "Envelope");
    check(&[0xff; 40], "Envelope");
    check(&[&[0x92, 9], &good[2..]].concat(), "version 9");
    check(&good[..good.len() - 1], "Body");
    check(&[&good[..], b"x"].concat(), "1 bytes follow");
    check(&[0x92; ALERT_BYTES_MAX + 1], "Oversized");
    check(&bytes(REPLY_V1), "Body");
    let nan = Alert { container: ContainerSample { memory_mb: Some(f32::NAN), ..container() }, ..alert() };
    check(&encode(&nan).unwrap(), "memory_mb");
    let negative = Alert { container: ContainerSample { cpu_percent: Some(-1.0), ..container() }, ..alert() };
    check(&encode(&negative).unwrap(), "cpu_percent");
}

#[test]
fn cut_or_changed_bytes_never_panic() {
    let good = bytes(REPORT_V1);
    for end in 0..good.len() {
        assert!(decode::<Report>(&good[..end]).is_err(), "{end} bytes of {} were taken", good.len());
    }
    for place in 0..good.len() {
        for value in [0x00, 0x7f, 0x80, 0x9f, 0xc0, 0xc1, 0xdd, 0xdf, 0xff] {
            let mut changed = good.clone();
            changed[place] = value;
            // Taken or refused: both are fine, as long as it ends.
            if let Err(DecodeError::Oversized { .. }) = decode::<Report>(&changed) {
                panic!("a changed byte does not make it longer");
            }
        }
    }
}

#[test]
fn the_source_of_network_figures_is_a_byte_for_machines_and_a_word_for_people() {
    for (source, word) in [(NetworkSource::ProcNetDev, "proc_net_dev"), (NetworkSource::Ebpf, "ebpf")] {
        let network = container().network.map(|network| Network { source, ..network });
        let sent = Alert { container: ContainerSample { network, ..container() }, ..alert() };
        assert_eq!(decode::<Alert>(&encode(&sent).unwrap()).unwrap(), sent);
        assert_eq!(serde_json::json!(source), word);
    }
}
