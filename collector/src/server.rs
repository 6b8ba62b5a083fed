//! HTTP: what comes in is recorded as a fact and answered; what is known is shown. Nothing is decided here.
//!
//! `POST /alert` and `/report` for agents, `GET /healthz`, `/metrics` and `/api/v1/…` for people and machines, who may also
//! pause and resume. Bodies, headers, connections and waiting times are bounded; a message that is refused is counted and
//! changes nothing.

mod ingest;
mod pause;
mod show;
mod show_one;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::state::Shared;
use show::Healthy;

/// Connections at a time. Below the usual limit of 1,024 open files, so that Docker's and the database's still fit.
pub const CONNECTIONS_MAX: usize = 960;

const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

type Answer = Response<Full<Bytes>>;

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Answers are small and waited for: do not hold them back. Failing to say so only makes them slower.
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(shared.clone(), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            // It also ends idle connections: agents talk every few seconds, and open a new one if they were silent.
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(16 * 1024);
            // A client that goes away in the middle is its own affair.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let allowed = match path.as_str() {
        "/alert" | "/report" | "/api/v1/pause" | "/api/v1/resume" => Method::POST,
        "/healthz" | "/healthz/leader" | "/metrics" | "/api/v1/nodes" | "/api/v1/services" | "/api/v1/actions"
        | "/api/v1/pauses" => Method::GET,
        path if one_of(path).is_some() => Method::GET,
        _ => return Ok(refusal(StatusCode::NOT_FOUND, &format!("no such path: {path}"))),
    };
    if request.method() != allowed {
        let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} takes {allowed}"));
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(if allowed == Method::GET { "GET" } else { "POST" }));
        return Ok(answer);
    }
    Ok(match path.as_str() {
        "/alert" => ingest::alert(&shared, request).await,
        "/report" => ingest::report(&shared, request).await,
        "/healthz" => show::health(&shared, Healthy::Any),
        "/healthz/leader" => show::health(&shared, Healthy::Leader),
        "/metrics" => show::metrics(&shared),
        "/api/v1/nodes" => show::nodes(&shared),
        "/api/v1/services" => show::services(&shared),
        "/api/v1/pauses" => show::pauses(&shared),
        "/api/v1/pause" => pause::pause(&shared, request).await,
        "/api/v1/resume" => pause::resume(&shared, request).await,
        "/api/v1/actions" => show::actions(&shared),
        path => match one_of(path) {
            Some(One::Action(id)) => show_one::action(&shared, id).await,
            Some(One::Service(name)) => show_one::service(&shared, name),
            None => refusal(StatusCode::NOT_FOUND, &format!("no such path: {path}")),
        },
    })
}

/// One action or service.
enum One<'a> {
    /// By its identifier.
    Action(&'a str),
    /// By its name or identifier.
    Service(&'a str),
}

fn one_of(path: &str) -> Option<One<'_>> {
    let action = path.strip_prefix("/api/v1/actions/").map(One::Action);
    action.or_else(|| path.strip_prefix("/api/v1/services/").map(One::Service))
}

/// Reads a body of at most `max` bytes.
async fn body(request: Request<Incoming>, max: usize) -> Result<Bytes, Answer> {
    let too_large = || refusal(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is longer than {max} bytes"));
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), max).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(refusal(StatusCode::BAD_REQUEST, &format!("the body could not be read: {error}"))),
        Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

fn refusal(status: StatusCode, reason: &str) -> Answer {
    json(status, &serde_json::json!({ "error": reason }))
}

fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    typed(status, "application/json", format!("{value}\n").into())
}

fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
