//! How Swarm replaces tasks while an action is under way, and as the user had it.

use serde_json::{Map, Value, json};

use super::remove;

/// Keys of an update config that Swarm fills in with zero where a config is given without them.
const ZERO_BY_DEFAULT: [&str; 3] = ["Delay", "Monitor", "MaxFailureRatio"];

/// What is ours while an action is under way.
const OURS: [&str; 2] = ["Order", "FailureAction"];

/// The same, but that a new task runs before the old one is stopped, and that Swarm rolls nothing back by itself: with it our
/// mark would go, and what is to be done when a replacement fails is for the action to decide.
pub(super) fn start_first(config: &Value) -> Value {
    // Where the user has no update config Swarm replaces one task at a time; given one, it takes 0 for "all at once".
    let mut config = if config.is_object() { config.clone() } else { json!({ "Parallelism": 1 }) };
    config["Order"] = json!("start-first");
    if config["FailureAction"] == "rollback" {
        config["FailureAction"] = json!("pause");
    }
    config
}

/// Puts back what the user had, where it stands as we left it; else only what is ours of it.
pub(super) fn restore(spec: &mut Value, original: &Value) {
    let (found, ours) = (spec["UpdateConfig"].clone(), start_first(original));
    if !found.is_object() {
        return;
    }
    if without_defaults(&found) == without_defaults(&ours) {
        if original.is_null() {
            remove(spec, "UpdateConfig")
        } else {
            spec["UpdateConfig"] = original.clone()
        }
        return;
    }
    // The user changed something else of it.
    for key in OURS.into_iter().filter(|key| found[key] == ours[key] && ours[key] != original[key]) {
        match original[key].as_str() {
            Some(before) => spec["UpdateConfig"][key] = json!(before),
            None => remove(&mut spec["UpdateConfig"], key),
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
