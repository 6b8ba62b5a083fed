//! An action, and a service about which nothing is done, in sentences for people.

use swarmguard_planner::Policy;
use swarmguard_planner::facts::{Facts, Leader, Mode, Service, Swarm, Task, UpdateState};
use swarmguard_planner::labels::Engagement;
use swarmguard_planner::plan::quiet;
use swarmguard_planner::window::Sample;
use swarmguard_wire::Timestamp;

use crate::journal::{ActionRecord, State};

/// What was seen and decided, what was done, and what came of it.
pub fn action(record: &ActionRecord) -> Vec<String> {
    let mut sentences = record.because.clone();
    if sentences.is_empty() {
        let kind = match record.kind.as_str() {
            "migrate" => "migration".to_owned(),
            kind => kind.replace('_', "-"),
        };
        sentences.push(format!(
            "A {kind} of {} that another collector decided on: what it saw is in that one's journal.",
            record.service_name
        ));
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
    if let Some(seconds) = after(times.t4, times.t3) {
        sentences.push(format!("Swarm was asked {:.1} ms after the decision.", seconds * 1e3));
    }
    let healthy = if record.has_healthcheck == Some(true) { " and was healthy" } else { "" };
    let what = match record.kind.as_str() {
        "migrate" => "The replacement ran",
        "scale_up" => "The new replica ran",
        _ => "What remains ran",
    };
    if let Some(seconds) = after(times.t5, times.t0.or(times.t4)) {
        let since = if times.t0.is_some() { "the breach" } else { "that" };
        sentences.push(format!("{what}{healthy} {seconds:.1} s after {since}."));
    }
    if let Some(seconds) = after(times.t6, times.t5).filter(|_| record.kind != "scale_up") {
        sentences.push(format!("What was to go was gone {seconds:.1} s later."));
    }
    match record.running_min {
        Some(0) => sentences.push(format!("For {:.1} s no task was seen running.", record.downtime_ms / 1e3)),
        Some(1) => sentences.push("At least 1 task ran at every moment.".to_owned()),
        Some(min) => sentences.push(format!("At least {min} tasks ran at every moment.")),
        None => {}
    }
    sentences
}

fn outcome(record: &ActionRecord) -> String {
    let text = match record.state {
        State::Running => "It is under way",
        State::Completed => "It is completed, and what it overwrote in the service's spec is as it was",
        State::Reverted => "It was taken back, and the service's spec is as it was",
        State::Left => "It was left to Swarm, and what it overwrote in the service's spec is as it was",
        State::Refused => "It was refused, and nothing was changed",
        State::Superseded => "Somebody else changed the service meanwhile, and what they wrote stays",
        State::Unfinished => "It could not be finished yet, and is tried again",
        State::HandedOver => "What came of it is not known here",
    };
    match &record.detail {
        None => format!("{text}."),
        Some(detail) if record.state == State::Completed => format!("{text} ({detail})."),
        Some(detail) => format!("{text}: {detail}."),
    }
}

fn time_line(record: &ActionRecord) -> String {
    const STEPS: [&str; 7] =
        ["breach seen", "alert sent", "received", "decided", "Swarm asked", "replacement running", "old task gone"];
    let points = record.times.points();
    let origin = points.into_iter().flatten().next();
    let mut parts = Vec::new();
    for (number, (step, point)) in STEPS.iter().zip(points).enumerate() {
        let (Some(point), Some(origin)) = (point, origin) else { continue };
        parts.push(if point == origin {
            format!("T{number} {step} at {}", utc(point))
        } else {
            format!("T{number} {step} {:+.3} s", point.millis_after(origin) / 1e3)
        });
    }
    if parts.is_empty() { "When its steps were is not known.".to_owned() } else { format!("{}.", parts.join(", ")) }
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
    if let Mode::Global | Mode::Job = service.mode {
        say("It is global or a job, which cannot be moved or scaled.".to_owned());
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

/// What is known of its containers, and whether any of it is high.
fn seen(facts: &Facts, policy: &Policy, chosen: &Policy, service: &Service, now: Timestamp) -> String {
    let name = &service.name;
    let running: Vec<&Task> = service.tasks.values().filter(|task| task.is_running()).collect();
    if running.is_empty() {
        return format!("Nothing is done about {name}: none of its tasks runs.");
    }
    let mut fresh: Vec<(&Task, Sample)> = Vec::new();
    for task in &running {
        let window = task.container.as_ref().and_then(|container| facts.containers.get(container));
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
        replicas(fresh.len()),
        shown(cpu),
        shown(memory),
        shown(most(|sample| sample.network_percent))
    )
}

fn replicas(count: usize) -> String {
    if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") }
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
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::TimeLine;

    /// 26 November 2026, 01:00:00 UTC, and so many milliseconds.
    fn at(millis: u64) -> Option<Timestamp> {
        Some(Timestamp::from_micros(1_795_654_800_000_000) + Duration::from_millis(millis))
    }

    pub(crate) fn migration() -> ActionRecord {
        ActionRecord {
            id: "1-1".into(),
            kind: "migrate".into(),
            service: "s1".into(),
            service_name: "web".into(),
            state: State::Completed,
            detail: None,
            container: None,
            cpu_percent: Some(95.0),
            memory_percent: Some(40.0),
            network_percent: Some(5.0),
            from_node: Some("node1".into()),
            to_node: Some("node3".into()),
            replicas_before: 2,
            replicas_after: 2,
            has_healthcheck: Some(true),
            running_min: Some(2),
            downtime_ms: 0.0,
            because: vec!["web is moved from node1 to node3: scenario 1.".into()],
            ended_at: at(2_100),
            times: TimeLine {
                t0: at(0),
                t1: at(1_001),
                t2: at(1_002),
                t3: at(1_003),
                t4: at(1_010),
                t5: at(1_900),
                t6: at(2_050),
            },
            times_ms: [None; 7],
        }
    }

    fn check(change: impl FnOnce(&mut ActionRecord), expected: &[&str]) {
        let mut record = migration();
        change(&mut record);
        assert_eq!(action(&record), expected);
    }

    #[test]
    fn an_action_is_told_from_what_was_seen_to_what_came_of_it() {
        check(
            |_| {},
            &[
                "web is moved from node1 to node3: scenario 1.",
                "Swarm was asked 7.0 ms after the decision.",
                "The replacement ran and was healthy 1.9 s after the breach.",
                "What was to go was gone 0.1 s later.",
                "At least 2 tasks ran at every moment.",
                "It is completed, and what it overwrote in the service's spec is as it was.",
                "T0 breach seen at 2026-11-26 01:00:00.000 UTC, T1 alert sent +1.001 s, T2 received +1.002 s, T3 decided +1.003 s, \
                 T4 Swarm asked +1.010 s, T5 replacement running +1.900 s, T6 old task gone +2.050 s.",
            ],
        );
    }

    #[test]
    fn one_that_was_taken_back_says_why() {
        check(
            |record| {
                record.state = State::Reverted;
                record.detail = Some("what was asked for did not run within 60 s".into());
                (record.times.t5, record.times.t6, record.running_min) = (None, None, Some(1));
                (record.times.t1, record.times.t2) = (None, None);
            },
            &[
                "web is moved from node1 to node3: scenario 1.",
                "Swarm was asked 7.0 ms after the decision.",
                "At least 1 task ran at every moment.",
                "It was taken back, and the service's spec is as it was: what was asked for did not run within 60 s.",
                "T0 breach seen at 2026-11-26 01:00:00.000 UTC, T3 decided +1.003 s, T4 Swarm asked +1.010 s.",
            ],
        );
    }

    #[test]
    fn one_that_another_collector_began_says_so() {
        check(
            |record| {
                record.because.clear();
                record.has_healthcheck = None;
                record.detail = Some("taken over from a collector before".into());
                record.times = TimeLine { t4: at(0), t5: at(3_000), t6: at(3_200), ..TimeLine::default() };
                (record.running_min, record.downtime_ms) = (Some(0), 400.0);
            },
            &[
                "A migration of web that another collector decided on: what it saw is in that one's journal.",
                "The replacement ran 3.0 s after that.",
                "What was to go was gone 0.2 s later.",
                "For 0.4 s no task was seen running.",
                "It is completed, and what it overwrote in the service's spec is as it was (taken over from a collector before).",
                "T4 Swarm asked at 2026-11-26 01:00:00.000 UTC, T5 replacement running +3.000 s, T6 old task gone +3.200 s.",
            ],
        );
    }

    #[test]
    fn times_are_shown_in_utc() {
        let check = |micros, text: &str| assert_eq!(utc(Timestamp::from_micros(micros)), text);
        check(0, "1970-01-01 00:00:00.000 UTC");
        check(951_868_799_500_000, "2000-02-29 23:59:59.500 UTC");
        check(1_795_654_800_123_456, "2026-11-26 01:00:00.123 UTC");
        check(1_798_761_599_999_999, "2026-12-31 23:59:59.999 UTC");
    }
}
