//! How long planning takes, by the size of the Swarm: nodes, twenty containers on each, and two services a node.
//!
//! `some`: one service in a hundred is in trouble, half of them sick and half busy; the others have enough to do, though each
//! might be scaled down, so that every container is looked at for both. `idle`: all others could do with a replica fewer,
//! and the samples of five minutes are gone through. `everywhere`: every service is in trouble.
//! `look` is what goes before all plans after a look at the Swarm: working out where everything is. All of that with nothing
//! of it in a cache, as it is for a collector that plans once in a while; `warm` is a plan over and over. `samples` is one
//! sample more of each container.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark's own world is as it should be")]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use swarmguard_planner::facts::{
    Leader, Mode, Node, NodeReport, Platform, Resources, Service, Swarm, Task, TaskState, UpdateState,
};
use swarmguard_planner::labels::Labels;
use swarmguard_planner::window::Sample;
use swarmguard_planner::{Facts, Memory, Policy, plan};
use swarmguard_wire::{ContainerId, Name, NodeId, Timestamp};

const CONTAINERS_PER_NODE: usize = 20;
const SERVICES_PER_NODE: usize = 2;
/// Samples that are kept of each container: a report every five seconds for five minutes.
const SAMPLES: u64 = 60;
const REPORT_INTERVAL_S: u64 = 5;
const NOW_S: u64 = 10_000;

/// CPU, memory and network in percent.
type Load = (f32, f32, f32);
const CALM: Load = (70.0, 40.0, 5.0);
const IDLE: Load = (20.0, 20.0, 5.0);
const SICK: Load = (95.0, 40.0, 5.0);
const BUSY: Load = (95.0, 90.0, 80.0);

fn second(second: u64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

/// Identifiers as Docker's: without any order.
fn scattered(number: u64) -> [u64; 4] {
    let mut state = number;
    std::array::from_fn(|_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

fn identifier(kind: u64, number: usize) -> String {
    let [high, low, ..] = scattered(kind << 40 | number as u64);
    format!("{high:016x}{low:016x}")[..25].to_owned()
}

fn container(number: usize) -> ContainerId {
    let mut bytes = [0; 32];
    for (part, word) in bytes.chunks_exact_mut(8).zip(scattered(7 << 40 | number as u64)) {
        part.copy_from_slice(&word.to_be_bytes());
    }
    ContainerId::new(bytes)
}

fn facts(nodes: usize, calm: Load, in_trouble: impl Fn(usize) -> Option<Load>) -> Facts {
    let (containers, services) = (nodes * CONTAINERS_PER_NODE, nodes * SERVICES_PER_NODE);
    let replicas = containers / services;
    let node_ids: Vec<NodeId> = (0..nodes).map(|number| identifier(1, number).parse().unwrap()).collect();
    let mut facts = Facts::default();
    let mut swarm = Swarm { seen_at: second(NOW_S), leader: Leader::Here, ..Swarm::default() };
    for (number, id) in node_ids.iter().enumerate() {
        swarm.nodes.insert(id.clone(), node(number));
        facts.record_report(id.clone(), report(number));
    }
    for number in 0..services {
        let mut found = service(number, replicas);
        for replica in 0..replicas {
            let which = number * replicas + replica;
            // Replicas of a service stand on different nodes, and every node holds as many.
            let on = (number + replica * (nodes / replicas).max(1)) % nodes;
            let task = Task {
                node: Some(node_ids[on].clone()),
                slot: Some(replica as u64 + 1),
                state: TaskState::Running,
                running_since: Some(second(NOW_S - 5_000)),
                desired_running: true,
                desired_gone: false,
                container: Some(container(which)),
                accepted: true,
                publishes: false,
            };
            found.tasks.insert(identifier(2, which).parse().unwrap(), task);
            let load = in_trouble(number).filter(|_| replica == 0).unwrap_or(calm);
            for tick in 0..SAMPLES {
                let is_newest = tick + 2 >= SAMPLES;
                facts.record_sample(container(which), sample(tick, if is_newest { load } else { calm }));
            }
        }
        swarm.services.insert(identifier(3, number).parse().unwrap(), found);
    }
    facts.record_swarm(swarm);
    facts
}

fn node(number: usize) -> Node {
    Node {
        hostname: Name::new(&format!("node{number}")),
        ready: true,
        active: true,
        manager: number < 5,
        platform: Platform { os: "linux".to_owned(), architecture: "x86_64".to_owned() },
        resources: Resources { nano_cpus: 16_000_000_000, memory_bytes: 64 << 30 },
        labels: BTreeMap::from([("zone".to_owned(), format!("z{}", number % 20))]),
        engine_labels: BTreeMap::new(),
    }
}

fn report(number: usize) -> NodeReport {
    NodeReport {
        name: Name::new(&format!("node{number}")),
        received_at: second(NOW_S),
        cpu_percent: Some((number % 90) as f32),
        memory_percent: Some(50.0),
        network_percent: Some(5.0),
        link_mbps: Some(1_000.0),
        containers: CONTAINERS_PER_NODE,
    }
}

fn service(number: usize, replicas: usize) -> Service {
    let zone = format!("node.labels.zone==z{}", number % 20);
    Service {
        name: Name::new(&format!("service{number}")),
        version: 10,
        mode: Mode::Replicated { replicas: replicas as u64 },
        scaled: None,
        labels: Labels::parse([("swarmguard.enable", "true"), ("swarmguard.min", "2")].into_iter()),
        update: UpdateState::Settled,
        action_marked: false,
        action: None,
        has_placement: true,
        constraints: vec![swarmguard_planner::placement::Constraint::parse(&zone)],
        platforms: vec![Platform { os: "linux".to_owned(), architecture: "x86_64".to_owned() }],
        reserved: Resources { nano_cpus: 500_000_000, memory_bytes: 1 << 30 },
        host_ports: BTreeSet::new(),
        local_mount: None,
        replicas_per_node_max: None,
        has_healthcheck: Some(true),
        tasks: BTreeMap::new(),
    }
}

fn sample(tick: u64, (cpu, memory, network): Load) -> Sample {
    let at = second(NOW_S + tick * REPORT_INTERVAL_S - (SAMPLES - 1) * REPORT_INTERVAL_S);
    Sample {
        tick,
        sampled_at: at,
        sent_at: at,
        received_at: at,
        has_healthcheck: None,
        cpu_percent: Some(cpu),
        memory_percent: Some(memory),
        network_percent: Some(network),
    }
}

/// Larger than any cache: what was planned before is then no longer in one.
const BEYOND_CACHES: usize = 96 << 20;

/// One in a hundred services.
fn trouble(number: usize) -> Option<Load> {
    match number % 200 {
        0 => Some(SICK),
        100 => Some(BUSY),
        _ => None,
    }
}

/// How long it takes so many times. A collector plans once a second or so, and does other things between.
fn cold<T>(times: u64, mut prepare: impl FnMut() -> T, mut run: impl FnMut(T)) -> Duration {
    let mut elsewhere = vec![0_u8; BEYOND_CACHES];
    let mut took = Duration::ZERO;
    for _ in 0..times {
        let prepared = prepare();
        elsewhere.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
        black_box(&elsewhere);
        let begun = Instant::now();
        run(prepared);
        took += begun.elapsed();
    }
    took
}

fn planning(criterion: &mut Criterion) {
    let (policy, memory, now) = (Policy::default(), Memory::default(), second(NOW_S));
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    let worlds = [250, 500, 1_000, 2_000].map(|nodes| ("some", nodes, facts(nodes, CALM, trouble)));
    let idle = ("idle", 1_000, facts(1_000, IDLE, trouble));
    let sick_or_busy = |number| Some(if number % 2 == 0 { SICK } else { BUSY });
    let everywhere = ("everywhere", 1_000, facts(1_000, CALM, sick_or_busy));
    for (name, nodes, facts) in worlds.into_iter().chain([idle, everywhere]) {
        assert!(plan(&facts, &policy, &memory, now).len() >= nodes * SERVICES_PER_NODE / 100);
        group.bench_function(BenchmarkId::new(name, nodes), |bench| {
            bench.iter_custom(|times| cold(times, || (), |()| drop(plan(black_box(&facts), &policy, &memory, now))));
        });
    }
    let warm = facts(1_000, CALM, trouble);
    let swarm = warm.swarm().unwrap().clone();
    let mut other = warm.clone();
    group.bench_function(BenchmarkId::new("look", 1_000), |bench| {
        bench.iter_custom(|times| cold(times, || swarm.clone(), |swarm| other.record_swarm(swarm)));
    });
    let containers: Vec<ContainerId> = warm.containers().keys().copied().collect();
    let mut tick = SAMPLES;
    group.bench_function(BenchmarkId::new("samples", 1_000), |bench| {
        bench.iter(|| {
            containers.iter().for_each(|container| other.record_sample(*container, sample(tick, CALM)));
            tick += 1;
        });
    });
    group.bench_function(BenchmarkId::new("warm", 1_000), |bench| {
        bench.iter(|| plan(black_box(&warm), &policy, &memory, now));
    });
    group.finish();
}

criterion_group!(benches, planning);
criterion_main!(benches);
