//! Changes to a service's spec, and their undoing, as pure functions over the manager's own JSON.
//!
//! Only what an action needs is touched: the placement constraints and how an update goes, or the replica count, and the
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
        return Err(SwarmError::Version { planned, found: Some(found) });
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
    /// Also while Swarm replaces tasks for somebody else's change: none is on its way.
    pub during_rollout: bool,
    /// Only if more than the mark goes with it, a replica or constraints: else Swarm would keep what waits for a node.
    pub with_more: bool,
}

/// The update that ends the action of this identifier: what the user's spec had is put back, and the mark taken away.
///
/// # Errors
/// [`SwarmError::Superseded`] when another mark or none is there; [`SwarmError::OthersChange`] where there is one that was
/// not reckoned with, [`SwarmError::OthersPaused`] where it has stopped half-way, [`SwarmError::OthersUnplaced`] where no more
/// than the mark would go and more should.
pub fn end(service: Value, id: &str, end: End) -> Result<Update, SwarmError> {
    let mark = ours(&service, id, end.during_rollout)?;
    let (version, mut spec) = parts(service)?;
    let before = spec.clone();
    undo(&mut spec, &mark, end.revert)?;
    let is_same = |path: &str| spec.pointer(path) == before.pointer(path);
    if end.with_more && is_same("/Mode") && is_same("/TaskTemplate/Placement") {
        return Err(SwarmError::OthersUnplaced);
    }
    Ok((version, spec))
}

/// The update that keeps a migration's tasks off `nodes` and no others: what runs there is replaced elsewhere. The mark stays.
/// There is none to make where another collector has had it done before: the same once more would look like somebody else's
/// change. Where `remade` is another number, Swarm goes about it anew, though it had stopped.
///
/// # Errors
/// As for [`end`]; any change of somebody else's for which Swarm replaces tasks is in the way, and any at all once more.
pub fn back_out(service: Value, id: &str, nodes: &[NodeId], remade: u32) -> Result<Option<Update>, SwarmError> {
    let found = ours(&service, id, false)?;
    // What is not published any more by their choice is not to be made anew for want of it.
    if remade > found.remade && is_changed(&service, &found) {
        return Err(SwarmError::OthersChange);
    }
    let (version, mut spec) = parts(service)?;
    let mut mark = found.clone();
    if mark.keep_off(nodes, remade).is_some() && mark == found {
        return Ok(None);
    }
    let mut mark = found;
    // Whatever rollout of theirs there was is over.
    mark.original.template = Some(fingerprint(&spec));
    exclude_only(&mut spec, &mut mark, nodes, remade)?;
    Ok(Some((version, spec)))
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
    let (changed, rolls_out) = (is_changed(service, &mark), rolls_out(service, &mark));
    Ok(Some(Marked { mark, changed, rolls_out }))
}

/// Whether somebody else has changed the service since this mark was written. Every update keeps the spec before it: behind
/// ours is the user's without the mark. What was rolled back to ours, by whomever, says so until the next update.
fn is_changed(service: &Value, mark: &Mark) -> bool {
    let is_rolled_back = update_state(service).starts_with("rollback");
    is_rolled_back || self::mark(&service["PreviousSpec"]).as_ref() == Some(mark)
}

/// Whether that change is one for which Swarm replaces tasks, or one before it was, and it is not through with it. Labels, the
/// number of replicas and the like replace none: then what goes on, or has stopped, is our own update. A scaling of ours
/// replaces none either: then it is what somebody has begun before, and Swarm begins anew.
fn rolls_out(service: &Value, mark: &Mark) -> bool {
    let (before, after) = (&service["PreviousSpec"], &service["Spec"]);
    let differs = |path: &str| before.pointer(path) != after.pointer(path);
    let is_another = ["/TaskTemplate", "/EndpointSpec", "/Networks"].into_iter().any(differs);
    // Before Swarm has begun it says nothing.
    let is_over = matches!(update_state(service), "completed" | "rollback_completed");
    let goes_on = match mark.change {
        Change::Migrate { .. } => mark.original.template.is_some_and(|template| template != fingerprint(after)),
        Change::ScaleUp { .. } | Change::ScaleDown { .. } => true,
    };
    is_changed(service, mark) && (is_another || goes_on && !update_state(service).is_empty()) && !is_over
}

/// A fingerprint of what Swarm replaces tasks for, the placement left out: FNV-1a of 64 bits over the JSON
/// (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn fingerprint(spec: &Value) -> u64 {
    let mut template = spec["TaskTemplate"].clone();
    template.as_object_mut().map(|template| template.remove("Placement"));
    let text = json!([template, spec["EndpointSpec"], spec["Networks"]]).to_string();
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn update_state(service: &Value) -> &str {
    service["UpdateStatus"]["State"].as_str().unwrap_or_default()
}

/// The mark of this identifier, on a service that may be changed.
fn ours(service: &Value, id: &str, during_rollout: bool) -> Result<Mark, SwarmError> {
    let mark = mark(&service["Spec"]).filter(|mark| mark.id == id).ok_or(SwarmError::Superseded)?;
    let is_paused = matches!(update_state(service), "paused" | "rollback_paused");
    match rolls_out(service, &mark) && !has(Bug::IgnoresOthers) {
        true if is_paused => Err(SwarmError::OthersPaused),
        true if !during_rollout => Err(SwarmError::OthersChange),
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
        template: Some(fingerprint(spec)),
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

/// Keeps tasks off `nodes` instead of off those that the action kept them off before. The mark says so too.
fn exclude_only(spec: &mut Value, mark: &mut Mark, nodes: &[NodeId], remade: u32) -> Result<(), SwarmError> {
    let before =
        mark.keep_off(nodes, remade).ok_or(SwarmError::Spec { why: "only a migration can be backed out of" })?;
    let placement = placement(spec)?;
    remove_constraints(placement, &before);
    *placement = constrained(placement.clone(), mark.added());
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
    let before = spec["Labels"][SCALED_LABEL].as_str().and_then(Scaled::parse);
    let labels_absent = before.map_or(mark.original.labels_absent, |before| before.labels_absent);
    let from = mark.scaled_from.unwrap_or(match mark.change {
        Change::ScaleUp { .. } => mark.replicas,
        Change::ScaleDown { .. } | Change::Migrate { .. } => to,
    });
    if !still || to <= from || has(Bug::ForgetsNote) {
        take_label(spec, SCALED_LABEL, labels_absent);
        return Ok(());
    }
    let text = serde_json::to_string(&Scaled { from, to, by: mark.id.clone(), labels_absent });
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
    if let Some(constraints) = placement.get_mut("Constraints").and_then(Value::as_array_mut) {
        // Each once: the same written by the user since is theirs.
        for ours in added {
            if let Some(place) = constraints.iter().position(|constraint| constraint == ours) {
                constraints.remove(place);
            }
        }
    }
}

fn remove(value: &mut Value, key: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(key);
    }
}

#[cfg(test)]
mod tests;
