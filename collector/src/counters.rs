//! What came in and what became of it, since the collector started; shown at `GET /metrics`.

use std::fmt::Write;

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Alerts taken.
    pub alerts: u64,
    /// Reports taken.
    pub reports: u64,
    /// Messages refused, for whatever reason.
    pub refused: u64,
    /// Decisions made for services in trouble.
    pub decisions: u64,
    /// Actions begun.
    pub actions: u64,
    /// Actions that the checks held back: bugs.
    pub violations: u64,
    /// Times the Swarm could not be read.
    pub swarm_failures: u64,
    /// Longest time from an alert's arrival to its decision, in microseconds.
    pub decision_us_max: u64,
}

/// What is now, beside what was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Actions under way.
    pub in_flight: usize,
    /// Actions begun within the last hour.
    pub within_hour: usize,
    /// Whether the manager here leads the Swarm, and this collector acts.
    pub leader: bool,
    /// Whether everything is paused, or it is a quiet hour.
    pub quiet: bool,
    /// Services paused one by one.
    pub services_paused: usize,
}

impl Counters {
    /// With what is now, in the Prometheus text format, version 0.0.4.
    pub fn prometheus(&self, gauges: &Gauges) -> String {
        let Self { alerts, reports, refused, decisions, actions, violations, swarm_failures, decision_us_max } = *self;
        let counters = [
            ("swarmguard_alerts_total", "Alerts taken.", alerts),
            ("swarmguard_reports_total", "Reports taken.", reports),
            ("swarmguard_messages_refused_total", "Messages refused as malformed, oversized or unknown.", refused),
            ("swarmguard_decisions_total", "Decisions made for services over a threshold.", decisions),
            ("swarmguard_actions_total", "Actions begun.", actions),
            ("swarmguard_check_violations_total", "Planned actions that the checks held back.", violations),
            ("swarmguard_swarm_read_failures_total", "Times the Swarm could not be read.", swarm_failures),
        ];
        let mut text = String::new();
        for (name, help, value) in counters {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
        }
        let Gauges { in_flight, within_hour, leader, quiet, services_paused } = *gauges;
        let seconds = decision_us_max as f64 / 1e6;
        let gauges = [
            ("swarmguard_decision_seconds_max", "Longest time from an alert's arrival to its decision.", seconds),
            ("swarmguard_actions_in_flight", "Actions under way.", in_flight as f64),
            ("swarmguard_actions_within_hour", "Actions begun within the last hour.", within_hour as f64),
            ("swarmguard_leader", "Whether this collector acts.", f64::from(u8::from(leader))),
            ("swarmguard_quiet", "Whether everything is paused, or it is a quiet hour.", f64::from(u8::from(quiet))),
            ("swarmguard_services_paused", "Services paused one by one.", services_paused as f64),
        ];
        for (name, help, value) in gauges {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        text
    }
}
