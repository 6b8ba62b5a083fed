//! What comes in over HTTP: taken whole and counted, or refused with the reason, counted, and without effect.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use swarmguard_collector::clock::now;
use swarmguard_collector::config::Settings;
use swarmguard_collector::server::serve;
use swarmguard_collector::state::Shared;
use swarmguard_http::{Connection, Method, Request, Response, Url};
use swarmguard_planner::facts::{
    Leader, Mode, Node, Platform, Resources, Service, Swarm, Task, TaskState, UpdateState,
};
use swarmguard_wire::{
    Alert, ContainerId, ContainerSample, Name, NodeRef, NodeSample, Reply, Report, Timestamp, codec,
};
use tokio::net::TcpListener;

const MSGPACK: &str = codec::CONTENT_TYPE;
const JSON: &str = "application/json";

struct Collector {
    shared: Arc<Shared>,
    connection: Connection,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let shared = Arc::new(Shared::new(Settings::default().resolve().unwrap()));
        shared.state().fleet.record_swarm(swarm(), now());
        shared.state().pauses_known = true;
        tokio::spawn(serve(listener, shared.clone()));
        Self { shared, connection: Connection::new(&url) }
    }

    async fn send(&mut self, method: Method, path: &str, content_type: Option<&str>, body: &[u8]) -> Response {
        let request = Request {
            method,
            path_and_query: path,
            content_type,
            content_encoding: None,
            authorization: None,
            body: Bytes::copy_from_slice(body),
        };
        self.connection.request(request, Duration::from_secs(5)).await.unwrap()
    }

    async fn get(&mut self, path: &str) -> Value {
        let response = self.send(Method::GET, path, None, b"").await;
        assert_eq!(response.status, 200, "{path}");
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Samples of all containers, and what was counted.
    fn known(&self) -> (usize, u64, u64) {
        let state = self.shared.state();
        let samples = state.fleet.facts().containers().values().map(|window| window.len()).sum();
        (samples, state.counters.alerts + state.counters.reports, state.counters.refused)
    }
}

fn container_id() -> ContainerId {
    ContainerId::new([0xab; 32])
}

fn swarm() -> Swarm {
    let task = Task {
        node: Some("n1".parse().unwrap()),
        slot: Some(1),
        state: TaskState::Running,
        running_since: None,
        desired_running: true,
        desired_gone: false,
        container: Some(container_id()),
        accepted: true,
        publishes: false,
    };
    let service = Service {
        name: Name::new("web"),
        version: 1,
        scaled: None,
        action: None,
        mode: Mode::Replicated { replicas: 1 },
        labels: swarmguard_planner::labels::Labels::default(),
        update: UpdateState::Settled,
        action_marked: false,
        has_placement: true,
        constraints: Vec::new(),
        platforms: Vec::new(),
        reserved: Resources::default(),
        host_ports: BTreeSet::new(),
        local_mount: None,
        replicas_per_node_max: None,
        has_healthcheck: None,
        tasks: BTreeMap::from([("t1".parse().unwrap(), task)]),
    };
    let node = Node {
        hostname: Name::new("worker-1"),
        ready: true,
        active: true,
        manager: true,
        platform: Platform::default(),
        resources: Resources::default(),
        labels: BTreeMap::new(),
        engine_labels: BTreeMap::new(),
    };
    Swarm {
        leader: Leader::Here,
        seen_at: now(),
        services: BTreeMap::from([("s1".parse().unwrap(), service)]),
        nodes: BTreeMap::from([("n1".parse().unwrap(), node)]),
    }
}

fn sample() -> ContainerSample {
    ContainerSample {
        id: container_id(),
        service: None,
        task: None,
        name: None,
        has_healthcheck: None,
        cpu_percent: Some(50.0),
        cpu_limit_percent: Some(95.0),
        memory_mb: None,
        memory_percent: Some(10.0),
        network: None,
        throttled_percent: None,
        oom_kills: None,
        tcp_retransmit_percent: None,
        cpu_pressure_percent: None,
        memory_pressure_percent: None,
        io_pressure_percent: None,
    }
}

fn alert(tick: u64) -> Vec<u8> {
    let node = NodeRef { id: Some("n1".parse().unwrap()), name: Name::new("worker-1") };
    let (sampled_at, sent_at) = (now(), now());
    codec::encode(&Alert { sampled_at, sent_at, clock_offset: None, tick, node, container: sample() }).unwrap()
}

fn report() -> Vec<u8> {
    let report = Report {
        sampled_at: now(),
        sent_at: now(),
        clock_offset: None,
        tick: 9,
        interval_ms: 1000,
        // Without an identifier: known by its name.
        node: std::borrow::Cow::Owned(NodeRef { id: None, name: Name::new("worker-1") }),
        sample: NodeSample {
            cores: 4,
            cpu_percent: Some(25.0),
            memory_total_mb: Some(1000.0),
            memory_percent: Some(50.0),
            network: None,
            link_mbps: Some(20.0),
            readings_failed: 0,
            network_uncounted: 0,
        },
        containers: vec![sample()].into(),
        containers_omitted: 0,
        alerts_dropped: 0,
    };
    codec::encode(&report).unwrap()
}

fn verbose(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::json!({
        "timestamp": now().as_micros() / 1_000_000,
        "node": "worker-1",
        "container_id": "abababababab",
        "service_name": "web",
        "metrics": { "cpu_percent": 85.5, "memory_mb": 1024, "memory_percent": 75.3,
                     "network_rx_mbps": 15.2, "network_tx_mbps": 10.5 },
    });
    change(&mut value);
    value.to_string().into_bytes()
}

#[tokio::test]
async fn an_alert_is_recorded_and_answered_with_the_thresholds() {
    let mut collector = Collector::start().await;
    let before = now();
    let response = collector.send(Method::POST, "/alert", Some(MSGPACK), &alert(1)).await;
    assert_eq!(response.status, 200);
    let reply: Reply = codec::decode(&response.body).unwrap();
    assert!(before <= reply.received_at && reply.received_at <= reply.answered_at);
    assert_eq!((reply.policy.cpu_percent, reply.policy.memory_percent), (75.0, 80.0));
    assert_eq!(collector.known(), (1, 1, 0));
    collector.send(Method::POST, "/alert", Some(MSGPACK), &alert(1)).await;
    assert_eq!(collector.known().0, 1, "the same tick twice is one sample");
}

#[tokio::test]
async fn a_report_makes_its_node_known() {
    let mut collector = Collector::start().await;
    assert_eq!(collector.get("/api/v1/nodes").await[0]["agent"], Value::Null);
    let response = collector.send(Method::POST, "/report", Some(MSGPACK), &report()).await;
    assert_eq!(response.status, 200);
    let nodes = collector.get("/api/v1/nodes").await;
    assert_eq!((&nodes[0]["hostname"], &nodes[0]["agent"]["cpu_percent"]), (&"worker-1".into(), &25.0.into()));
    let services = collector.get("/api/v1/services").await;
    assert_eq!(services[0]["tasks"][0]["newest"]["cpu_percent"], 95.0);
}

#[tokio::test]
async fn an_alert_in_words_works_and_its_repetition_counts_as_a_row() {
    let mut collector = Collector::start().await;
    collector.send(Method::POST, "/report", Some(MSGPACK), &report()).await;
    for _ in 0..2 {
        let response = collector.send(Method::POST, "/alert", Some(JSON), &verbose(|_| ())).await;
        assert_eq!(response.status, 200, "{:?}", response.body);
    }
    let state = collector.shared.state();
    let window = &state.fleet.facts().by_hand()[&container_id()];
    let ticks: Vec<u64> = window.newest_first().map(|sample| sample.tick).collect();
    assert_eq!(ticks, [2, 1], "the agent's own ticks are not disturbed");
    assert_eq!(state.fleet.facts().containers()[&container_id()].len(), 1);
    assert_eq!(window.newest().unwrap().cpu_percent, Some(85.5));
    assert_eq!(window.newest().unwrap().network_percent, Some(76.0), "15.2 of the node's 20 Mbit/s");
}

/// Path, content type, body, the status it is to be answered with, and a part of the reason.
type Case = (&'static str, Option<&'static str>, Vec<u8>, u16, &'static str);

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_reason_and_changes_nothing() {
    let mut collector = Collector::start().await;
    let good = alert(1);
    let long = vec![b' '; 5_000];
    let field = |name: &'static str, wrong: Value| verbose(move |value| value[name] = wrong);
    let cases: [Case; 16] = [
        ("/alert", Some(MSGPACK), Vec::new(), 400, "versioned"),
        ("/alert", Some(MSGPACK), b"garbage".to_vec(), 400, "versioned"),
        ("/alert", Some(MSGPACK), [&[0x92, 7], &good[2..]].concat(), 400, "version 7"),
        ("/alert", Some(MSGPACK), good[..good.len() - 3].to_vec(), 400, "malformed"),
        ("/alert", Some(MSGPACK), [&good[..], b"xx"].concat(), 400, "2 bytes follow"),
        ("/alert", Some(MSGPACK), vec![0x92; 501], 413, "500"),
        ("/alert", Some("text/plain"), good.clone(), 415, "application/msgpack"),
        ("/alert", None, good.clone(), 415, "application/json"),
        ("/alert", Some(JSON), b"{\"timestamp\":1}".to_vec(), 400, "node"),
        ("/alert", Some(JSON), long, 413, "4096"),
        ("/alert", Some(JSON), field("service_name", "nobody".into()), 422, "nobody"),
        ("/alert", Some(JSON), field("node", "nowhere".into()), 422, "nowhere"),
        ("/alert", Some(JSON), field("container_id", "cdcdcdcd".into()), 422, "cdcdcdcd"),
        ("/alert", Some(JSON), field("container_id", "ab".into()), 400, "too short"),
        ("/alert", Some(JSON), field("surprise", 1.into()), 400, "surprise"),
        ("/report", Some(JSON), verbose(|_| ()), 415, "application/msgpack"),
    ];
    let before = collector.known();
    for (number, (path, content_type, body, status, reason)) in cases.into_iter().enumerate() {
        let response = collector.send(Method::POST, path, content_type, &body).await;
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!(response.status, status, "case {number}: {text}");
        let error = serde_json::from_str::<Value>(&text).unwrap()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(reason), "case {number}: {error:?} does not say {reason:?}");
        assert_eq!(
            collector.known(),
            (before.0, before.1, number as u64 + 1),
            "case {number} is counted, nothing else"
        );
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_apart() {
    let mut collector = Collector::start().await;
    assert_eq!(collector.send(Method::GET, "/nothing", None, b"").await.status, 404);
    assert_eq!(collector.send(Method::GET, "/alert", None, b"").await.status, 405);
    assert_eq!(collector.send(Method::POST, "/healthz", Some(JSON), b"{}").await.status, 405);
    let metrics = collector.send(Method::GET, "/metrics", None, b"").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("swarmguard_alerts_total 0"));
}

#[tokio::test]
async fn health_is_that_of_the_view_of_the_swarm() {
    let mut collector = Collector::start().await;
    assert_eq!(collector.send(Method::GET, "/healthz", None, b"").await.status, 200);
    let stale = Swarm { seen_at: Timestamp::default(), ..swarm() };
    collector.shared.state().fleet.record_swarm(stale, now());
    assert_eq!(collector.send(Method::GET, "/healthz", None, b"").await.status, 503);
}

#[tokio::test]
async fn a_balancer_can_tell_the_collector_that_acts_from_those_that_stand_by() {
    let mut collector = Collector::start().await;
    let roles = [
        (Leader::Here, "leader", 200),
        (Leader::Elsewhere { node: Name::new("manager-2") }, "standby", 503),
        (Leader::Unknown, "unknown", 503),
    ];
    for (leader, role, for_leader) in roles {
        collector.shared.state().fleet.record_swarm(Swarm { leader, ..swarm() }, now());
        let health = collector.get("/healthz").await;
        assert_eq!((&health["role"], &health["status"]), (&Value::from(role), &Value::from("ok")));
        assert_eq!(health["leader"].as_str(), (role == "standby").then_some("manager-2"));
        assert_eq!(collector.send(Method::GET, "/healthz/leader", None, b"").await.status, for_leader, "{role}");
    }
    // By then another may have been elected.
    let seen_at = now() - Duration::from_secs(6);
    collector.shared.state().fleet.record_swarm(Swarm { seen_at, ..swarm() }, now());
    assert_eq!(collector.get("/healthz").await["role"], "unknown");
    assert_eq!(collector.send(Method::GET, "/healthz/leader", None, b"").await.status, 503);
}

#[tokio::test]
async fn a_service_about_which_nothing_is_done_is_told_why() {
    let mut collector = Collector::start().await;
    let now_of = async |collector: &mut Collector| collector.get("/api/v1/services/web").await["now"][0].to_string();
    let silent = now_of(&mut collector).await;
    assert!(silent.contains("no agent has told of its containers lately"), "{silent}");
    collector.send(Method::POST, "/alert", Some(MSGPACK), &alert(1)).await;
    let high = now_of(&mut collector).await;
    assert!(
        high.contains("Nothing is decided about web yet: of 1 replica the highest CPU is 95 % (high above 75)"),
        "{high}"
    );
    let unknown = collector.send(Method::GET, "/api/v1/services/nothing", None, b"").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(collector.send(Method::GET, "/api/v1/actions/1-1", None, b"").await.status, 404);
}

#[tokio::test]
async fn a_pause_holds_at_once_and_waits_to_be_kept() {
    let mut collector = Collector::start().await;
    let answer =
        collector.send(Method::POST, "/api/v1/pause", Some(JSON), br#"{"service":"web","for_seconds":60}"#).await;
    assert_eq!(answer.status, 200);
    let pauses = collector.get("/api/v1/pauses").await;
    assert!(pauses["pauses"]["services"]["web"]["until"].is_number(), "{pauses}");
    assert_eq!(pauses["saved"], false);
    let answer = collector.send(Method::POST, "/api/v1/resume", Some(JSON), br#"{"service":"web"}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(collector.get("/api/v1/pauses").await["pauses"]["services"], serde_json::json!({}));
    assert_eq!(collector.send(Method::POST, "/api/v1/pause", None, b"").await.status, 200);
    assert!(collector.get("/api/v1/pauses").await["pauses"]["all"].is_object(), "an empty wish is for all");
}

#[tokio::test]
async fn while_it_is_not_known_what_is_paused_only_a_resume_of_all_is_taken() {
    let mut collector = Collector::start().await;
    collector.shared.state().pauses_known = false;
    for (path, body, status) in [
        ("/api/v1/pause", r#"{"service":"web"}"#, 503),
        ("/api/v1/pause", "", 503),
        ("/api/v1/resume", r#"{"service":"web"}"#, 503),
        ("/api/v1/resume", "", 200),
        ("/api/v1/pause", r#"{"service":"web"}"#, 200),
    ] {
        assert_eq!(
            collector.send(Method::POST, path, Some(JSON), body.as_bytes()).await.status,
            status,
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn a_pause_that_makes_no_sense_is_refused_with_the_reason() {
    let mut collector = Collector::start().await;
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(201));
    for (path, body, status, part) in [
        ("/api/v1/pause", r#"{"service":"wob"}"#, 404, "wob"),
        ("/api/v1/pause", r#"{"for_seconds":0}"#, 400, "for_seconds"),
        ("/api/v1/pause", r#"{"for_seconds":99999999999}"#, 400, "for_seconds"),
        ("/api/v1/pause", r#"{"for":"1h"}"#, 400, "for"),
        ("/api/v1/pause", long.as_str(), 400, "200"),
        ("/api/v1/resume", r#"{"for_seconds":5}"#, 400, "resume"),
        ("/api/v1/pause", "{", 400, "EOF"),
    ] {
        let answer = collector.send(Method::POST, path, Some(JSON), body.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!((answer.status, text.contains(part)), (status, true), "{body}: {text}");
    }
    let pauses = collector.get("/api/v1/pauses").await;
    assert_eq!((&pauses["pauses"]["all"], &pauses["saved"]), (&Value::Null, &Value::Bool(true)));
}
