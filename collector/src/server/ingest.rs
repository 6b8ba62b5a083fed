//! Alerts and reports: decode, record, wake the control loop, answer.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use swarmguard_wire::alert::ALERT_BYTES_MAX;
use swarmguard_wire::codec::{self, DecodeError};
use swarmguard_wire::report::REPORT_BYTES_MAX;
use swarmguard_wire::verbose::VERBOSE_BYTES_MAX;
use swarmguard_wire::{Alert, Reply, Report, Timestamp};

use super::{Answer, body, json, refusal, typed};
use crate::clock::now;
use crate::fleet::ResolveError;
use crate::state::Shared;

/// JSON alerts, which carry no tick, count as ticks in a row when they are at most so far apart: two of the
/// requirement's longest intervals between samples.
const VERBOSE_FOLLOWS_WITHIN: Duration = Duration::from_secs(20);

enum Form {
    MessagePack,
    Json,
}

pub(super) async fn alert(shared: &Shared, request: Request<Incoming>) -> Answer {
    let answer = match form(&request) {
        Some(Form::MessagePack) => message(shared, request).await,
        Some(Form::Json) => verbose(shared, request).await,
        None => Err(unsupported("application/msgpack or application/json")),
    };
    counted(shared, answer)
}

pub(super) async fn report(shared: &Shared, request: Request<Incoming>) -> Answer {
    let answer = match form(&request) {
        Some(Form::MessagePack) => read_report(shared, request).await,
        Some(Form::Json) | None => Err(unsupported("application/msgpack")),
    };
    counted(shared, answer)
}

fn form(request: &Request<Incoming>) -> Option<Form> {
    let content_type = request.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    match content_type.split(';').next()?.trim() {
        "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Some(Form::MessagePack),
        "application/json" => Some(Form::Json),
        _ => None,
    }
}

fn unsupported(expected: &str) -> Answer {
    refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, &format!("the content type is not known: expected {expected}"))
}

fn counted(shared: &Shared, answer: Result<Answer, Answer>) -> Answer {
    answer.unwrap_or_else(|refused| {
        shared.state().counters.refused += 1;
        refused
    })
}

async fn message(shared: &Shared, request: Request<Incoming>) -> Result<Answer, Answer> {
    let bytes = body(request, ALERT_BYTES_MAX).await?;
    let received_at = now();
    let alert: Alert = codec::decode(&bytes).map_err(|error| undecodable(&error))?;
    {
        let mut state = shared.state();
        state.counters.alerts += 1;
        state.fleet.record_alert(&alert, received_at);
    }
    shared.wake();
    Ok(reply(shared, received_at))
}

async fn read_report(shared: &Shared, request: Request<Incoming>) -> Result<Answer, Answer> {
    let bytes = body(request, REPORT_BYTES_MAX).await?;
    let received_at = now();
    let report: Report = codec::decode(&bytes).map_err(|error| undecodable(&error))?;
    {
        let mut state = shared.state();
        state.counters.reports += 1;
        state.fleet.record_report(&report, received_at);
    }
    Ok(reply(shared, received_at))
}

async fn verbose(shared: &Shared, request: Request<Incoming>) -> Result<Answer, Answer> {
    let bytes = body(request, VERBOSE_BYTES_MAX).await?;
    let received_at = now();
    let alert = codec::decode_verbose(&bytes).map_err(|error| refusal(StatusCode::BAD_REQUEST, &error.to_string()))?;
    {
        let mut state = shared.state();
        state.fleet.record_verbose(&alert, received_at, VERBOSE_FOLLOWS_WITHIN).map_err(|error| {
            let status = match error {
                ResolveError::NotReady => StatusCode::SERVICE_UNAVAILABLE,
                ResolveError::Prefix { .. } => StatusCode::BAD_REQUEST,
                ResolveError::Service { .. } | ResolveError::Node { .. } | ResolveError::Container { .. } => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
            };
            refusal(status, &error.to_string())
        })?;
        state.counters.alerts += 1;
    }
    shared.wake();
    Ok(json(StatusCode::OK, &serde_json::json!({ "status": "recorded" })))
}

fn undecodable(error: &DecodeError) -> Answer {
    let status = match error {
        DecodeError::Oversized { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        DecodeError::Envelope
        | DecodeError::Version { .. }
        | DecodeError::Body(_)
        | DecodeError::Trailing { .. }
        | DecodeError::Range { .. } => StatusCode::BAD_REQUEST,
    };
    refusal(status, &swarmguard_daemon::presence::chain(error))
}

fn reply(shared: &Shared, received_at: Timestamp) -> Answer {
    let reply = Reply { received_at, answered_at: now(), policy: shared.agents() };
    match codec::encode(&reply) {
        Ok(bytes) => typed(StatusCode::OK, codec::CONTENT_TYPE, Bytes::from(bytes)),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
