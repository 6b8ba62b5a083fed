//! Actions and decisions as points for the database (`recovery_events`), and actions as one JSON line each on standard output.

use std::io::Write;

use swarmguard_influx::Sink;
use swarmguard_planner::plan::{Decision, Outcome};

use crate::journal::ActionRecord;

/// Writes an ended action for machines to read.
pub fn print(record: &ActionRecord) {
    let line = serde_json::json!({ "event": "action", "action": record });
    // Nobody may be reading; that must not end the collector.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Hands an ended action to the database, its times by the wall clock.
pub fn write(sink: &mut Sink, record: &ActionRecord, unix_ns: i64) {
    let [_, t1, t2, t3, t4, t5, t6] = record.times_ms;
    let float = |value: Option<f32>| value.map(f64::from);
    sink.point("recovery_events")
        .tag("from_node", record.from_node.as_deref())
        .tag("kind", record.kind.as_str())
        .tag("outcome", record.state.as_str())
        .tag("service_name", record.service_name.as_str())
        .tag("to_node", record.to_node.as_deref())
        .field("action_id", record.id.as_str())
        .field("replicas_before", record.replicas_before)
        .field("replicas_after", record.replicas_after)
        .field("cpu_percent", float(record.cpu_percent))
        .field("memory_percent", float(record.memory_percent))
        .field("network_percent", float(record.network_percent))
        .field("t0_unix_ms", record.times.t0.map(|t0| t0.as_micros() / 1_000))
        .field("t1_ms", t1)
        .field("t2_ms", t2)
        .field("t3_ms", t3)
        .field("t4_ms", t4)
        .field("t5_ms", t5)
        .field("t6_ms", t6)
        .field("downtime_ms", record.downtime_ms)
        .close(unix_ns);
}

/// Hands a decision that leads to no action to the database.
pub fn write_decision(sink: &mut Sink, decision: &Decision, unix_ns: i64) {
    let (kind, outcome) = match &decision.outcome {
        Outcome::Act { .. } => return,
        Outcome::Observe { action, .. } => (action.kind().as_str(), "observed"),
        Outcome::Withhold { .. } => ("none", "withheld"),
    };
    let float = |value: Option<f32>| value.map(f64::from);
    sink.point("recovery_events")
        .tag("from_node", decision.grounds.node.as_str())
        .tag("kind", kind)
        .tag("outcome", outcome)
        .tag("service_name", decision.service_name.as_str())
        .field("cpu_percent", float(decision.grounds.cpu_percent))
        .field("memory_percent", float(decision.grounds.memory_percent))
        .field("network_percent", float(decision.grounds.network_percent))
        .field("text", decision.to_string().as_str())
        .close(unix_ns);
}
