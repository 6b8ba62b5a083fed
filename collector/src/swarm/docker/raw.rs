//! A service's spec as the manager's own JSON, both ways.
//!
//! A typed model that lacks a field, or spells it otherwise than the engine does (`Healthcheck`), drops it in a round
//! trip. Swarm would then take every task of the service for out of date, and the user's spec would be lost. So what is
//! sent back is what came, changed only where an action changes it. One connection for each request: they are rare.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Longest answer: a spec has some kilobytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Any answer of a manager may take so long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The connection could not be opened, or broke.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// The other side does not speak HTTP as expected.
    #[error("the request failed")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("the request cannot be written")]
    Request(#[from] hyper::http::Error),
    /// The answer broke off or is too long.
    #[error("the answer could not be read: {0}")]
    Body(String),
    /// The answer did not come in time.
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
    /// The answer is not JSON.
    #[error("the answer is not JSON")]
    Json(#[from] serde_json::Error),
    /// The manager refused.
    #[error("the manager answered {status}: {message}")]
    Refused {
        /// The status.
        status: u16,
        /// Its reason.
        message: String,
    },
}

/// Where a manager listens.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// `unix:///path`
    Unix(String),
    /// `tcp://host:port` or `http://host:port`
    Tcp(String),
}

impl Address {
    /// `None` for an address of another kind.
    pub(super) fn parse(host: &str) -> Option<Self> {
        if let Some(path) = host.strip_prefix("unix://") {
            return Some(Self::Unix(path.to_owned()));
        }
        let authority = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://"))?;
        Some(Self::Tcp(authority.trim_end_matches('/').to_owned()))
    }

    /// Gets JSON.
    pub(super) async fn get(&self, path: &str) -> Result<Value, RawError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Posts JSON.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<(), RawError> {
        self.ask(Method::POST, path, body.to_string().into()).await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value, RawError> {
        tokio::time::timeout(TIMEOUT, self.exchange(method, path, body)).await.unwrap_or(Err(RawError::Timeout))
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Value, RawError> {
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        match self {
            Self::Unix(socket) => {
                let request = request.header(HOST, "docker").body(Full::new(body))?;
                send(UnixStream::connect(socket).await?, request).await
            }
            Self::Tcp(authority) => {
                let request = request.header(HOST, authority).body(Full::new(body))?;
                send(TcpStream::connect(authority).await?, request).await
            }
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Value, RawError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender, whatever becomes of the answer.
    tokio::spawn(connection);
    let response: Response<Incoming> = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| RawError::Body(error.to_string()))?.to_bytes();
    if status.is_success() {
        return Ok(serde_json::from_slice(&body)?);
    }
    let reason = serde_json::from_slice::<Value>(&body).ok();
    let message = reason.as_ref().and_then(|reason| reason["message"].as_str());
    let message = message.map_or_else(|| String::from_utf8_lossy(&body).chars().take(500).collect(), str::to_owned);
    Err(RawError::Refused { status: status.as_u16(), message })
}
