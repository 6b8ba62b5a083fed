//! An action, and a service about which nothing is done, in sentences for people.

use swarmguard_planner::Policy;
use swarmguard_planner::facts::{Facts, Leader, Mode, Service, Swarm, Task, UpdateState};
use swarmguard_planner::labels::Engagement;
use swarmguard_planner::plan::{ActionKind, quiet};
use swarmguard_planner::window::Sample;
use swarmguard_wire::Timestamp;

use crate::journal::{ActionRecord, State};

/// What was seen and decided, what was done, and what came of it.
pub fn action(record: &ActionRecord) -> Vec<String> {
    let mut sentences = record.because.clone();
    if sentences.is_empty() {
        let what = record.action_kind().map_or("change", ActionKind::noun);
        sentences.push(format!(
            "A {what} of {} of whose reasons there is no record here: they are in the journal of the collector that decided, \
             if it still has one.",
            record.service_name
        ));
    }
    if record.taken_over {
        sentences.push(
            "It was gone on with half-way: by another collector than began it, or by the same after a restart."
                .to_owned(),
        );
    }
    sentences.extend(done(record));
    sentences.push(outcome(record));
    sentences.push(time_line(record));
    sentences
}

fn done(record: &ActionRecord) -> Vec<String> {
    let mut sentences = Vec::new();
    let times = &record.times;
    let after = |point: Option<Timestamp>, origin: Option<Timestamp>| Some(point?.millis_after(origin?) / 1e3);
    // Of one that was taken over what came before is by another clock.
    let asked_at = times.t4.filter(|_| !record.taken_over);
    if let Some(seconds) = after(asked_at, times.t3) {
        sentences.push(format!("Swarm was asked {:.1} ms after the decision.", seconds * 1e3));
    }
    let healthy = if record.has_healthcheck == Some(true) { " and was healthy" } else { "" };
    let since = |origin: &str, seconds: Option<f64>| seconds.map(|seconds| format!(" {seconds:.1} s after {origin}"));
    let since_breach = since("the breach", after(times.t5, times.t0.filter(|_| !record.taken_over)));
    match record.action_kind() {
        Some(ActionKind::ScaleDown) => {
            let after_that = since("that", after(times.t6, asked_at));
            if times.t6.is_some() {
                sentences.push(format!("The replica was gone{}.", after_that.unwrap_or_default()));
            }
        }
        Some(ActionKind::ScaleUp) if times.t5.is_some() => {
            sentences.push(format!("The new replica ran{healthy}{}.", since_breach.unwrap_or_default()));
        }
        Some(ActionKind::Migrate) if times.t5.is_some() => {
            sentences.push(format!("The replacement ran{healthy}{}.", since_breach.unwrap_or_default()));
            if let Some(seconds) = after(times.t6, times.t5) {
                sentences.push(format!("What was to go was gone {seconds:.1} s later."));
            }
        }
        Some(ActionKind::ScaleUp | ActionKind::Migrate) | None => {}
    }
    match record.running_min {
        Some(0) => sentences.push(format!("For {:.1} s no task was seen running.", record.downtime_ms / 1e3)),
        Some(1) => sentences.push("At least 1 task ran at every look.".to_owned()),
        Some(min) => sentences.push(format!("At least {min} tasks ran at every look.")),
        None => {}
    }
    sentences
}

fn outcome(record: &ActionRecord) -> String {
    let scales = matches!(record.action_kind(), Some(ActionKind::ScaleUp | ActionKind::ScaleDown));
    let left_with = replicas_of(record.replicas_after);
    let text = match (&record.state, scales) {
        (State::Running, _) => "It is under way".to_owned(),
        (State::Completed, true) => format!("It is completed: the service has {left_with}"),
        (State::Completed, false) => {
            "It is completed, and what it overwrote in the service's spec was put back".to_owned()
        }
        (State::Reverted, true) => format!("It was taken back, and the service has {left_with} again"),
        (State::Reverted, false) => "It was taken back, and the service's spec was put back".to_owned(),
        (State::Left, true) => format!("It was left to Swarm, and the service keeps {left_with}"),
        (State::Left, false) => {
            "It was left to Swarm, and what it overwrote in the service's spec was put back".to_owned()
        }
        (State::Refused, _) => "It was refused, and nothing was changed".to_owned(),
        (State::Superseded, _) => "It was given up".to_owned(),
        (State::Unfinished, _) => "It could not be finished yet, and is tried again".to_owned(),
        (State::HandedOver, _) => "What came of it is not known here".to_owned(),
    };
    match &record.detail {
        None => format!("{text}."),
        Some(detail) if record.state == State::Completed => format!("{text} ({detail})."),
        Some(detail) => format!("{text}: {detail}."),
    }
}

/// T0 to T6 by name; nothing for what such an action does not have.
fn steps(record: &ActionRecord) -> [Option<&'static str>; 7] {
    let [t1, t2, t3, t4] = ["alert sent", "received", "decided", "Swarm asked"].map(Some);
    match record.action_kind() {
        Some(ActionKind::ScaleDown) => {
            [Some("idle since"), Some("last heard of"), t2, t3, t4, None, Some("replica gone")]
        }
        Some(ActionKind::ScaleUp) => [Some("breach seen"), t1, t2, t3, t4, Some("new replica running"), None],
        Some(ActionKind::Migrate) | None => {
            [Some("breach seen"), t1, t2, t3, t4, Some("replacement running"), Some("old task gone")]
        }
    }
}

fn time_line(record: &ActionRecord) -> String {
    let points = record.times.points();
    let origin = points.into_iter().flatten().next();
    let mut parts = Vec::new();
    for (number, (step, point)) in steps(record).into_iter().zip(points).enumerate() {
        let (Some(step), Some(point), Some(origin)) = (step, point, origin) else { continue };
        parts.push(if point == origin {
            format!("T{number} {step} at {}", utc(point))
        } else {
            format!("T{number} {step} {:+.3} s", point.millis_after(origin) / 1e3)
        });
    }
    match (parts.is_empty(), record.taken_over) {
        (true, _) => "When its steps were is not known.".to_owned(),
        (false, false) => format!("{}.", parts.join(", ")),
        (false, true) => format!("{} (up to T4 by the clock of the collector that began it).", parts.join(", ")),
    }
}

fn replicas_of(count: u64) -> String {
    if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") }
}

/// Why nothing is done about a service that no decision is about at this moment.
pub fn calm(facts: &Facts, policy: &Policy, service: &Service, now: Timestamp) -> Vec<String> {
    let (chosen, engagement, problems) = service.labels.over(policy);
    let name = &service.name;
    if engagement == Engagement::Off {
        return vec![format!("{name} is left out: its label swarmguard.mode is off.")];
    }
    let mut sentences = vec![seen(facts, policy, &chosen, service, now)];
    let mut say = |sentence: String| sentences.push(sentence);
    match service.mode {
        Mode::Global | Mode::Job => say("It is global or a job, which cannot be moved or scaled.".to_owned()),
        Mode::Replicated { replicas } => stays(service, replicas, &chosen).into_iter().for_each(&mut say),
    }
    if service.action_marked {
        say("An action on it is under way.".to_owned());
    }
    if service.update != UpdateState::Settled {
        say("An update of it is not over.".to_owned());
    }
    problems.iter().for_each(|problem| say(format!("Until it is put right it is only observed: {problem}.")));
    if engagement == Engagement::Observe && problems.is_empty() {
        let mode = "its label swarmguard.mode has it observed only";
        let why = if service.labels.is_enabled() { mode } else { "its owner has not set swarmguard.enable=true" };
        say(format!("Nothing would be done in any case: {why}."));
    }
    if let Some(quiet) = quiet(facts, service, policy, now) {
        say(format!("Nothing would be done now in any case: {quiet}."));
    }
    match facts.swarm() {
        Some(swarm) if now.since(swarm.seen_at) > policy.leader_window => {
            say(format!(
                "The Swarm was last seen {} s ago: until it is seen again nothing is done.",
                now.since(swarm.seen_at).as_secs()
            ));
        }
        Some(Swarm { leader: Leader::Elsewhere { node }, .. }) => {
            say(format!("This collector stands by: {node} leads the Swarm, and the collector there acts."));
        }
        Some(Swarm { leader: Leader::Here, .. }) => {}
        Some(Swarm { leader: Leader::Unknown, .. }) | None => {
            say("It is not known which manager leads the Swarm.".to_owned())
        }
    }
    sentences
}

/// Why no replica would be given back, however little there were to do; nothing where one would, or there is but one.
fn stays(service: &Service, replicas: u64, chosen: &Policy) -> Option<String> {
    let is_ours = service.scaled.as_ref().is_some_and(|scaled| scaled.to == replicas && scaled.from < replicas);
    let least = chosen.scaling.min_replicas.max(1);
    let why = if !is_ours && !service.labels.choose_minimum() {
        "none of them was added by SwarmGuard, and its owner chose no swarmguard.min"
    } else if replicas <= least {
        "that is its minimum"
    } else {
        return None;
    };
    (replicas > 1).then(|| format!("It keeps its {}, however little there is to do: {why}.", replicas_of(replicas)))
}

/// What is known of its containers, and whether any of it is high.
fn seen(facts: &Facts, policy: &Policy, chosen: &Policy, service: &Service, now: Timestamp) -> String {
    let name = &service.name;
    let running: Vec<&Task> = service.tasks.values().filter(|task| task.is_running()).collect();
    if running.is_empty() {
        return format!("Nothing is done about {name}: none of its tasks runs.");
    }
    let mut fresh: Vec<(&Task, Sample)> = Vec::new();
    for task in &running {
        let window = task.container.as_ref().and_then(|container| facts.containers().get(container));
        let newest = window.and_then(|window| window.newest()).copied();
        let is_fresh = |sample: &Sample| now.since(sample.sampled_at) <= policy.metric_window;
        fresh.extend(newest.filter(is_fresh).map(|sample| (*task, sample)));
    }
    if fresh.is_empty() {
        return format!("Nothing is done about {name}: no agent has told of its containers lately.");
    }
    let most =
        |value: fn(&Sample) -> Option<f32>| fresh.iter().filter_map(|(_, sample)| value(sample)).reduce(f32::max);
    let shown = |most: Option<f32>| most.map_or("unknown".to_owned(), |most| format!("{most:.0} %"));
    let (cpu, memory) = (most(|sample| sample.cpu_percent), most(|sample| sample.memory_percent));
    let (high_cpu, high_memory) = chosen.alert_thresholds();
    let is_high = cpu.is_some_and(|cpu| cpu > high_cpu) || memory.is_some_and(|memory| memory > high_memory);
    let is_new =
        |(task, _): &(&Task, Sample)| task.running_since.is_some_and(|since| now.since(since) < policy.startup_period);
    let head = if !is_high {
        format!("Nothing is amiss with {name}")
    } else if fresh.iter().any(is_new) {
        let seconds = policy.startup_period.as_secs();
        format!("Nothing is done about {name}: in its first {seconds} s a container's CPU is not looked at")
    } else {
        format!("Nothing is decided about {name} yet")
    };
    let silent = match running.len() - fresh.len() {
        0 => String::new(),
        silent => format!(", and of {silent} more no agent has told lately"),
    };
    format!(
        "{head}: of {} the highest CPU is {} (high above {high_cpu:.0}), memory {} (high above {high_memory:.0}), network {}{silent}.",
        replicas_of(fresh.len() as u64),
        shown(cpu),
        shown(memory),
        shown(most(|sample| sample.network_percent))
    )
}

/// `2026-11-26 08:00:00.123 UTC`.
pub fn utc(at: Timestamp) -> String {
    let (seconds, millis) = (at.as_micros() / 1_000_000, at.as_micros() / 1_000 % 1_000);
    let (day, of_day) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day last; eras of 400 years are all alike (Howard Hinnant's algorithm).
    let days = day + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03} UTC")
}

#[cfg(test)]
pub(crate) mod tests;
