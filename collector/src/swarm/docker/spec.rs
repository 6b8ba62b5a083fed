//! Changes to a service's spec, and their undoing, as pure functions.
//!
//! Only what an action needs is touched: the placement constraints and the update order, or the replica count, and the
//! mark. Nothing else, or SwarmKit would take tasks for out of date and restart them. Undoing gives back the user's
//! own text where it stands as we left it, and takes out only our part where the user has changed it since.

use bollard::models::{
    ServiceSpec, ServiceSpecUpdateConfig, ServiceSpecUpdateConfigFailureActionEnum, ServiceSpecUpdateConfigOrderEnum,
    TaskSpec, TaskSpecPlacement,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::SwarmError;
use swarmguard_wire::NodeId;

use crate::swarm::mark::{Change, LABEL, MARK_VERSION, Mark, Original};

/// What the user's spec has where an action will write.
pub(super) fn original(spec: &ServiceSpec) -> Result<Original, SwarmError> {
    let unwritable = |_| SwarmError::Spec { why: "it cannot be written as JSON" };
    Ok(Original {
        placement: serde_json::to_value(&template(spec)?.placement).map_err(unwritable)?,
        update_config: serde_json::to_value(&spec.update_config).map_err(unwritable)?,
        labels_absent: spec.labels.is_none(),
    })
}

fn template(spec: &ServiceSpec) -> Result<&TaskSpec, SwarmError> {
    spec.task_template.as_ref().ok_or(SwarmError::Spec { why: "it has no task template" })
}

/// Writes the action and its mark into the spec.
pub(super) fn apply(spec: &mut ServiceSpec, mark: &Mark) -> Result<(), SwarmError> {
    match &mark.change {
        Change::Migrate { added, .. } => {
            let template = spec.task_template.as_mut().ok_or(SwarmError::Spec { why: "it has no task template" })?;
            // Without one the user's spec could not be put back: see `Withheld::NoPlacement`.
            let placement = template.placement.take().ok_or(SwarmError::Spec { why: "it has no placement" })?;
            template.placement = Some(constrained(placement, added));
            spec.update_config = Some(start_first(spec.update_config.take()));
        }
        Change::ScaleUp { to } => set_replicas(spec, *to)?,
    }
    write_mark(spec, mark)
}

/// Keeps tasks off `nodes` instead of off the source, so that what an action began there is replaced by what was before.
/// The mark says so too.
pub(super) fn back_out(spec: &mut ServiceSpec, mark: &mut Mark, nodes: &[NodeId]) -> Result<(), SwarmError> {
    let Change::Migrate { added, .. } = &mut mark.change else {
        return Err(SwarmError::Spec { why: "only a migration can be backed out of" });
    };
    let placement = spec.task_template.as_mut().and_then(|template| template.placement.as_mut());
    let placement = placement.ok_or(SwarmError::Spec { why: "it has no placement" })?;
    let constraints = placement.constraints.get_or_insert_default();
    constraints.retain(|constraint| !added.contains(constraint));
    *added = nodes.iter().map(|node| format!("node.id!={node}")).collect();
    constraints.extend(added.iter().cloned());
    write_mark(spec, mark)
}

fn write_mark(spec: &mut ServiceSpec, mark: &Mark) -> Result<(), SwarmError> {
    let text = serde_json::to_string(mark).map_err(|_| SwarmError::Spec { why: "the mark cannot be written" })?;
    spec.labels.get_or_insert_default().insert(LABEL.to_owned(), text);
    Ok(())
}

/// Takes the mark away and what `apply` wrote; `revert` also takes back the replica.
pub(super) fn undo(spec: &mut ServiceSpec, mark: &Mark, revert: bool) -> Result<(), SwarmError> {
    match &mark.change {
        Change::Migrate { added, .. } => {
            let template = spec.task_template.as_mut().ok_or(SwarmError::Spec { why: "it has no task template" })?;
            let original: Option<TaskSpecPlacement> = parse(&mark.original.placement)?;
            let ours = original.clone().map(|original| constrained(original, added));
            if original.is_some() && template.placement == ours {
                template.placement = original;
            } else if let Some(constraints) = template.placement.as_mut().and_then(|found| found.constraints.as_mut()) {
                constraints.retain(|constraint| !added.contains(constraint));
            }
            let original: Option<ServiceSpecUpdateConfig> = parse(&mark.original.update_config)?;
            let ours = start_first(original.clone());
            match &mut spec.update_config {
                Some(found) if with_defaults(found) == with_defaults(&ours) => spec.update_config = original,
                // The user changed something else of it: only the order is ours.
                Some(found) if found.order == ours.order => found.order = original.and_then(|original| original.order),
                Some(_) | None => {}
            }
        }
        Change::ScaleUp { to } => {
            if revert && replicas(spec) == Some(*to) {
                set_replicas(spec, mark.replicas)?;
            }
        }
    }
    if let Some(labels) = &mut spec.labels {
        labels.remove(LABEL);
    }
    if mark.original.labels_absent && spec.labels.as_ref().is_some_and(|labels| labels.is_empty()) {
        spec.labels = None;
    }
    Ok(())
}

/// The mark in a spec's labels, if there is one that this build can read.
pub(super) fn mark(spec: &ServiceSpec) -> Option<Mark> {
    let text = spec.labels.as_ref()?.get(LABEL)?;
    serde_json::from_str::<Mark>(text).ok().filter(|mark| mark.v == MARK_VERSION)
}

fn parse<T: DeserializeOwned>(value: &Value) -> Result<Option<T>, SwarmError> {
    serde_json::from_value(value.clone()).map_err(|_| SwarmError::Spec { why: "its mark holds no former spec" })
}

fn constrained(mut placement: TaskSpecPlacement, added: &[String]) -> TaskSpecPlacement {
    placement.constraints.get_or_insert_default().extend(added.iter().cloned());
    placement
}

fn start_first(config: Option<ServiceSpecUpdateConfig>) -> ServiceSpecUpdateConfig {
    // Where the user has no update config Swarm replaces one task at a time; given one, it takes 0 for "all at once".
    let config = config.unwrap_or(ServiceSpecUpdateConfig { parallelism: Some(1), ..Default::default() });
    ServiceSpecUpdateConfig { order: Some(ServiceSpecUpdateConfigOrderEnum::START_FIRST), ..config }
}

/// Swarm fills in its defaults where a config is given: what was left out and what says the same are equal.
fn with_defaults(config: &ServiceSpecUpdateConfig) -> ServiceSpecUpdateConfig {
    use ServiceSpecUpdateConfigFailureActionEnum as FailureAction;
    ServiceSpecUpdateConfig {
        failure_action: match config.failure_action {
            None | Some(FailureAction::EMPTY) => Some(FailureAction::PAUSE),
            given => given,
        },
        max_failure_ratio: config.max_failure_ratio.or(Some(0.0)),
        delay: config.delay.or(Some(0)),
        monitor: config.monitor.or(Some(0)),
        ..config.clone()
    }
}

fn replicas(spec: &ServiceSpec) -> Option<u64> {
    let replicated = spec.mode.as_ref()?.replicated.as_ref()?;
    replicated.replicas.and_then(|replicas| u64::try_from(replicas).ok())
}

fn set_replicas(spec: &mut ServiceSpec, to: u64) -> Result<(), SwarmError> {
    let replicated = spec.mode.as_mut().and_then(|mode| mode.replicated.as_mut());
    let replicated = replicated.ok_or(SwarmError::Spec { why: "it is not replicated" })?;
    replicated.replicas = Some(i64::try_from(to).map_err(|_| SwarmError::Spec { why: "too many replicas" })?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::journal::TimeLine;
    use bollard::models::{ServiceSpecMode, ServiceSpecModeReplicated};
    use serde_json::json;

    use super::*;

    fn mark_of(change: Change) -> Mark {
        let times = TimeLine::default();
        Mark { v: MARK_VERSION, id: "x".into(), times, replicas: 2, change, original: Original::default() }
    }

    fn migrate() -> Change {
        let source = "src".parse().unwrap();
        Change::Migrate { source, target: Vec::new(), added: vec!["node.id!=src".into()] }
    }

    fn spec(value: Value) -> ServiceSpec {
        serde_json::from_value(value).unwrap()
    }

    /// Applies and undoes; returns the spec between the two.
    fn check_round_trip(user: Value, change: Change) -> ServiceSpec {
        let before = spec(user.clone());
        let mut changed = before.clone();
        let mut mark = mark_of(change);
        mark.original = original(&before).unwrap();
        apply(&mut changed, &mark).unwrap();
        let found = super::mark(&changed).expect("the mark is readable");
        assert_eq!(found, mark);
        let mut after = changed.clone();
        undo(&mut after, &found, true).unwrap();
        assert_eq!(after, before, "the user's spec comes back");
        assert_eq!(serde_json::to_value(&after).unwrap(), user, "byte for byte");
        changed
    }

    #[test]
    fn the_users_spec_comes_back_whatever_it_had() {
        for placement in
            [json!({}), json!({"Constraints": []}), json!({"Constraints": ["node.role==worker"], "MaxReplicas": 2})]
        {
            check_round_trip(json!({"TaskTemplate": {"Placement": placement}, "Labels": {}}), migrate());
        }
        let config = json!({"Parallelism": 2, "Delay": 5, "Order": "stop-first", "FailureAction": "rollback"});
        let template = json!({"Placement": {}});
        check_round_trip(json!({"TaskTemplate": template, "UpdateConfig": config, "Labels": {"a": "b"}}), migrate());
        let mode = json!({"Replicated": {"Replicas": 2}});
        check_round_trip(json!({"TaskTemplate": {}, "Mode": mode}), Change::ScaleUp { to: 3 });
    }

    #[test]
    fn a_migration_changes_constraints_and_order_and_nothing_else() {
        let changed = check_round_trip(
            json!({"TaskTemplate": {"ForceUpdate": 3, "Placement": {"Constraints": ["a==b"]}}, "UpdateConfig": {"Parallelism": 4}}),
            migrate(),
        );
        let mut value = serde_json::to_value(&changed).unwrap();
        value.as_object_mut().unwrap().remove("Labels");
        let expected = json!({
            "TaskTemplate": {"ForceUpdate": 3, "Placement": {"Constraints": ["a==b", "node.id!=src"]}},
            "UpdateConfig": {"Parallelism": 4, "Order": "start-first"},
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_spec_without_placement_is_not_given_one() {
        let mut spec = spec(json!({"TaskTemplate": {}}));
        assert!(apply(&mut spec, &mark_of(migrate())).is_err());
    }

    #[test]
    fn one_task_at_a_time_stays_one_where_the_user_said_nothing() {
        let changed = check_round_trip(json!({"TaskTemplate": {"Placement": {}}}), migrate());
        assert_eq!(changed.update_config.unwrap().parallelism, Some(1));
    }

    #[test]
    fn defaults_that_swarm_fills_in_are_not_taken_for_the_users() {
        let before = spec(json!({"TaskTemplate": {"Placement": {}}}));
        let mut mark = mark_of(migrate());
        mark.original = original(&before).unwrap();
        let mut changed = before;
        apply(&mut changed, &mark).unwrap();
        let config = changed.update_config.as_mut().unwrap();
        config.failure_action = Some(ServiceSpecUpdateConfigFailureActionEnum::PAUSE);
        config.max_failure_ratio = Some(0.0);
        undo(&mut changed, &mark, true).unwrap();
        assert_eq!(changed.update_config, None);
    }

    #[test]
    fn backing_out_keeps_tasks_off_the_new_node_and_then_the_users_spec_comes_back() {
        let before = spec(json!({"TaskTemplate": {"Placement": {"Constraints": ["a==b"]}}}));
        let mut mark = mark_of(migrate());
        mark.original = original(&before).unwrap();
        let mut changed = before.clone();
        apply(&mut changed, &mark).unwrap();
        back_out(&mut changed, &mut mark, &["dst".parse().unwrap()]).unwrap();
        let found = super::mark(&changed).unwrap();
        assert_eq!(found, mark);
        let placement = changed.task_template.as_ref().unwrap().placement.as_ref().unwrap();
        assert_eq!(placement.constraints.as_ref().unwrap(), &["a==b", "node.id!=dst"]);
        undo(&mut changed, &found, true).unwrap();
        assert_eq!(
            serde_json::to_value(&changed).unwrap()["TaskTemplate"],
            serde_json::to_value(&before).unwrap()["TaskTemplate"]
        );
    }

    #[test]
    fn what_the_user_changed_in_the_meantime_stays() {
        let before = spec(json!({"TaskTemplate": {"Placement": {"Constraints": ["a==b"]}}}));
        let mut mark = mark_of(migrate());
        mark.original = original(&before).unwrap();
        let mut changed = before;
        apply(&mut changed, &mark).unwrap();
        let placement = changed.task_template.as_mut().unwrap().placement.as_mut().unwrap();
        placement.constraints.as_mut().unwrap().push("c==d".into());
        changed.update_config.as_mut().unwrap().parallelism = Some(7);
        undo(&mut changed, &mark, true).unwrap();
        let placement = changed.task_template.unwrap().placement.unwrap();
        assert_eq!(placement.constraints.unwrap(), ["a==b", "c==d"]);
        let config = changed.update_config.unwrap();
        assert_eq!((config.parallelism, config.order), (Some(7), None), "start-first was not the user's");
    }

    #[test]
    fn a_replica_count_the_user_set_in_the_meantime_stays() {
        let user = |replicas| ServiceSpec {
            task_template: Some(TaskSpec::default()),
            mode: Some(ServiceSpecMode {
                replicated: Some(ServiceSpecModeReplicated { replicas: Some(replicas) }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mark = mark_of(Change::ScaleUp { to: 3 });
        let check = |found, revert, expected| {
            let mut spec = user(found);
            undo(&mut spec, &mark, revert).unwrap();
            assert_eq!(replicas(&spec), Some(expected), "{found} revert {revert}");
        };
        check(3, false, 3);
        check(3, true, 2);
        check(5, true, 5);
    }
}
