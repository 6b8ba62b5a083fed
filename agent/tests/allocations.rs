//! Sampling and encoding allocate nothing once everything has been seen once.

#![allow(clippy::unwrap_used, clippy::panic, unsafe_code, reason = "a test fails by panicking, and counts allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use swarmguard_agent::cgroup::hierarchy::Hierarchies;
use swarmguard_agent::discovery::{Change, plain};
use swarmguard_agent::host::Host;
use swarmguard_agent::node::Facts;
use swarmguard_agent::points::Points;
use swarmguard_agent::sample::{Sampler, Wanted};
use swarmguard_influx::{Lines, Precision};
use swarmguard_wire::{Name, NodeRef, Report, Timestamp, codec};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A host of files, with `containers` cgroups below `shop` in both versions' layouts.
struct FakeHost(PathBuf);

impl FakeHost {
    fn new(containers: usize) -> Self {
        let root = std::env::temp_dir().join(format!("swarmguard-allocations-{}", std::process::id()));
        let host = Self(root);
        host.write("proc/stat", "cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n");
        host.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\n");
        host.write("proc/self/net/dev", "  eth0: 200 2 0 0 0 0 0 0 300 3 0 0 0 0 0 0\n");
        for number in 0..containers {
            host.usage(number, 0);
            for (file, text) in [
                ("cpu.max", "50000 100000\n"),
                ("memory.max", "100000000\n"),
                ("memory.events", "low 0\noom 0\noom_kill 0\n"),
                ("memory.stat", "anon 1\ninactive_file 4096\n"),
                ("cpu.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\n"),
                ("memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"),
                ("io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"),
            ] {
                host.write(&format!("sys/fs/cgroup/shop/c{number}/{file}"), text);
            }
        }
        host
    }

    /// What changes: as the kernel does, in place.
    fn usage(&self, container: usize, tick: u64) {
        let cpu = format!("usage_usec {}\nnr_periods {tick}\nnr_throttled 0\n", 1_000_000 + tick * 1_000);
        self.write(&format!("sys/fs/cgroup/shop/c{container}/cpu.stat"), &cpu);
        let memory = format!("{}\n", 50_000_000 + tick * 100_000);
        self.write(&format!("sys/fs/cgroup/shop/c{container}/memory.current"), &memory);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn hierarchies(&self) -> Hierarchies {
        let sys = self.0.join("sys");
        let mountinfo = format!("30 24 0:26 / {}/fs/cgroup rw - cgroup2 cgroup2 rw\n", sys.display());
        Hierarchies::parse(&mountinfo, &sys)
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_tick_and_its_encoding_allocate_nothing_in_the_steady_state() {
    const CONTAINERS: usize = 50;
    let files = FakeHost::new(CONTAINERS);
    let host = Host::new(&files.0);
    let facts = Facts { cores: 4, memory_bytes: Some(1 << 30), interface: None, link_mbps: Some(100.0) };
    let hierarchies = files.hierarchies();
    let found = plain::scan(&plain::mounts(&hierarchies), Path::new("shop"));
    let mut sampler = Sampler::new(host, "self", hierarchies, facts, None);
    found.into_values().for_each(|container| sampler.apply(Change::Started(container)));

    let node = NodeRef { id: None, name: Name::new("node-1") };
    let (mut points, mut lines, mut message) =
        (Points::new(node.clone()), Lines::new(Precision::Milliseconds), Vec::new());
    let (mut now, mut counted) = (Instant::now(), Vec::new());
    for tick in 0..80_u64 {
        (0..CONTAINERS).for_each(|container| files.usage(container, tick));
        now += Duration::from_secs(1);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let tick = sampler.tick(now, Wanted { node: true, memory_percent: 80.0 });
        points.write(&mut lines, &tick, 1_000_000_000);
        let report = Report {
            sampled_at: Timestamp::from_micros(1),
            sent_at: Timestamp::from_micros(2),
            clock_offset: None,
            tick: tick.number,
            interval_ms: 1_000,
            node: Cow::Borrowed(&node),
            sample: tick.node.unwrap().clone(),
            containers: Cow::Borrowed(tick.containers),
            containers_omitted: 0,
            alerts_dropped: 0,
        };
        codec::encode_into(&report, &mut message).unwrap();
        counted.push(ALLOCATIONS.load(Ordering::Relaxed) - before);
        assert_eq!((tick.containers.len(), lines.points() as usize), (CONTAINERS, CONTAINERS + 1));
        assert!(tick.containers.iter().all(|sample| sample.memory_percent.is_some()));
        lines.clear();
    }
    assert!(counted[0] > 0, "the first tick makes the buffers, or nothing is counted here");
    assert_eq!(counted[32..].iter().sum::<u64>(), 0, "allocations at each tick: {counted:?}");
}
