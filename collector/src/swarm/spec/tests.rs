//! What an action writes into a spec, and what is left of it afterwards.

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
        scaled_from: None,
        publishes: false,
        remade: 0,
        change,
        original: Original::default(),
    }
}

fn migrate() -> Change {
    let source = "src".parse().unwrap();
    Change::Migrate { source, target: "dst".parse().unwrap(), added: vec!["node.id!=src".into()] }
}

fn end_of(revert: bool, during_rollout: bool) -> End {
    End { revert, during_rollout, with_more: false }
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
fn swarm_rolls_nothing_back_by_itself_while_an_action_is_under_way() {
    let user = json!({"TaskTemplate": {"Placement": {}}, "UpdateConfig": {"FailureAction": "rollback", "Delay": 5}});
    let changed = check_round_trip(user.clone(), migrate());
    assert_eq!(changed["UpdateConfig"], json!({"FailureAction": "pause", "Delay": 5, "Order": "start-first"}));
    let restored = |change: Value| {
        let (mut changed, mark) = applied(&user, migrate());
        changed["UpdateConfig"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        undo(&mut changed, &mark, true).unwrap();
        changed["UpdateConfig"].clone()
    };
    assert_eq!(restored(json!({"Delay": 7})), json!({"FailureAction": "rollback", "Delay": 7}));
    let theirs = json!({"FailureAction": "continue", "Delay": 5});
    assert_eq!(restored(json!({"FailureAction": "continue"})), theirs, "what the user chose since is theirs");
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
    exclude_only(&mut changed, &mut mark, &["dst".parse().unwrap()], 0).unwrap();
    assert_eq!(changed["TaskTemplate"]["Placement"]["Constraints"], json!(["a==b", "node.id!=dst"]));
    let found = super::mark(&changed).unwrap();
    assert_eq!(found, mark);
    let service = json!({"Version": {"Index": 3}, "Spec": changed});
    let again = |remade| back_out(service.clone(), "x", &["dst".parse().unwrap()], remade).unwrap();
    assert_eq!(again(0), None, "once is enough");
    let (_, mut anew) = again(1).expect("unless it is to be gone about anew");
    let constraints = json!(["a==b", "node.id!=dst", "node.id!=dst"]);
    assert_eq!(anew["TaskTemplate"]["Placement"]["Constraints"], constraints, "what waits for a node is out of line");
    let remade = super::mark(&anew).unwrap();
    undo(&mut anew, &remade, true).unwrap();
    assert_eq!(anew, user);
    let mut labelled = service.clone();
    labelled["PreviousSpec"] = service["Spec"].clone();
    let anew = back_out(labelled, "x", &["dst".parse().unwrap()], 1);
    assert!(matches!(anew, Err(SwarmError::OthersChange)), "what the owner changed since may be why");
    undo(&mut changed, &found, true).unwrap();
    assert_eq!(changed, user);
}

#[test]
fn an_update_of_the_users_that_has_stopped_half_way_is_not_set_going_again() {
    let (changed, mark) = applied(&json!({"TaskTemplate": {"Placement": {}}}), migrate());
    let (end_anyhow, end_ours) = (end_of(false, true), end_of(false, false));
    let mut deployed = changed.clone();
    deployed["TaskTemplate"]["ContainerSpec"] = json!({"Image": "web:2"});
    let service = |previous: &Value, state: &str| {
        let status = json!({ "State": state });
        json!({"Version": {"Index": 3}, "Spec": deployed, "PreviousSpec": previous, "UpdateStatus": status})
    };
    let is_left = |service: Value| {
        let backed_out = back_out(service.clone(), &mark.id, &["dst".parse().unwrap()], 0);
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
    let mut labelled = service(&changed, "paused");
    labelled["Spec"] = changed;
    assert!(!is_left(labelled.clone()), "so it is where nothing was changed that Swarm replaces tasks for");
    let found = marked(&labelled).unwrap().unwrap();
    assert!(found.changed && !found.rolls_out);
    let mut since = service(&deployed, "paused");
    since["Spec"]["Labels"]["a"] = json!("b");
    assert!(is_left(since.clone()), "so it is not where their last change replaces none, and the one before it did");
    since["UpdateStatus"]["State"] = json!("completed");
    assert!(!is_left(since.clone()), "Swarm is through with it");
    let (_, told) = back_out(since, &mark.id, &["dst".parse().unwrap()], 0).unwrap().unwrap();
    let again = super::mark(&told).unwrap();
    assert_eq!(again.original.template, Some(fingerprint(&told)), "what stops from then on is ours");
    let rolled_back = marked(&service(&Value::Null, "rollback_started")).unwrap().unwrap();
    assert!(rolled_back.changed && rolled_back.rolls_out, "Swarm's own rollback keeps no spec before it");
    assert!(!marked(&service(&Value::Null, "rollback_completed")).unwrap().unwrap().rolls_out);
    // One that a person asked for keeps what they had put in its place, with our mark or without.
    let theirs = json!({"TaskTemplate": {"ContainerSpec": {"Image": "web:broken"}}});
    let asked_for = marked(&service(&theirs, "rollback_started")).unwrap().unwrap();
    assert!(asked_for.changed && asked_for.rolls_out);
}

#[test]
fn a_scaling_is_not_ended_in_the_middle_of_an_update_that_was_begun_before_the_users_last_change() {
    let (mut before, mark) = applied(&json!({"Mode": {"Replicated": {"Replicas": 2}}}), Change::ScaleUp { to: 3 });
    before["TaskTemplate"] = json!({"ContainerSpec": {"Image": "web:2"}});
    let mut scaled = before.clone();
    scaled["Mode"]["Replicated"]["Replicas"] = json!(5);
    let check = |state: Value, expected: fn(&Result<Update, SwarmError>) -> bool| {
        let service = json!({
            "Version": {"Index": 3}, "Spec": scaled, "PreviousSpec": before, "UpdateStatus": {"State": state}
        });
        let ended = end(service, &mark.id, end_of(false, false));
        assert!(expected(&ended), "{state}: {ended:?}");
    };
    check(json!("paused"), |ended| matches!(ended, Err(SwarmError::OthersPaused)));
    check(json!("updating"), |ended| matches!(ended, Err(SwarmError::OthersChange)));
    check(json!("completed"), Result::is_ok);
    check(Value::Null, Result::is_ok);
}

#[test]
fn what_is_to_end_only_with_more_than_the_mark_does_not_where_the_user_has_seen_to_the_rest() {
    let (scaled, mark) = applied(&json!({"Mode": {"Replicated": {"Replicas": 2}}}), Change::ScaleUp { to: 3 });
    let with_more = End { with_more: true, ..end_of(true, true) };
    let ended = |replicas: u64| {
        let mut spec = scaled.clone();
        spec["Mode"]["Replicated"]["Replicas"] = json!(replicas);
        end(json!({"Version": {"Index": 3}, "Spec": spec}), &mark.id, with_more)
    };
    assert_eq!(ended(3).unwrap().1["Mode"]["Replicated"]["Replicas"], 2);
    assert!(matches!(ended(2), Err(SwarmError::OthersUnplaced)));
    let (mut moving, mark) = applied(&json!({"TaskTemplate": {"Placement": {}}}), migrate());
    let ended = |spec: &Value| end(json!({"Version": {"Index": 3}, "Spec": spec}), &mark.id, with_more);
    assert_eq!(ended(&moving).unwrap().1["TaskTemplate"]["Placement"], json!({}));
    moving["TaskTemplate"]["Placement"] = json!({});
    assert!(matches!(ended(&moving), Err(SwarmError::OthersUnplaced)));
}

#[test]
fn what_the_user_changed_in_the_meantime_stays() {
    let (mut changed, mark) = applied(&json!({"TaskTemplate": {"Placement": {"Constraints": ["a==b"]}}}), migrate());
    let constraints = changed["TaskTemplate"]["Placement"]["Constraints"].as_array_mut().unwrap();
    constraints.extend([json!("c==d"), json!("node.id!=src")]);
    changed["UpdateConfig"]["Parallelism"] = json!(7);
    undo(&mut changed, &mark, true).unwrap();
    assert_eq!(changed["TaskTemplate"]["Placement"]["Constraints"], json!(["a==b", "c==d", "node.id!=src"]));
    assert_eq!(changed["UpdateConfig"], json!({"Parallelism": 7}), "start-first was not the user's");
}

/// Scales as far as each step says, and undoes each; `found` is what somebody sets before that.
fn scale(mut spec: Value, steps: &[(Change, u64, bool)]) -> Value {
    for (change, found, revert) in steps {
        let mut mark = mark_of(change.clone());
        mark.replicas = spec["Mode"]["Replicated"]["Replicas"].as_u64().unwrap();
        let before = spec["Labels"][SCALED_LABEL].as_str().and_then(Scaled::parse);
        mark.scaled_from = before.filter(|it| it.to == mark.replicas).map(|it| it.from);
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
fn what_is_added_to_the_owners_own_number_says_nothing_of_a_note_that_is_void() {
    let note = Scaled { from: 1, to: 2, by: "before".into(), labels_absent: true };
    let mut spec = json!({"Mode": {"Replicated": {"Replicas": 2}}});
    spec["Labels"] = json!({SCALED_LABEL: serde_json::to_string(&note).unwrap()});
    let mut mark = mark_of(Change::ScaleUp { to: 3 });
    apply(&mut spec, &mark).unwrap();
    undo(&mut spec, &mark, false).unwrap();
    let scaled = |spec: &Value| spec["Labels"][SCALED_LABEL].as_str().and_then(Scaled::parse);
    assert_eq!(scaled(&spec), Some(Scaled { from: 2, to: 3, by: "x".into(), labels_absent: true }));
    (mark.replicas, mark.scaled_from, mark.change) = (3, Some(2), Change::ScaleDown { to: 2 });
    apply(&mut spec, &mark).unwrap();
    undo(&mut spec, &mark, false).unwrap();
    assert!(spec.get("Labels").is_none(), "{spec}");
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
