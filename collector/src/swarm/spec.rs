//! Changes to a service's spec, and their undoing, as pure functions over the manager's own JSON.
//!
//! Only what an action needs is touched: the placement constraints and the update order, or the replica count, and the
//! mark. Nothing else, or SwarmKit would take tasks for out of date and restart them. Undoing gives back the user's
//! own text where it stands as we left it, and takes out only our part where the user has changed it since.

mod update_config;

use serde_json::{Map, Value, json};
use swarmguard_planner::labels::SCALED_LABEL;
use swarmguard_planner::plan::Action;
use swarmguard_planner::planted::{Bug, has};
use swarmguard_wire::NodeId;

use super::SwarmError;
use super::mark::{Change, LABEL, Mark, Marked, Original, Scaled};

/// A spec to be sent, and the version of the service that it rests on.
pub type Update = (u64, Value);

/// The update that begins an action on a service as the manager tells it: one that changes the spec and adds the mark, on
/// exactly the version planned on.
///
/// # Errors
/// [`SwarmError::Version`] when the service changed since.
pub fn begin(service: Value, action: &Action, mark: &mut Mark) -> Result<Update, SwarmError> {
    let (found, mut spec) = parts(service)?;
    let planned = action.trigger().version;
    if found != planned {
        return Err(SwarmError::Version { planned, found });
    }
    mark.original = original(&spec);
    apply(&mut spec, mark)?;
    Ok((found, spec))
}

/// How an action is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// A replica that was added is taken back, too.
    pub revert: bool,
    /// Also where somebody else has changed the service since.
    pub though_changed: bool,
}

/// The update that ends the action of this identifier: what the user's spec had is put back, and the mark taken away.
///
/// # Errors
/// [`SwarmError::Superseded`] when another mark or none is there; [`SwarmError::OthersChange`] where there is one that was
/// not reckoned with, [`SwarmError::OthersPaused`] where it has stopped half-way.
pub fn end(service: Value, id: &str, end: End) -> Result<Update, SwarmError> {
    let mark = ours(&service, id, end.though_changed)?;
    let (version, mut spec) = parts(service)?;
    undo(&mut spec, &mark, end.revert)?;
    Ok((version, spec))
}

/// The update that has Swarm replace what a migration began on `nodes` by what was there before; the mark stays. There is
/// none to make where another collector has had it done before: the same once more would look like somebody else's change.
///
/// # Errors
/// As for [`end`]; any change of somebody else's is in the way.
pub fn back_out(service: Value, id: &str, nodes: &[NodeId]) -> Result<Option<Update>, SwarmError> {
    let found = ours(&service, id, false)?;
    let (version, mut spec) = parts(service)?;
    let mut mark = found.clone();
    exclude_instead(&mut spec, &mut mark, nodes)?;
    Ok((mark != found).then_some((version, spec)))
}

/// The mark of an action on a service, and whether somebody else has changed the service since.
///
/// # Errors
/// [`SwarmError::Unreadable`] when there is a mark that this version cannot read.
pub fn marked(service: &Value) -> Result<Option<Marked>, SwarmError> {
    let spec = &service["Spec"];
    let Some(mark) = mark(spec) else {
        return if is_marked(spec) { Err(SwarmError::Unreadable) } else { Ok(None) };
    };
    let changed = is_changed(service, &mark);
    Ok(Some(Marked { mark, changed }))
}

/// Whether somebody else has changed the service since this mark was written. Every update keeps the spec before it: behind
/// ours is the user's without the mark.
fn is_changed(service: &Value, mark: &Mark) -> bool {
    self::mark(&service["PreviousSpec"]).as_ref() == Some(mark)
}

/// The mark of this identifier, on a service that may be changed.
fn ours(service: &Value, id: &str, though_changed: bool) -> Result<Mark, SwarmError> {
    let mark = mark(&service["Spec"]).filter(|mark| mark.id == id).ok_or(SwarmError::Superseded)?;
    let is_paused = matches!(service["UpdateStatus"]["State"].as_str(), Some("paused" | "rollback_paused"));
    match is_changed(service, &mark) && !has(Bug::IgnoresOthers) {
        true if is_paused => Err(SwarmError::OthersPaused),
        true if !though_changed => Err(SwarmError::OthersChange),
        true | false => Ok(mark),
    }
}

fn parts(mut service: Value) -> Result<(u64, Value), SwarmError> {
    let version = service["Version"]["Index"].as_u64();
    let version = version.ok_or(SwarmError::Spec { why: "the manager gave no version" })?;
    Ok((version, service["Spec"].take()))
}

/// What the user's spec has where an action will write.
fn original(spec: &Value) -> Original {
    Original {
        placement: spec["TaskTemplate"]["Placement"].clone(),
        update_config: spec["UpdateConfig"].clone(),
        labels_absent: spec["Labels"].is_null(),
    }
}

/// Writes the action and its mark into the spec.
fn apply(spec: &mut Value, mark: &Mark) -> Result<(), SwarmError> {
    match &mark.change {
        Change::Migrate { added, .. } => {
            // Without one the user's spec could not be put back: see `Withheld::NoPlacement`.
            let constrained = constrained(placement(spec)?.clone(), added);
            *placement(spec)? = constrained;
            if !has(Bug::StopFirst) {
                spec["UpdateConfig"] = update_config::start_first(&spec["UpdateConfig"]);
            }
        }
        Change::ScaleUp { to } | Change::ScaleDown { to } => *replicas(spec)? = json!(to),
    }
    write_mark(spec, mark)
}

/// Keeps tasks off `nodes` instead of off the source, so that what an action began there is replaced by what was before.
/// The mark says so too.
fn exclude_instead(spec: &mut Value, mark: &mut Mark, nodes: &[NodeId]) -> Result<(), SwarmError> {
    let Change::Migrate { added, .. } = &mut mark.change else {
        return Err(SwarmError::Spec { why: "only a migration can be backed out of" });
    };
    let placement = placement(spec)?;
    remove_constraints(placement, added);
    *added = nodes.iter().map(|node| format!("node.id!={node}")).collect();
    *placement = constrained(placement.clone(), added);
    write_mark(spec, mark)
}

/// Takes the mark away and what `apply` wrote; `revert` also takes back the replica.
fn undo(spec: &mut Value, mark: &Mark, revert: bool) -> Result<(), SwarmError> {
    match &mark.change {
        Change::Migrate { .. } if has(Bug::ForgetsConstraints) => {}
        Change::Migrate { added, .. } => {
            let original = &mark.original.placement;
            let placement = placement(spec)?;
            if original.is_object() && *placement == constrained(original.clone(), added) {
                *placement = original.clone();
            } else {
                remove_constraints(placement, added);
            }
            if !has(Bug::ForgetsUpdateConfig) {
                update_config::restore(spec, &mark.original.update_config);
            }
        }
        Change::ScaleUp { to } if revert => {
            if *replicas(spec)? == json!(to) {
                *replicas(spec)? = json!(mark.replicas);
            }
        }
        // A replica that was taken away is not given back: there is nothing to take it back for.
        Change::ScaleUp { to } | Change::ScaleDown { to } => {
            let still = *replicas(spec)? == json!(to);
            take_label(spec, LABEL, mark.original.labels_absent);
            return record_scaled(spec, mark, *to, still);
        }
    }
    if !has(Bug::ForgetsMark) {
        take_label(spec, LABEL, mark.original.labels_absent);
    }
    Ok(())
}

/// Leaves in the labels how many replicas there were before any was added, until as few are there again.
fn record_scaled(spec: &mut Value, mark: &Mark, to: u64, still: bool) -> Result<(), SwarmError> {
    let before = spec["Labels"][SCALED_LABEL].as_str().and_then(Scaled::parse).filter(|it| it.to == mark.replicas);
    let labels_absent = before.map_or(mark.original.labels_absent, |before| before.labels_absent);
    let from = match mark.change {
        Change::ScaleUp { .. } => before.map_or(mark.replicas, |before| before.from),
        Change::ScaleDown { .. } | Change::Migrate { .. } => before.map_or(to, |before| before.from),
    };
    if !still || to <= from || has(Bug::ForgetsNote) {
        take_label(spec, SCALED_LABEL, labels_absent);
        return Ok(());
    }
    let text = serde_json::to_string(&Scaled { from, to, labels_absent });
    let text = text.map_err(|_| SwarmError::Spec { why: "the number of replicas cannot be written" })?;
    labels(spec)?.insert(SCALED_LABEL.to_owned(), text.into());
    Ok(())
}

/// Takes a label away, and the map of labels with the last one if there was none before.
fn take_label(spec: &mut Value, label: &str, labels_absent: bool) {
    let Some(labels) = spec["Labels"].as_object_mut() else { return };
    labels.remove(label);
    if labels.is_empty() && labels_absent {
        remove(spec, "Labels");
    }
}

/// The mark in a spec's labels, if there is one that this build can read.
fn mark(spec: &Value) -> Option<Mark> {
    Mark::parse(spec["Labels"][LABEL].as_str()?)
}

/// Whether a spec's labels carry a mark, readable or not.
fn is_marked(spec: &Value) -> bool {
    !spec["Labels"][LABEL].is_null()
}

fn write_mark(spec: &mut Value, mark: &Mark) -> Result<(), SwarmError> {
    let text = serde_json::to_string(mark).map_err(|_| SwarmError::Spec { why: "the mark cannot be written" })?;
    labels(spec)?.insert(LABEL.to_owned(), text.into());
    Ok(())
}

/// The map of labels, made where there is none.
fn labels(spec: &mut Value) -> Result<&mut Map<String, Value>, SwarmError> {
    let labels = spec.as_object_mut().ok_or(SwarmError::Spec { why: "it is no object" })?.entry("Labels");
    let labels = labels.or_insert(Value::Null);
    if labels.is_null() {
        *labels = json!({});
    }
    labels.as_object_mut().ok_or(SwarmError::Spec { why: "its labels are no map" })
}

fn placement(spec: &mut Value) -> Result<&mut Value, SwarmError> {
    let placement = spec.pointer_mut("/TaskTemplate/Placement").filter(|placement| placement.is_object());
    placement.ok_or(SwarmError::Spec { why: "it has no placement" })
}

fn replicas(spec: &mut Value) -> Result<&mut Value, SwarmError> {
    let replicated = spec.pointer_mut("/Mode/Replicated").and_then(Value::as_object_mut);
    let replicated = replicated.ok_or(SwarmError::Spec { why: "it is not replicated" })?;
    Ok(replicated.entry("Replicas").or_insert(Value::Null))
}

fn constrained(mut placement: Value, added: &[String]) -> Value {
    let mut constraints = placement["Constraints"].as_array().cloned().unwrap_or_default();
    constraints.extend(added.iter().map(|constraint| json!(constraint)));
    placement["Constraints"] = constraints.into();
    placement
}

fn remove_constraints(placement: &mut Value, added: &[String]) {
    if let Some(constraints) = placement["Constraints"].as_array_mut() {
        constraints.retain(|constraint| !added.iter().any(|ours| constraint == ours));
    }
}

fn remove(value: &mut Value, key: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::TimeLine;
    use crate::swarm::mark::MARK_VERSION;

    fn mark_of(change: Change) -> Mark {
        let times = TimeLine::default();
        Mark {
            v: MARK_VERSION,
            id: "x".into(),
            times,
            replicas: 2,
            publishes: false,
            change,
            original: Original::default(),
        }
    }

    fn migrate() -> Change {
        let source = "src".parse().unwrap();
        Change::Migrate { source, target: "dst".parse().unwrap(), added: vec!["node.id!=src".into()] }
    }

    fn end_of(revert: bool, though_changed: bool) -> End {
        End { revert, though_changed }
    }

    /// The user's spec with an action applied, and its mark.
    fn applied(user: &Value, change: Change) -> (Value, Mark) {
        let mut mark = mark_of(change);
        mark.original = original(user);
        let mut changed = user.clone();
        apply(&mut changed, &mark).unwrap();
        (changed, mark)
    }

    /// Applies and undoes; returns the spec between the two.
    fn check_round_trip(user: Value, change: Change) -> Value {
        let (changed, mark) = applied(&user, change);
        let found = super::mark(&changed).expect("the mark is readable");
        assert_eq!(found, mark);
        let mut after = changed.clone();
        undo(&mut after, &found, true).unwrap();
        assert_eq!(after, user, "the user's spec comes back");
        changed
    }

    #[test]
    fn the_users_spec_comes_back_whatever_it_had() {
        for placement in [json!({}), json!({"Constraints": []}), json!({"Constraints": ["a==b"], "MaxReplicas": 2})] {
            check_round_trip(json!({"TaskTemplate": {"Placement": placement}, "Labels": {}}), migrate());
        }
        let config = json!({"Parallelism": 2, "Delay": 5, "Order": "stop-first", "FailureAction": "rollback"});
        let template = json!({"Placement": {}});
        check_round_trip(json!({"TaskTemplate": template, "UpdateConfig": config, "Labels": {"a": "b"}}), migrate());
        let mode = json!({"Replicated": {"Replicas": 2}});
        check_round_trip(json!({"TaskTemplate": {}, "Mode": mode}), Change::ScaleUp { to: 3 });
    }

    #[test]
    fn what_no_model_knows_is_kept() {
        let container = json!({"Healthcheck": {"Test": ["CMD", "x"]}, "FieldOfTheFuture": [1, {"a": null}]});
        let user = json!({"TaskTemplate": {"ContainerSpec": container, "Placement": {}}, "New": true});
        let changed = check_round_trip(user, migrate());
        assert_eq!(changed["TaskTemplate"]["ContainerSpec"], container);
    }

    #[test]
    fn a_migration_changes_constraints_and_order_and_nothing_else() {
        let template = json!({"ForceUpdate": 3, "Placement": {"Constraints": ["a==b"]}});
        let user = json!({"TaskTemplate": template, "UpdateConfig": {"Parallelism": 4}});
        let mut changed = check_round_trip(user, migrate());
        remove(&mut changed, "Labels");
        let expected = json!({
            "TaskTemplate": {"ForceUpdate": 3, "Placement": {"Constraints": ["a==b", "node.id!=src"]}},
            "UpdateConfig": {"Parallelism": 4, "Order": "start-first"},
        });
        assert_eq!(changed, expected);
    }

    #[test]
    fn a_spec_without_placement_is_not_given_one() {
        for template in [json!({}), json!({"Placement": null})] {
            let mut spec = json!({ "TaskTemplate": template });
            assert!(apply(&mut spec, &mark_of(migrate())).is_err());
        }
    }

    #[test]
    fn one_task_at_a_time_stays_one_where_the_user_said_nothing() {
        let changed = check_round_trip(json!({"TaskTemplate": {"Placement": {}}}), migrate());
        assert_eq!(changed["UpdateConfig"], json!({"Parallelism": 1, "Order": "start-first"}));
    }

    #[test]
    fn defaults_that_swarm_fills_in_are_not_taken_for_the_users() {
        let (mut changed, mark) = applied(&json!({"TaskTemplate": {"Placement": {}}}), migrate());
        changed["UpdateConfig"]["FailureAction"] = json!("pause");
        changed["UpdateConfig"]["MaxFailureRatio"] = json!(0.0);
        undo(&mut changed, &mark, true).unwrap();
        assert_eq!(changed["UpdateConfig"], Value::Null);
    }

    #[test]
    fn backing_out_keeps_tasks_off_the_new_node_and_then_the_users_spec_comes_back() {
        let user = json!({"TaskTemplate": {"Placement": {"Constraints": ["a==b"]}}});
        let (mut changed, mut mark) = applied(&user, migrate());
        exclude_instead(&mut changed, &mut mark, &["dst".parse().unwrap()]).unwrap();
        assert_eq!(changed["TaskTemplate"]["Placement"]["Constraints"], json!(["a==b", "node.id!=dst"]));
        let found = super::mark(&changed).unwrap();
        assert_eq!(found, mark);
        let service = json!({"Version": {"Index": 3}, "Spec": changed});
        assert_eq!(back_out(service, "x", &["dst".parse().unwrap()]).unwrap(), None, "once is enough");
        undo(&mut changed, &found, true).unwrap();
        assert_eq!(changed, user);
    }

    #[test]
    fn an_update_of_the_users_that_has_stopped_half_way_is_not_set_going_again() {
        let (changed, mark) = applied(&json!({"TaskTemplate": {"Placement": {}}}), migrate());
        let (end_anyhow, end_ours) = (end_of(false, true), end_of(false, false));
        let service = |previous: &Value, state: &str| {
            let status = json!({ "State": state });
            json!({"Version": {"Index": 3}, "Spec": changed, "PreviousSpec": previous, "UpdateStatus": status})
        };
        let is_left = |service: Value| {
            let backed_out = back_out(service.clone(), &mark.id, &["dst".parse().unwrap()]);
            let ended = [end_ours, end_anyhow].map(|how| end(service.clone(), &mark.id, how));
            assert_eq!(ended[0].is_ok(), backed_out.is_ok());
            let is_left = |ended: &Result<Update, SwarmError>| matches!(ended, Err(SwarmError::OthersPaused));
            assert_eq!(is_left(&ended[0]), is_left(&ended[1]));
            is_left(&ended[1])
        };
        assert!(is_left(service(&changed, "paused")) && is_left(service(&changed, "rollback_paused")));
        assert!(!is_left(service(&changed, "updating")), "it goes on by itself");
        let unexpected = end(service(&changed, "updating"), &mark.id, end_ours);
        assert!(matches!(unexpected, Err(SwarmError::OthersChange)), "whether that is safe is looked at first");
        assert!(!is_left(service(&json!({}), "paused")), "it is our own that has stopped");
    }

    #[test]
    fn what_the_user_changed_in_the_meantime_stays() {
        let (mut changed, mark) =
            applied(&json!({"TaskTemplate": {"Placement": {"Constraints": ["a==b"]}}}), migrate());
        changed["TaskTemplate"]["Placement"]["Constraints"].as_array_mut().unwrap().push(json!("c==d"));
        changed["UpdateConfig"]["Parallelism"] = json!(7);
        undo(&mut changed, &mark, true).unwrap();
        assert_eq!(changed["TaskTemplate"]["Placement"]["Constraints"], json!(["a==b", "c==d"]));
        assert_eq!(changed["UpdateConfig"], json!({"Parallelism": 7}), "start-first was not the user's");
    }

    /// Scales as far as each step says, and undoes each; `found` is what somebody sets before that.
    fn scale(mut spec: Value, steps: &[(Change, u64, bool)]) -> Value {
        for (change, found, revert) in steps {
            let mut mark = mark_of(change.clone());
            mark.replicas = spec["Mode"]["Replicated"]["Replicas"].as_u64().unwrap();
            mark.original = original(&spec);
            apply(&mut spec, &mark).unwrap();
            spec["Mode"]["Replicated"]["Replicas"] = json!(found);
            undo(&mut spec, &mark, *revert).unwrap();
        }
        spec
    }

    #[test]
    fn what_was_added_is_remembered_until_it_is_given_back() {
        use Change::{ScaleDown, ScaleUp};
        let user = |replicas: u64| json!({"Mode": {"Replicated": {"Replicas": replicas}}});
        let check = |steps: &[(Change, u64, bool)], expected: Option<(u64, u64)>| {
            let after = scale(user(2), steps);
            let scaled = after["Labels"][SCALED_LABEL].as_str().and_then(Scaled::parse);
            assert_eq!(scaled.map(|scaled| (scaled.from, scaled.to)), expected, "{steps:?} gave {after}");
            after
        };
        let (up, down) = (|to| (ScaleUp { to }, to, false), |to| (ScaleDown { to }, to, false));
        check(&[up(3)], Some((2, 3)));
        check(&[up(3), up(4)], Some((2, 4)));
        check(&[up(3), up(4), down(3)], Some((2, 3)));
        let after = check(&[up(3), up(4), down(3), down(2)], None);
        assert_eq!(after, user(2), "as the user wrote it");
        check(&[(ScaleUp { to: 3 }, 3, true)], None);
        check(&[up(3), (ScaleUp { to: 4 }, 4, true)], Some((2, 3)));
        check(&[up(3), (ScaleUp { to: 4 }, 7, false)], None);
        check(&[down(1)], None);
    }

    #[test]
    fn a_replica_count_the_user_set_in_the_meantime_stays() {
        let mark = mark_of(Change::ScaleUp { to: 3 });
        let check = |found: u64, revert, expected: u64| {
            let mut spec = json!({"Mode": {"Replicated": {"Replicas": found}}});
            undo(&mut spec, &mark, revert).unwrap();
            assert_eq!(spec["Mode"]["Replicated"]["Replicas"], json!(expected), "{found} revert {revert}");
        };
        check(3, false, 3);
        check(3, true, 2);
        check(5, true, 5);
    }
}
