//! What people are told, word for word.

use std::time::Duration;

use swarmguard_wire::time::ClockOffset;

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
        taken_over: false,
        wall_ahead: ClockOffset::default(),
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
            "At least 2 tasks ran at every look.",
            "It is completed, and what it overwrote in the service's spec was put back.",
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
            "At least 1 task ran at every look.",
            "It was taken back, and the service's spec was put back: what was asked for did not run within 60 s.",
            "T0 breach seen at 2026-11-26 01:00:00.000 UTC, T3 decided +1.003 s, T4 Swarm asked +1.010 s.",
        ],
    );
}

#[test]
fn one_that_another_collector_began_says_so_and_tells_no_times_across_two_clocks() {
    check(
        |record| {
            record.because.clear();
            record.has_healthcheck = None;
            record.taken_over = true;
            record.times = TimeLine { t4: at(0), t5: at(3_000), t6: at(3_200), ..TimeLine::default() };
            (record.running_min, record.downtime_ms) = (Some(0), 400.0);
        },
        &[
            "A migration of web of whose reasons there is no record here: they are in the journal of the collector that \
             decided, if it still has one.",
            "It was gone on with half-way: by another collector than began it, or by the same after a restart.",
            "The replacement ran.",
            "What was to go was gone 0.2 s later.",
            "For 0.4 s no task was seen running.",
            "It is completed, and what it overwrote in the service's spec was put back.",
            "T4 Swarm asked at 2026-11-26 01:00:00.000 UTC, T5 replacement running +3.000 s, T6 old task gone +3.200 s \
             (up to T4 by the clock of the collector that began it).",
        ],
    );
}

fn scale(record: &mut ActionRecord, kind: ActionKind, before: u64, after: u64) {
    record.kind = kind.as_str().into();
    record.because = vec!["web gets another number of replicas: scenario 2.".into()];
    (record.from_node, record.to_node) = (None, None);
    (record.replicas_before, record.replicas_after) = (before, after);
    record.running_min = Some(before.min(after));
}

#[test]
fn a_replica_that_was_added_took_the_place_of_none() {
    check(
        |record| scale(record, ActionKind::ScaleUp, 2, 3),
        &[
            "web gets another number of replicas: scenario 2.",
            "Swarm was asked 7.0 ms after the decision.",
            "The new replica ran and was healthy 1.9 s after the breach.",
            "At least 2 tasks ran at every look.",
            "It is completed: the service has 3 replicas.",
            "T0 breach seen at 2026-11-26 01:00:00.000 UTC, T1 alert sent +1.001 s, T2 received +1.002 s, T3 decided +1.003 s, \
             T4 Swarm asked +1.010 s, T5 new replica running +1.900 s.",
        ],
    );
}

#[test]
fn a_replica_that_was_given_back_followed_no_breach() {
    check(
        |record| scale(record, ActionKind::ScaleDown, 2, 1),
        &[
            "web gets another number of replicas: scenario 2.",
            "Swarm was asked 7.0 ms after the decision.",
            "The replica was gone 1.0 s after that.",
            "At least 1 task ran at every look.",
            "It is completed: the service has 1 replica.",
            "T0 idle since at 2026-11-26 01:00:00.000 UTC, T1 last heard of +1.001 s, T2 received +1.002 s, T3 decided +1.003 s, \
             T4 Swarm asked +1.010 s, T6 replica gone +2.050 s.",
        ],
    );
}

#[test]
fn what_came_of_it_is_told_of_each_kind_in_each_state() {
    let outcome_of = |kind: ActionKind, state: State, detail: Option<&str>| {
        let mut record = migration();
        if kind != ActionKind::Migrate {
            scale(&mut record, kind, 2, if state == State::Reverted { 2 } else { 3 });
        }
        (record.state, record.detail) = (state, detail.map(str::to_owned));
        outcome(&record)
    };
    let late = Some("what was asked for did not run within 60 s");
    let theirs = Some("someone else changed the service: what was ours is taken out, the rest is theirs");
    let cases = [
        (State::Running, None, "It is under way.", "It is under way."),
        (
            State::Completed,
            Some("a first replacement ran without the service's ports, and was replaced itself"),
            "It is completed, and what it overwrote in the service's spec was put back (a first replacement ran without the \
             service's ports, and was replaced itself).",
            "It is completed: the service has 3 replicas (a first replacement ran without the service's ports, and was \
             replaced itself).",
        ),
        (
            State::Reverted,
            late,
            "It was taken back, and the service's spec was put back: what was asked for did not run within 60 s.",
            "It was taken back, and the service has 2 replicas again: what was asked for did not run within 60 s.",
        ),
        (
            State::Left,
            late,
            "It was left to Swarm, and what it overwrote in the service's spec was put back: what was asked for did not run \
             within 60 s.",
            "It was left to Swarm, and the service keeps 3 replicas: what was asked for did not run within 60 s.",
        ),
        (
            State::Refused,
            Some("the service changed in the meantime: version 5 was planned on, 6 is there"),
            "It was refused, and nothing was changed: the service changed in the meantime: version 5 was planned on, 6 is \
             there.",
            "It was refused, and nothing was changed: the service changed in the meantime: version 5 was planned on, 6 is \
             there.",
        ),
        (
            State::Superseded,
            theirs,
            "It was given up: someone else changed the service: what was ours is taken out, the rest is theirs.",
            "It was given up: someone else changed the service: what was ours is taken out, the rest is theirs.",
        ),
        (
            State::Superseded,
            Some("the service is gone"),
            "It was given up: the service is gone.",
            "It was given up: the service is gone.",
        ),
        (
            State::Unfinished,
            Some("the manager does not answer"),
            "It could not be finished yet, and is tried again: the manager does not answer.",
            "It could not be finished yet, and is tried again: the manager does not answer.",
        ),
        (
            State::HandedOver,
            Some("another manager leads the Swarm: the collector there goes on with it"),
            "What came of it is not known here: another manager leads the Swarm: the collector there goes on with it.",
            "What came of it is not known here: another manager leads the Swarm: the collector there goes on with it.",
        ),
    ];
    for (state, detail, migrated, scaled) in cases {
        assert_eq!(outcome_of(ActionKind::Migrate, state.clone(), detail), migrated);
        assert_eq!(outcome_of(ActionKind::ScaleUp, state, detail), scaled);
    }
}

#[test]
fn times_are_shown_in_utc() {
    let check = |micros, text: &str| assert_eq!(utc(Timestamp::from_micros(micros)), text);
    check(0, "1970-01-01 00:00:00.000 UTC");
    check(951_868_799_500_000, "2000-02-29 23:59:59.500 UTC");
    check(1_795_654_800_123_456, "2026-11-26 01:00:00.123 UTC");
    check(1_798_761_599_999_999, "2026-12-31 23:59:59.999 UTC");
}
