//! One action or one service, explained.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Answer, json as answer, refusal, show};
use crate::clock::now;
use crate::explain;
use crate::journal::ActionRecord;
use crate::journal::disk::Told;
use crate::state::Shared;

/// Actions told of a service.
const ACTIONS_TOLD: usize = 5;

pub(super) async fn action(shared: &Shared, id: &str) -> Answer {
    let (found, disk) = {
        let state = shared.state();
        (state.journal.action(id).map(explained), state.journal.disk())
    };
    let found = match (found, disk) {
        (Some(found), _) => Some(found),
        (None, Some(disk)) => {
            let id = id.to_owned();
            // A disk that fails is said by whoever writes to it.
            let read = tokio::task::spawn_blocking(move || disk.action(&id).ok().flatten()).await;
            read.ok().flatten().as_ref().map(explained)
        }
        (None, None) => None,
    };
    match found {
        Some(found) => answer(StatusCode::OK, &found),
        None => refusal(StatusCode::NOT_FOUND, &format!("no action {id:?} is known; GET /api/v1/actions names them")),
    }
}

fn explained(record: &ActionRecord) -> Value {
    let record = record.by_wall();
    let mut value = json!(record);
    value["explanation"] = json!(explain::action(&record));
    value
}

/// What is so now, what was done, and what was not.
pub(super) fn service(shared: &Shared, name: &str) -> Answer {
    let state = shared.state();
    let facts = state.fleet.facts();
    let Some(swarm) = facts.swarm() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "the Swarm was not read yet");
    };
    let mut named = swarm.services.iter().filter(|(id, found)| found.name.as_str() == name || id.as_str() == name);
    let Some((id, found)) = named.next() else {
        return refusal(StatusCode::NOT_FOUND, &format!("the Swarm has no service {name:?}"));
    };
    // A decision is made anew at each look for as long as there is reason to.
    let decision = state.journal.decision(id).filter(|record| record.at >= state.decided_at);
    let current = match decision {
        Some(record) => record.decision.explain(),
        None => explain::calm(facts, &state.rules.policy, found, now()),
    };
    let of_service: Vec<&ActionRecord> =
        state.journal.actions().filter(|record| record.service == id.as_str()).collect();
    let newest = of_service.iter().rev().take(ACTIONS_TOLD).map(|record| explained(record));
    let told = state
        .journal
        .told(id)
        .map(Told::by_wall)
        .map(|told| json!({ "at": told.at, "at_utc": explain::utc(told.at), "explanation": told.sentences }));
    let mut value = show::service(&state, &state.rules.policy, swarm, id, found);
    value["now"] = json!(current);
    value["actions"] = newest.collect();
    value["not_done"] = told.collect();
    answer(StatusCode::OK, &value)
}
