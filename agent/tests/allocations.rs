//! Sampling and encoding allocate nothing once everything has been seen once.

#![allow(clippy::unwrap_used, clippy::panic, unsafe_code, reason = "a test fails by panicking, and counts allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use swarmguard_agent::points::Points;
use swarmguard_agent::sample::Wanted;
use swarmguard_influx::{Lines, Precision};
use swarmguard_wire::{Name, NodeRef, Report, Timestamp, codec};

mod fake_host;

use fake_host::FakeHost;

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

#[test]
fn a_tick_and_its_encoding_allocate_nothing_in_the_steady_state() {
    const CONTAINERS: usize = 50;
    let files = FakeHost::new("allocations", CONTAINERS);
    let mut sampler = files.sampler();

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
