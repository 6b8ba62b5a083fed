//! One container: what is read of it at which tick, and what becomes of it.

use std::time::{Duration, Instant};

use swarmguard_wire::ContainerSample;

use super::{Extra, Wanted};
use crate::cgroup::{Cgroup, CpuUsage, Limit, Limits, Reader, Throttling};
use crate::discovery::Container;
use crate::kernel::programs::NetworkPrograms;
use crate::network::{Counters, Interfaces, Source};
use crate::node::{Facts, Gained};
use crate::rates;

/// What changes slowly is read so often.
const SLOW_TICKS: u64 = 30;

/// And so often while the container is busy. Pressure is an average over ten seconds, so no more often.
const BUSY_TICKS: u64 = 10;

/// The page cache's turn comes every so many of these turns: its file costs the kernel as much as thirty others, and
/// while memory in use stays where it was, little moves between what can be dropped and what cannot.
const CACHE_TURNS: u64 = 4;

/// From these shares of its limits on, a container is busy.
const BUSY_CPU_PERCENT: f32 = 10.0;
const BUSY_MEMORY_PERCENT: f32 = 50.0;

/// And memory in use so often, of one that has run and cannot have come near what is alerted on: with a tick each second
/// the collector hears of it as often.
const MEMORY_TICKS: u64 = 5;

/// Hardly a processor takes and clears memory faster, in bytes for each nanosecond of CPU time: 16 GB/s. What does, or is
/// taken by others for the container, is seen within the ticks above.
const MEMORY_BYTES_PER_NS: u64 = 16;

/// Memory in use may differ from when the page cache was last looked at by this part of itself, or of the limit if that
/// is more; of the limit by no more than these bytes, which also stand for none. A health check's few processes move a small
/// container's memory by more than its half.
const MEMORY_DRIFT_DIVISOR: u64 = 50;
const MEMORY_DRIFT_BYTES: u64 = 4 << 20;

/// No machine is given more than so many times the memory it had when the agent started.
const MEMORY_GROWTH_MAX: u64 = 16;

/// From this share of its quota on, a container may be throttled, and is looked at at each tick.
const THROTTLING_FROM_PERCENT: f32 = 50.0;

const BYTES_PER_MIB: f64 = 1_048_576.0;

#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) container: Container,
    pub(super) cgroup: Cgroup,
    pub(super) limits: Limits,
    pub(super) network: Source,
    pub(super) before: Option<Before>,
    pub(super) slow: Slow,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    at: Instant,
    cpu_ns: Option<u64>,
    memory_bytes: Option<u64>,
    network: Option<Counters>,
}

/// What was read some ticks ago.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slow {
    /// Memory in use, and the page cache that could be dropped of it.
    memory: Option<(u64, u64)>,
    /// CPU time when memory in use was read last.
    memory_at_cpu_ns: Option<u64>,
    throttling: Option<Throttling>,
    /// Kills for lack of memory that have been told, or were there before.
    kills: Option<u64>,
}

impl Slow {
    /// Before the first tick.
    pub(super) fn new(kills: Option<u64>) -> Self {
        Self { kills, ..Self::default() }
    }

    /// Whether there are more kills now than were known; they are known then. What cannot be read is not none.
    pub(super) fn is_more_kills(&mut self, now: Option<u64>) -> bool {
        let before = self.kills;
        self.kills = now.or(before);
        now.zip(before).is_some_and(|(now, before)| now > before)
    }
}

/// What a tick gives to each container.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) wanted: Wanted,
    pub(super) number: u64,
    pub(super) facts: &'a Facts,
    pub(super) programs: Option<&'a NetworkPrograms>,
}

pub(super) enum Told {
    Something,
    Gone,
}

impl Tracked {
    /// Reads what is due:
    ///
    /// - CPU time and traffic: always
    /// - memory in use: when the container may have come above what is alerted on since, by the CPU time it had; at every
    ///   fifth tick when it has run at all, as it takes no memory otherwise; in turn, since the kernel may take or give
    ///   back some for it; and while it is above what is alerted on
    /// - the page cache, which does not count as used: at every fourth turn, when memory in use has moved since, and while
    ///   it is above what is alerted on, where the exact figure decides
    /// - throttling: in turn, and while the container needs half its quota
    /// - kills for lack of memory and pressure: in turn
    pub(super) fn sample(
        &mut self,
        turn: &Turn<'_>,
        sample: &mut ContainerSample,
        extra: &mut Extra,
        reader: &mut Reader,
    ) -> Told {
        let cpu = self.cgroup.cpu(reader);
        let every = turn_ticks(sample);
        let is_turn = self.before.is_none() || self.is_each(every, turn.number);
        let is_caches_turn = self.is_each(every * CACHE_TURNS, turn.number);
        let memory_bytes = self.memory_bytes(cpu, is_turn, turn, reader);
        if cpu.ns.is_none() && memory_bytes.is_none() && self.before.is_some() && self.cgroup.is_gone() {
            return Told::Gone;
        }
        let network = self.network.read(turn.programs, Interfaces::NotLoopback, reader);
        let counters = network.map(|(counters, _)| counters);
        let now = Before { at: turn.now, cpu_ns: cpu.ns, memory_bytes, network: counters };
        let before = self.before.replace(now);
        let elapsed = before.map_or(Duration::ZERO, |before| turn.now.saturating_duration_since(before.at));

        sample.cpu_percent = rates::gained(before.and_then(|before| before.cpu_ns), cpu.ns)
            .and_then(|gained| rates::cpu_percent(gained, elapsed, turn.facts.cores));
        sample.cpu_limit_percent =
            sample.cpu_percent.and_then(|percent| cpu_limit_percent(percent, self.limits, turn.facts));

        let used = memory_bytes.and_then(|all| self.used_bytes(all, is_caches_turn, turn, reader));
        sample.memory_mb = used.map(|bytes| rates::round(bytes as f64 / BYTES_PER_MIB));
        sample.memory_percent = used.and_then(|bytes| memory_percent(bytes, self.limits, turn.facts));

        let gained = before.and_then(|before| before.network).zip(network);
        let gained = gained.and_then(|(before, (now, source))| Gained::between(before, now, source));
        sample.network = gained.as_ref().and_then(|gained| turn.facts.network(gained, elapsed));
        sample.tcp_retransmit_percent = gained.and_then(|gained| gained.tcp_retransmit_percent());

        extra.throttling_is_fresh = self.look_at_throttling(cpu, is_turn, sample, reader);
        extra.was_killed = false;
        if is_turn {
            sample.oom_kills = self.cgroup.oom_kills(reader);
            extra.was_killed = self.slow.is_more_kills(sample.oom_kills);
            let pressure = self.cgroup.pressure(reader);
            sample.cpu_pressure_percent = pressure.cpu_percent;
            sample.memory_pressure_percent = pressure.memory_percent;
            sample.io_pressure_percent = pressure.io_percent;
        }
        extra.slow_is_fresh = is_turn;
        extra.network = counters;
        Told::Something
    }

    /// Each container has its own ticks, so that each tick has as much to do.
    fn is_each(&self, every: u64, tick: u64) -> bool {
        (tick + u64::from(self.container.id.first_byte())).is_multiple_of(every)
    }

    /// Memory in use with all page cache; as it was, where it cannot have changed what is to be done.
    fn memory_bytes(&mut self, cpu: CpuUsage, is_turn: bool, turn: &Turn<'_>, reader: &mut Reader) -> Option<u64> {
        let as_it_was = self.before.filter(|_| !is_turn).and_then(|before| {
            let (gained_ns, bytes) = (rates::gained(self.slow.memory_at_cpu_ns, cpu.ns)?, before.memory_bytes?);
            let most = bytes.saturating_add(gained_ns.saturating_mul(MEMORY_BYTES_PER_NS));
            let is_due = gained_ns > 0 && self.is_each(MEMORY_TICKS, turn.number);
            (!is_due && !self.decides(most, turn)).then_some(bytes)
        });
        as_it_was.or_else(|| {
            self.slow.memory_at_cpu_ns = cpu.ns;
            let bytes = self.cgroup.memory_bytes(reader)?;
            let is_possible = turn.facts.memory_bytes.is_none_or(|node| bytes / MEMORY_GROWTH_MAX <= node);
            is_possible.then_some(bytes).or_else(|| reader.refuse())
        })
    }

    /// Whether so much memory may be above what is alerted on, so that its exact figure matters now.
    fn decides(&self, bytes: u64, turn: &Turn<'_>) -> bool {
        memory_percent(bytes, self.limits, turn.facts).is_some_and(|percent| percent > turn.wanted.memory_percent)
    }

    /// Memory in use without the page cache that can be dropped.
    fn used_bytes(&mut self, all: u64, is_caches_turn: bool, turn: &Turn<'_>, reader: &mut Reader) -> Option<u64> {
        let may_drift = memory_drift(self.limits);
        let is_outdated = |(then, droppable): (u64, u64)| {
            all.abs_diff(then) > may_drift.max(then / MEMORY_DRIFT_DIVISOR) || droppable > all
        };
        if is_caches_turn || self.slow.memory.is_none_or(is_outdated) || self.decides(all, turn) {
            self.slow.memory = self.cgroup.droppable_bytes(reader).map(|droppable| (all, droppable));
        }
        self.slow.memory.map(|(_, droppable)| all.saturating_sub(droppable))
    }

    /// Whether it was read.
    fn look_at_throttling(
        &mut self,
        cpu: CpuUsage,
        is_turn: bool,
        sample: &mut ContainerSample,
        reader: &mut Reader,
    ) -> bool {
        if !matches!(self.limits.cpu_cores, Some(Limit::At(_))) {
            sample.throttled_percent = None;
            return false;
        }
        let may_be = sample.cpu_limit_percent.is_some_and(|percent| percent >= THROTTLING_FROM_PERCENT);
        let now = match cpu.throttling {
            Some(told) => Some(told),
            None if is_turn || may_be => self.cgroup.throttling(reader),
            None => return false,
        };
        let before = std::mem::replace(&mut self.slow.throttling, now);
        sample.throttled_percent = before.zip(now).and_then(|(before, now)| throttled_percent(before, now));
        sample.throttled_percent.is_some()
    }
}

/// From one turn to the next.
fn turn_ticks(last: &ContainerSample) -> u64 {
    let over = |value: Option<f32>, busy: f32| value.is_some_and(|value| value >= busy);
    let is_busy = over(last.cpu_limit_percent, BUSY_CPU_PERCENT) || over(last.memory_percent, BUSY_MEMORY_PERCENT);
    if is_busy { BUSY_TICKS } else { SLOW_TICKS }
}

/// CPU in percent of the quota, else of the node. A limit that is not known is not "no limit".
fn cpu_limit_percent(cpu_percent: f32, limits: Limits, facts: &Facts) -> Option<f32> {
    let cores = match limits.cpu_cores? {
        Limit::At(cores) => cores,
        Limit::Unlimited => f64::from(facts.cores),
    };
    rates::ratio_percent(f64::from(cpu_percent) / 100.0, cores)
}

/// By how many bytes memory in use may move before the page cache is looked at again.
fn memory_drift(limits: Limits) -> u64 {
    match limits.memory_bytes {
        Some(Limit::At(limit)) => (limit / MEMORY_DRIFT_DIVISOR).min(MEMORY_DRIFT_BYTES),
        Some(Limit::Unlimited) | None => MEMORY_DRIFT_BYTES,
    }
}

/// Memory in percent of the limit, else of the node. A limit above the node's memory is none.
fn memory_percent(bytes: u64, limits: Limits, facts: &Facts) -> Option<f32> {
    let whole = match (limits.memory_bytes?, facts.memory_bytes) {
        (Limit::At(limit), Some(node)) => limit.min(node),
        (Limit::At(limit), None) => limit,
        (Limit::Unlimited, node) => node?,
    };
    rates::ratio_percent(bytes as f64, whole as f64)
}

fn throttled_percent(before: Throttling, now: Throttling) -> Option<f32> {
    let periods = rates::gained(Some(before.periods), Some(now.periods))?;
    let throttled = rates::gained(Some(before.throttled), Some(now.throttled))?;
    rates::share_percent(throttled, periods)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(memory_bytes: Option<u64>) -> Facts {
        Facts { cores: 4, memory_bytes, interface: None, link_mbps: None }
    }

    #[test]
    fn cpu_is_in_percent_of_the_quota_else_of_the_node() {
        let check = |cpu_cores, expected| {
            let limits = Limits { cpu_cores, memory_bytes: None };
            assert_eq!(cpu_limit_percent(40.0, limits, &facts(None)), expected, "{cpu_cores:?}");
        };
        check(Some(Limit::At(0.5)), Some(80.0));
        check(Some(Limit::Unlimited), Some(10.0));
        check(None, None);
    }

    #[test]
    fn memory_is_in_percent_of_the_limit_else_of_the_node() {
        let check = |memory_bytes, node, expected| {
            let limits = Limits { cpu_cores: None, memory_bytes };
            assert_eq!(memory_percent(50, limits, &facts(node)), expected, "{memory_bytes:?} of {node:?}");
        };
        check(Some(Limit::At(100)), Some(1000), Some(50.0));
        check(Some(Limit::Unlimited), Some(1000), Some(5.0));
        check(Some(Limit::At(5000)), Some(1000), Some(5.0));
        check(Some(Limit::Unlimited), None, None);
        check(None, Some(1000), None);
    }
}
