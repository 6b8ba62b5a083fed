//! One replica fewer, when all of a service's containers have been idle for the whole cooldown.
//!
//! Idle means that one fewer could carry it all: for CPU, memory and network, the sum over all containers is below the
//! scale-up threshold times the replicas that would remain (the requirement's formula), less a tolerance. A scale-up
//! from `n` happens when each of `n` is above the threshold; `n + 1` share the same load then, which is more than
//! `threshold × n`: so its own effect is never taken for idleness, and the tolerance keeps noise from being.

use std::time::Duration;

use swarmguard_wire::Timestamp;

use super::{Case, Condition, Finding, Known, trigger};
use crate::facts::{Mode, Service};
use crate::plan::{Scale, WhyScale, Withheld};
use crate::planted::{Bug, has};
use crate::policy::{Policy, Scaling};
use crate::window::{Sample, Window};

/// What remains must have this much of its thresholds to spare. Kubernetes' autoscaler tolerates the same tenth.
const TOLERANCE: f32 = 0.1;

/// CPU, memory and network, in percent.
pub(crate) type Load = [f32; 3];

/// The busiest container, if all are idle by their newest samples; nothing for a service that may lose no replica. Given
/// are the containers of all its running tasks: of one that is not known it is not known either whether it is idle.
/// `scaled_from` is how many it had before SwarmGuard added some.
pub(crate) fn idle<'a>(
    containers: impl Iterator<Item = Known<'a>>,
    service: &Service,
    scaled_from: Option<u64>,
    policy: &Policy,
    now: Timestamp,
) -> Option<Finding> {
    let scaling = &policy.scaling;
    let Mode::Replicated { replicas } = service.mode else { return None };
    if replicas <= floor(service, scaled_from, scaling)? || has(Bug::NeverShrinks) {
        return None;
    }
    let mut busiest: Option<(f32, Known<'_>, Sample)> = None;
    let mut sum = Load::default();
    for known in containers {
        let newest = *known.by_agent?.newest()?;
        if now.since(newest.sampled_at) > policy.metric_window {
            return None;
        }
        let load = load(&newest, scaling);
        add(&mut sum, load);
        let use_now: f32 = load.iter().sum();
        if busiest.as_ref().is_none_or(|(most, ..)| use_now > *most) {
            busiest = Some((use_now, known, newest));
        }
    }
    if !fits(sum, replicas, scaling) {
        return None;
    }
    let (_, Known { container, node, .. }, newest) = busiest?;
    Some(Finding { container, node: node.clone(), condition: Condition::Idle, streak: 1, first: newest, newest })
}

/// Whether a service could be idle, given the sum of its containers' newest loads as far as they are known.
pub(crate) fn may_be_idle(service: &Service, sum: Load, scaling: &Scaling) -> bool {
    matches!(service.mode, Mode::Replicated { replicas } if replicas > 1 && fits(sum, replicas, scaling))
}

/// The fewest replicas that a service is brought back to; nothing if none may be taken at all.
///
/// Only the owner knows whether replicas beyond the load are waste or a reserve. So what is given back is what SwarmGuard
/// added, unless the owner chose a minimum for this very service.
fn floor(service: &Service, scaled_from: Option<u64>, scaling: &Scaling) -> Option<u64> {
    let least = if has(Bug::BelowMinimum) { 0 } else { scaling.min_replicas.max(1) };
    if has(Bug::OwnersReplicas) {
        return Some(least);
    }
    if service.labels.choose_minimum() { Some(least) } else { Some(scaled_from?.max(least)) }
}

pub(super) fn propose(case: &Case<'_>, finding: &Finding, replicas: u64) -> Result<Scale, Withheld> {
    // Which replica goes is Swarm's choice, and what it keeps on its node would be left there.
    if let Some(mount) = &case.service.local_mount {
        return Err(Withheld::LocalStorage { mount: mount.clone() });
    }
    let without_ports = case.service.without_ports();
    if without_ports > 0 {
        return Err(Withheld::WithoutPorts { tasks: without_ports });
    }
    let scaling = &case.policy.scaling;
    let cooldown = scaling.scale_down_cooldown;
    let needed = cooldown.as_secs();
    // The most that each container had to do in that time. Its sum is at least what they all had at any moment of it.
    let (mut sum, mut known_since) = (Load::default(), Timestamp::default());
    for known in case.containers {
        let window = known.by_agent.ok_or(Withheld::Idle { seconds: 0, needed })?;
        let peak = peak(window, case.now, cooldown, case.policy.metric_window, scaling);
        add(&mut sum, peak.load);
        known_since = known_since.max(peak.since);
    }
    let known = case.now.since(known_since);
    if known < cooldown {
        return Err(Withheld::Idle { seconds: known.as_secs(), needed });
    }
    if !fits(sum, replicas, scaling) {
        return Err(Withheld::BusyLately { within: needed });
    }
    let mut trigger = trigger(case, finding);
    trigger.breach_at = known_since;
    let why = WhyScale::Idle { seconds: known.as_secs(), sum, carries: carries(replicas, scaling) };
    Ok(Scale { trigger, from: replicas, to: replicas - 1, why })
}

/// What is not known counts as being at the threshold: it neither hinders a large service nor lets a small one shrink.
fn load(sample: &Sample, scaling: &Scaling) -> Load {
    [
        sample.cpu_percent.unwrap_or(scaling.cpu_threshold),
        sample.memory_percent.unwrap_or(scaling.memory_threshold),
        sample.network_percent.unwrap_or(scaling.network_threshold_min),
    ]
}

fn add(sum: &mut Load, load: Load) {
    for (sum, more) in sum.iter_mut().zip(load) {
        *sum += more;
    }
}

/// Whether one replica fewer could carry the sum of all loads.
fn fits(sum: Load, replicas: u64, scaling: &Scaling) -> bool {
    sum.iter().zip(carries(replicas, scaling)).all(|(sum, carries)| *sum < carries)
}

/// What one replica fewer is trusted with.
fn carries(replicas: u64, scaling: &Scaling) -> Load {
    let remaining = replicas.saturating_sub(1) as f32;
    [scaling.cpu_threshold, scaling.memory_threshold, scaling.network_threshold_min]
        .map(|threshold| threshold * remaining * (1.0 - TOLERANCE))
}

/// The most that a container had to do, and since when that is known without a gap.
struct Peak {
    load: Load,
    since: Timestamp,
}

fn peak(window: &Window, now: Timestamp, length: Duration, gap_max: Duration, scaling: &Scaling) -> Peak {
    let mut peak = Peak { load: Load::default(), since: now };
    for sample in window.newest_first() {
        let gap = peak.since.since(sample.sampled_at);
        if gap > gap_max || now.since(peak.since) >= length {
            break;
        }
        let load = load(sample, scaling);
        for (peak, value) in peak.load.iter_mut().zip(load) {
            *peak = peak.max(value);
        }
        peak.since = sample.sampled_at;
    }
    peak
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_trusted_with_nine_tenths_of_its_thresholds() {
        let check = |replicas, expected: Load| assert_eq!(carries(replicas, &Policy::default().scaling), expected);
        check(0, [0.0, 0.0, 0.0]);
        check(1, [0.0, 0.0, 0.0]);
        check(2, [67.5, 72.0, 58.5]);
        check(5, [270.0, 288.0, 234.0]);
    }

    #[test]
    fn a_load_fits_below_what_is_carried_and_not_at_it() {
        let check = |sum: Load, expected| assert_eq!(fits(sum, 2, &Policy::default().scaling), expected, "{sum:?}");
        check([67.0, 71.0, 58.0], true);
        check([67.5, 71.0, 58.0], false);
        check([67.0, 72.0, 58.0], false);
        check([67.0, 71.0, 58.5], false);
    }
}
