//! What becomes of the kernel's files: which are read at which tick, and what is made of those that cannot be understood.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fake_host;

use std::time::{Duration, Instant};

use fake_host::FakeHost;
use swarmguard_agent::sample::{Sampler, Wanted};
use swarmguard_wire::{ContainerSample, NodeSample};

/// Slow files are read within so many ticks.
const SLOW_TICKS: u64 = 30;

const CPU_STAT: &str = "sys/fs/cgroup/shop/c0/cpu.stat";
const MEMORY_CURRENT: &str = "sys/fs/cgroup/shop/c0/memory.current";

/// What a file that is there may hold instead of what it should: nothing, a part, words, a sign, more than any counter
/// can have, more than any such file is long, and what is no text.
const NONSENSE: [&str; 7] =
    ["", "12", "max min\nmore\n", "-5\n", "99999999999999999999999\n", LONG, "\u{0}\u{7f}\u{ff}\n"];
const LONG: &str = match std::str::from_utf8(&[b'7'; 10_000]) {
    Ok(text) => text,
    Err(_) => "",
};

struct Watched {
    files: FakeHost,
    sampler: Sampler,
    now: Instant,
    ticks: u64,
}

impl Watched {
    fn new(files: FakeHost) -> Self {
        let sampler = files.sampler();
        Self { files, sampler, now: Instant::now(), ticks: 0 }
    }

    /// A tick without anything having happened.
    fn tick(&mut self) -> (ContainerSample, NodeSample) {
        self.now += Duration::from_secs(1);
        self.ticks += 1;
        let tick = self.sampler.tick(self.now, Wanted { node: true, memory_percent: 80.0 });
        (tick.containers[0].clone(), tick.node.unwrap().clone())
    }

    /// Ticks of a node and a container that run, until each file has had its turn; the last one's samples.
    fn run(&mut self, spoilt: Option<(&str, &str)>) -> (ContainerSample, NodeSample) {
        for _ in 0..SLOW_TICKS {
            self.files.usage(0, self.ticks);
            self.files.write("proc/stat", &format!("cpu  {0} 0 0 {0} 0 0 0 0 0 0\n", self.ticks));
            if let Some((file, text)) = spoilt {
                self.files.write(file, text);
            }
            self.tick();
        }
        let tick = self.sampler.last(true);
        (tick.containers[0].clone(), tick.node.unwrap().clone())
    }
}

type Pick = fn(&ContainerSample, &NodeSample) -> Option<f32>;

/// Each file, and what comes of it.
const FILES: [(&str, Pick); 10] = [
    (CPU_STAT, |container, _| container.cpu_percent),
    (MEMORY_CURRENT, |container, _| container.memory_mb),
    ("sys/fs/cgroup/shop/c0/memory.stat", |container, _| container.memory_mb),
    ("sys/fs/cgroup/shop/c0/memory.events", |container, _| container.oom_kills.map(|kills| kills as f32)),
    ("sys/fs/cgroup/shop/c0/cpu.pressure", |container, _| container.cpu_pressure_percent),
    ("sys/fs/cgroup/shop/c0/memory.pressure", |container, _| container.memory_pressure_percent),
    ("sys/fs/cgroup/shop/c0/io.pressure", |container, _| container.io_pressure_percent),
    ("proc/stat", |_, node| node.cpu_percent),
    ("proc/meminfo", |_, node| node.memory_percent),
    ("proc/self/net/dev", |_, node| node.network.map(|network| network.rx_mbps)),
];

#[test]
fn a_file_that_makes_no_sense_gives_an_absent_value_and_is_counted_until_it_does_again() {
    let mut watched = Watched::new(FakeHost::new("nonsense", 1));
    let (_, mut before) = watched.run(None);
    for (file, pick) in FILES {
        let good = std::fs::read_to_string(watched.files.path(file)).unwrap();
        for nonsense in NONSENSE {
            let (container, spoilt) = watched.run(Some((file, nonsense)));
            assert_eq!(pick(&container, &spoilt), None, "{file} with {nonsense:.20?}");
            assert!(spoilt.readings_failed > before.readings_failed, "{file} with {nonsense:.20?} is not counted");
            let absent = FILES.iter().filter(|(_, pick)| pick(&container, &spoilt).is_none()).count();
            assert_eq!(absent, if file.ends_with("memory.current") || file.ends_with("memory.stat") { 2 } else { 1 });

            watched.files.write(file, &good);
            let (container, after) = watched.run(None);
            assert!(pick(&container, &after).is_some(), "{file} is not believed again");
            assert_eq!(after.readings_failed, spoilt.readings_failed, "{file} is still counted");
            before = after;
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_absent_and_no_failure() {
    let files = FakeHost::new("absent", 1);
    FILES[1..7].iter().for_each(|(file, _)| std::fs::remove_file(files.path(file)).unwrap());
    let mut watched = Watched::new(files);
    for tick in 0..2 * SLOW_TICKS {
        watched.files.write(CPU_STAT, &format!("usage_usec {}\n", 1_000 * tick));
        let (container, node) = watched.tick();
        assert!(FILES[1..7].iter().all(|(_, pick)| pick(&container, &node).is_none()), "{container:?}");
        assert_eq!((container.cpu_percent.is_some(), node.readings_failed), (tick > 0, 0));
    }
}

#[test]
fn a_file_that_opens_and_cannot_be_read_is_absent_and_counted() {
    // As with a cgroup that goes between the two: a directory can be opened as a file and cannot be read as one.
    let files = FakeHost::new("unreadable", 1);
    std::fs::remove_file(files.path(MEMORY_CURRENT)).unwrap();
    std::fs::create_dir(files.path(MEMORY_CURRENT)).unwrap();
    let (container, node) = Watched::new(files).tick();
    assert_eq!((container.memory_mb, container.memory_percent), (None, None));
    assert!(node.readings_failed > 0);
}

#[test]
fn limits_that_make_no_sense_are_unknown_and_not_unlimited() {
    for nonsense in NONSENSE {
        let files = FakeHost::new("limits", 1);
        files.write("sys/fs/cgroup/shop/c0/cpu.max", nonsense);
        files.write("sys/fs/cgroup/shop/c0/memory.max", nonsense);
        let (container, _) = Watched::new(files).run(None);
        assert!(container.cpu_percent.is_some() && container.memory_mb.is_some());
        assert_eq!((container.cpu_limit_percent, container.memory_percent), (None, None), "{nonsense:.20?}");
    }
}

#[test]
fn memory_of_a_container_that_does_not_run_is_read_in_turn_only() {
    let mut watched = Watched::new(FakeHost::new("idle", 1));
    let (before, _) = watched.run(None);
    watched.files.write(MEMORY_CURRENT, "60000000\n");
    let ticks: Vec<bool> = (0..SLOW_TICKS).map(|_| watched.tick().0.memory_mb != before.memory_mb).collect();
    assert!(!ticks[0] && ticks.contains(&true), "{ticks:?}");
}

#[test]
fn page_cache_of_memory_that_does_not_move_is_read_at_every_fourth_turn_only() {
    let mut watched = Watched::new(FakeHost::new("cache", 1));
    watched.files.write(MEMORY_CURRENT, "20000000\n");
    let mut ticks_until = |droppable: u64, megabytes: f32| {
        watched.files.write("sys/fs/cgroup/shop/c0/memory.stat", &format!("inactive_file {droppable}\n"));
        (1..).find(|_| watched.tick().0.memory_mb == Some(megabytes)).unwrap()
    };
    ticks_until(0, 19.07);
    ticks_until(10_000_000, 9.54);
    assert_eq!(ticks_until(5_000_000, 14.31), 4 * SLOW_TICKS);
}

#[test]
fn memory_above_what_is_alerted_on_is_read_at_each_tick() {
    let mut watched = Watched::new(FakeHost::new("decides", 1));
    watched.run(None);
    for megabytes in 85..95 {
        watched.files.write(CPU_STAT, &format!("usage_usec {megabytes}000000\n"));
        watched.files.write(MEMORY_CURRENT, &format!("{megabytes}000000\n"));
        watched.tick();
        // Nothing runs any more, and yet the last word is read.
        watched.files.write(MEMORY_CURRENT, &format!("{megabytes}500000\n"));
        let percent = watched.tick().0.memory_percent.unwrap();
        assert!((percent - megabytes as f32 - 0.5).abs() < 0.01, "{percent}");
    }
}

#[test]
fn page_cache_that_was_dropped_never_makes_memory_zero() {
    let mut watched = Watched::new(FakeHost::new("dropped", 1));
    watched.run(None);
    let mut tick = |seconds: u64, all: u64, droppable: u64| {
        watched.files.write(CPU_STAT, &format!("usage_usec {seconds}000000\n"));
        watched.files.write(MEMORY_CURRENT, &format!("{all}\n"));
        watched.files.write("sys/fs/cgroup/shop/c0/memory.stat", &format!("inactive_file {droppable}\n"));
        watched.tick().0.memory_mb
    };
    assert_eq!(tick(90, 400_000, 300_000), Some(0.1));
    assert_eq!(tick(91, 200_000, 0), Some(0.19), "it moved too little to look again, but for this");
}
