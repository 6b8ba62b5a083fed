//! What is answered: from a request's method, path and parameters to a response.
//!
//! A [`Route`] says which parameters it takes; a [`Refusal`] says which status it is. Nothing here
//! touches sockets of the server or knows about draining beyond saying so in `/health`.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::data::{self, Work};
use crate::query::{Query, QueryError};
use crate::server::App;
use crate::stress::network;
use crate::stress::ramp::Shape;

const CPU_PERCENT_MAX: u64 = 100;
const MEMORY_MIB_MAX: u64 = 1_048_576;
const NETWORK_MBPS_MAX: u64 = 1_000;
const DURATION_S_DEFAULT: u64 = 120;
const DURATION_S_MAX: u64 = 86_400;
const RAMP_S_DEFAULT: u64 = 30;
const RAMP_S_MAX: u64 = 3_600;

/// What a container ends with that was killed by SIGKILL: 128 + 9.
const EXIT_CODE_OF_KILLED: i32 = 137;

const ROUTES_FILE: &str = "/proc/net/route";
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
const MIB: f64 = 1_048_576.0;

static HELD_HEADER: HeaderName = HeaderName::from_static("x-held-kb");

pub(crate) type Reply = Response<Full<Bytes>>;

/// Everything that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Root,
    Health,
    Metrics,
    Data,
    StressCpu,
    StressMemory,
    StressNetwork,
    StressCombined,
    StressStop,
    StressCrash,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Root,
            "/health" => Self::Health,
            "/metrics" => Self::Metrics,
            "/api/data" => Self::Data,
            "/stress/cpu" => Self::StressCpu,
            "/stress/memory" => Self::StressMemory,
            "/stress/network" => Self::StressNetwork,
            "/stress/combined" => Self::StressCombined,
            "/stress/stop" => Self::StressStop,
            "/stress/crash" => Self::StressCrash,
            _ => return None,
        })
    }

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Root | Self::Health | Self::Metrics | Self::StressStop | Self::StressCrash => &[],
            Self::Data => data::KEYS,
            Self::StressCpu | Self::StressMemory => &["target", "duration", "ramp"],
            Self::StressNetwork => &["bandwidth", "duration", "ramp", "to"],
            Self::StressCombined => &["cpu", "memory", "network", "duration", "ramp", "to"],
        }
    }
}

/// Why a request is not done.
#[derive(Debug)]
enum Refusal {
    NoSuchPath(String),
    NoSuchMethod(Method),
    Parameter(QueryError),
    NoGateway,
    NotStarted(io::Error),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath(_) => StatusCode::NOT_FOUND,
            Self::NoSuchMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Parameter(_) => StatusCode::BAD_REQUEST,
            Self::NoGateway => StatusCode::CONFLICT,
            Self::NotStarted(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPath(path) => write!(f, "no such path: {path}"),
            Self::NoSuchMethod(method) => write!(f, "method {method}: allowed is GET"),
            Self::Parameter(error) => error.fmt(f),
            Self::NoGateway => write!(f, "no default gateway in {ROUTES_FILE} to send to: give to=HOST:PORT"),
            Self::NotStarted(error) => write!(f, "the stress could not be started: {error}"),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::Parameter(error)
    }
}

/// Answers one request.
pub(crate) async fn answer(app: &App, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let _counted = app.traffic.enter();
    let reply = dispatch(app, request.method(), request.uri()).await;
    let mut reply = reply.unwrap_or_else(|refusal| {
        let mut reply = json_reply(refusal.status(), &json!({"error": refusal.to_string()}));
        if let Refusal::NoSuchMethod(_) = refusal {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        }
        reply
    });
    // Asked after the work: the drain may have begun during it.
    if app.is_draining() {
        let headers = reply.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(reply)
}

async fn dispatch(app: &App, method: &Method, uri: &hyper::Uri) -> Result<Reply, Refusal> {
    let route = Route::of(uri.path()).ok_or_else(|| Refusal::NoSuchPath(uri.path().to_owned()))?;
    if method != Method::GET {
        return Err(Refusal::NoSuchMethod(method.clone()));
    }
    let query = Query::parse(uri.query(), route.keys())?;
    let now = Instant::now();
    match route {
        Route::Root => Ok(root(app, now)),
        Route::Health => Ok(health(app, now)),
        Route::Metrics => Ok(json_reply(StatusCode::OK, &metrics(app, now))),
        Route::Data => application(app, &query).await,
        Route::StressCpu => stress_cpu(app, &query, now),
        Route::StressMemory => stress_memory(app, &query, now),
        Route::StressNetwork => stress_network(app, &query).await,
        Route::StressCombined => stress_combined(app, &query).await,
        Route::StressStop => {
            let stopped = app.stresses.stop(now);
            let body = json!({"status": "stopped", "stopped_tests": stopped});
            Ok(json_reply(StatusCode::OK, &body))
        }
        // Without an answer and without an end to what is under way, as a crash has it.
        Route::StressCrash => std::process::exit(EXIT_CODE_OF_KILLED),
    }
}

fn root(app: &App, now: Instant) -> Reply {
    let name = rustix::system::uname();
    let host = name.nodename().to_string_lossy();
    let text = format!("{host} up {} s\n", app.uptime(now).as_secs());
    reply(StatusCode::OK, "text/plain; charset=utf-8", text.into())
}

fn health(app: &App, now: Instant) -> Reply {
    if app.is_draining() {
        let body = json!({"status": "draining"});
        return json_reply(StatusCode::SERVICE_UNAVAILABLE, &body);
    }
    let body = json!({"status": "healthy", "uptime": app.uptime(now).as_secs()});
    json_reply(StatusCode::OK, &body)
}

/// The body of `/metrics`; rates are means over the last second.
#[derive(Serialize)]
struct Metrics {
    /// 100 is one core.
    cpu_percent: f64,
    /// What the container may use, in the same unit.
    cpu_limit_percent: f64,
    /// Resident, in MiB.
    memory_mb: f64,
    /// Of the container's limit, or of the machine without one.
    memory_percent: f64,
    network_rx_mbps: f64,
    network_tx_mbps: f64,
    active_stress: Vec<&'static str>,
    /// Since the start, this one included.
    requests: u64,
    /// At this moment, this one included.
    in_flight: u64,
}

fn metrics(app: &App, now: Instant) -> Metrics {
    let usage = app.usage();
    let resident_bytes = usage.resident_bytes as f64;
    Metrics {
        cpu_percent: hundredths(usage.cpu_percent),
        cpu_limit_percent: hundredths(app.limits.cores * 100.0),
        memory_mb: hundredths(resident_bytes / MIB),
        memory_percent: hundredths(resident_bytes / app.limits.memory_bytes as f64 * 100.0),
        network_rx_mbps: hundredths(usage.received_mbps),
        network_tx_mbps: hundredths(usage.sent_mbps),
        active_stress: app.stresses.active(now),
        requests: app.traffic.total.load(Ordering::Relaxed),
        in_flight: app.traffic.in_flight.load(Ordering::Relaxed),
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

async fn application(app: &App, query: &Query) -> Result<Reply, Refusal> {
    let work = Work::parse(query)?;
    let (body, held_kib) = work.run(&app.held).await;
    let mut reply = reply(StatusCode::OK, "text/plain; charset=utf-8", body);
    let headers = reply.headers_mut();
    headers.insert(HELD_HEADER.clone(), HeaderValue::from(held_kib));
    Ok(reply)
}

fn stress_cpu(app: &App, query: &Query, now: Instant) -> Result<Reply, Refusal> {
    let percent = query.required("target", 1..=CPU_PERCENT_MAX)?;
    let shape = shape(query)?;
    let cores = cores_of(app, percent);
    let started = app.stresses.start_cpu(cores, shape, now);
    started.map_err(Refusal::NotStarted)?;
    Ok(started_reply("target_cpu", &percent.into()))
}

fn stress_memory(app: &App, query: &Query, now: Instant) -> Result<Reply, Refusal> {
    let mib = query.required("target", 1..=MEMORY_MIB_MAX)?;
    let started = app.stresses.start_memory(mib, shape(query)?, now);
    started.map_err(Refusal::NotStarted)?;
    Ok(started_reply("target_memory_mb", &mib.into()))
}

async fn stress_network(app: &App, query: &Query) -> Result<Reply, Refusal> {
    let mbps = query.required("bandwidth", 1..=NETWORK_MBPS_MAX)?;
    let shape = shape(query)?;
    let to = destination(query).await?;
    let started = app.stresses.start_network(mbps, to, shape, Instant::now());
    started.map_err(Refusal::NotStarted)?;
    Ok(started_reply("target_bandwidth_mbps", &mbps.into()))
}

/// Starts the kinds whose target is above zero, at one moment; the others are left as they are.
/// Everything is checked first: it is all or nothing.
async fn stress_combined(app: &App, query: &Query) -> Result<Reply, Refusal> {
    let target = |key, max| query.optional(key, 0..=max).map(|given| given.filter(|it| *it > 0));
    let cpu = target("cpu", CPU_PERCENT_MAX)?;
    let memory = target("memory", MEMORY_MIB_MAX)?;
    let network = target("network", NETWORK_MBPS_MAX)?;
    if cpu.or(memory).or(network).is_none() {
        let allowed = &["cpu", "memory", "network"];
        return Err(QueryError::NoneOf { allowed }.into());
    }
    let shape = shape(query)?;
    let network = match network {
        Some(mbps) => Some((mbps, destination(query).await?)),
        None => None,
    };
    let now = Instant::now();
    let mut targets = serde_json::Map::new();
    if let Some(percent) = cpu {
        let started = app.stresses.start_cpu(cores_of(app, percent), shape, now);
        started.map_err(Refusal::NotStarted)?;
        targets.insert("cpu".to_owned(), percent.into());
    }
    if let Some(mib) = memory {
        let started = app.stresses.start_memory(mib, shape, now);
        started.map_err(Refusal::NotStarted)?;
        targets.insert("memory".to_owned(), mib.into());
    }
    if let Some((mbps, to)) = network {
        let started = app.stresses.start_network(mbps, to, shape, now);
        started.map_err(Refusal::NotStarted)?;
        targets.insert("network".to_owned(), mbps.into());
    }
    Ok(started_reply("targets", &Value::Object(targets)))
}

/// The CPU target is a percentage of what the container may use: of its CFS quota, or without one
/// of all cores of the machine. So 80 is 0.24 cores under a quota of 0.3, and 1.6 cores on two.
fn cores_of(app: &App, percent: u64) -> f64 {
    app.limits.cores * percent as f64 / 100.0
}

fn shape(query: &Query) -> Result<Shape, QueryError> {
    let hold_s = query.optional("duration", 1..=DURATION_S_MAX)?;
    let ramp_s = query.optional("ramp", 0..=RAMP_S_MAX)?;
    Ok(Shape {
        ramp: Duration::from_secs(ramp_s.unwrap_or(RAMP_S_DEFAULT)),
        hold: Duration::from_secs(hold_s.unwrap_or(DURATION_S_DEFAULT)),
    })
}

/// Where traffic goes: to `to` if given, else to the default gateway, else nowhere.
async fn destination(query: &Query) -> Result<SocketAddr, Refusal> {
    let Some(to) = query.text("to") else {
        let routes = std::fs::read_to_string(ROUTES_FILE).unwrap_or_default();
        return network::gateway_discard(&routes).ok_or(Refusal::NoGateway);
    };
    let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host(to)).await;
    let found = match lookup {
        Ok(Ok(mut addresses)) => addresses.next(),
        Ok(Err(_)) | Err(_) => None,
    };
    found.filter(|address| address.port() != 0).ok_or_else(|| {
        let value = to.to_owned();
        QueryError::NoAddress { key: "to", value }.into()
    })
}

fn started_reply(key: &str, target: &Value) -> Reply {
    json_reply(StatusCode::OK, &json!({"status": "started", key: target}))
}

fn json_reply(status: StatusCode, body: &impl Serialize) -> Reply {
    // Neither a map with keys that are not text nor a failing writer can occur here.
    let body = serde_json::to_vec(body).unwrap_or_default();
    reply(status, "application/json", body.into())
}

fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
