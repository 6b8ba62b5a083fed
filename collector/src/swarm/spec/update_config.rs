//! How Swarm replaces tasks while an action is under way, and as the user had it.

use serde_json::{Map, Value, json};

use super::remove;

/// Keys of an update config that Swarm fills in with zero where a config is given without them.
const ZERO_BY_DEFAULT: [&str; 3] = ["Delay", "Monitor", "MaxFailureRatio"];

/// The same, but that a new task runs before the old one is stopped.
pub(super) fn start_first(config: &Value) -> Value {
    // Where the user has no update config Swarm replaces one task at a time; given one, it takes 0 for "all at once".
    let mut config = if config.is_object() { config.clone() } else { json!({ "Parallelism": 1 }) };
    config["Order"] = json!("start-first");
    config
}

/// Puts back what the user had, where it stands as we left it; else only the order, which is ours.
pub(super) fn restore(spec: &mut Value, original: &Value) {
    let (found, ours) = (spec["UpdateConfig"].clone(), start_first(original));
    if !found.is_object() {
        return;
    }
    if without_defaults(&found) == without_defaults(&ours) {
        if original.is_null() { remove(spec, "UpdateConfig") } else { spec["UpdateConfig"] = original.clone() }
    } else if found["Order"] == ours["Order"] {
        // The user changed something else of it: only the order is ours.
        match original["Order"].as_str() {
            Some(order) => spec["UpdateConfig"]["Order"] = json!(order),
            None => remove(&mut spec["UpdateConfig"], "Order"),
        }
    }
}

/// The config with what Swarm fills in by itself left out.
fn without_defaults(config: &Value) -> Map<String, Value> {
    let mut config = config.as_object().cloned().unwrap_or_default();
    let zero = |value: &Value| value.as_f64() == Some(0.0);
    for key in ZERO_BY_DEFAULT {
        if config.get(key).is_some_and(zero) {
            config.remove(key);
        }
    }
    if matches!(config.get("FailureAction").and_then(Value::as_str), Some("" | "pause")) {
        config.remove("FailureAction");
    }
    config
}
