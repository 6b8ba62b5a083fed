//! `POST /api/v1/pause` and `/resume`: a person's word that nothing is to be done, or that it may be again.
//!
//! It holds at once. The control loop then has the Swarm keep it, so that it outlives this collector.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use swarmguard_planner::quiet::{PAUSES_MAX, Pause};

use super::{Answer, body, json, refusal};
use crate::clock::now;
use crate::fleet::PauseError;
use crate::state::{PauseWish, Shared};

/// Longest body.
const BODY_BYTES_MAX: usize = 2_048;
const REASON_CHARS_MAX: usize = 200;
/// Longest pause with an end.
const PAUSE_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// What is asked for; an empty body is all, until it is taken back.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wish {
    /// A service's name; absent: all.
    service: Option<String>,
    /// How long; absent: until it is taken back.
    for_seconds: Option<u64>,
    /// Why, for others to read.
    reason: Option<String>,
}

pub(super) async fn pause(shared: &Shared, request: Request<Incoming>) -> Answer {
    let wish = match wish(request).await {
        Ok(wish) => wish,
        Err(refused) => return refused,
    };
    let length = wish.for_seconds.map(Duration::from_secs);
    if length.is_some_and(|length| length.is_zero() || length > PAUSE_MAX) {
        return refusal(StatusCode::BAD_REQUEST, "for_seconds is to be 1 to 31622400, a year");
    }
    if wish.reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
        return refusal(StatusCode::BAD_REQUEST, &format!("reason is longer than {REASON_CHARS_MAX} characters"));
    }
    let wall = shared.state().fleet.facts().wall(now());
    let pause = Pause { until: length.map(|length| wall + length), reason: wish.reason };
    take(shared, wish.service.as_deref(), Some(pause))
}

pub(super) async fn resume(shared: &Shared, request: Request<Incoming>) -> Answer {
    match wish(request).await {
        Ok(Wish { service, for_seconds: None, reason: None }) => take(shared, service.as_deref(), None),
        Ok(_) => refusal(StatusCode::BAD_REQUEST, "resume takes nothing but a service"),
        Err(refused) => refused,
    }
}

async fn wish(request: Request<Incoming>) -> Result<Wish, Answer> {
    let bytes = body(request, BODY_BYTES_MAX).await?;
    if bytes.is_empty() {
        return Ok(Wish::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| refusal(StatusCode::BAD_REQUEST, &error.to_string()))
}

fn take(shared: &Shared, service: Option<&str>, pause: Option<Pause>) -> Answer {
    let mut state = shared.state();
    // What the Swarm keeps is not known yet, and would be lost.
    if state.fleet.facts().swarm().is_none() {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "the Swarm's state is not known yet: try again");
    }
    let resumes_all = service.is_none() && pause.is_none();
    if !state.pauses_known && !resumes_all {
        let why =
            "what is paused already cannot be read, and would be lost: try again, or resume all, which forgets it";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, why);
    }
    state.pauses_known = true;
    let wish = PauseWish { service: service.map(str::to_owned), pause };
    let is_full = state.pauses_unsaved.len() >= PAUSES_MAX;
    let is_another = state.pauses_unsaved.iter().all(|before| before.service != wish.service);
    let paused = if is_full && is_another { Err(PauseError::Full) } else { state.fleet.pause(&wish) };
    if let Err(error) = paused {
        let status = match error {
            PauseError::Service { .. } => StatusCode::NOT_FOUND,
            PauseError::Full => StatusCode::CONFLICT,
        };
        return refusal(status, &error.to_string());
    }
    state.pauses_unsaved.retain(|before| before.service != wish.service);
    state.pauses_unsaved.push(wish);
    let answer = json(StatusCode::OK, &serde_json::json!({ "pauses": state.fleet.facts().pauses }));
    drop(state);
    shared.wake();
    answer
}
