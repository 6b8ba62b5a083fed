//! Asking for JSON over HTTP.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use swarmguard_http::{Connection, Method, Request, Response, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longest answer: a database's points.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Makes one request on a connection of its own.
///
/// # Errors
/// When there is no answer.
pub async fn ask(url: &str, request: impl FnOnce(&str) -> Request<'_>) -> Result<Response> {
    let parsed: Url = url.parse().with_context(|| format!("parsing {url}"))?;
    ask_at(&parsed, request(parsed.path_and_query())).await.with_context(|| format!("asking {url}"))
}

/// The same of a host, for whatever the request says.
///
/// # Errors
/// When there is no answer.
pub async fn ask_at(host: &Url, request: Request<'_>) -> Result<Response> {
    let mut connection = Connection::new(host).with_response_body_bytes_max(ANSWER_BYTES_MAX);
    Ok(connection.request(request, TIMEOUT).await?)
}

/// Gets JSON from a Unix socket, with HTTP 1.0, whose answers end with the connection.
///
/// # Errors
/// When there is no answer, or another than 200 with JSON.
pub async fn get_json_from_socket(socket: &Path, path: &str) -> Result<Value> {
    let mut stream =
        UnixStream::connect(socket).await.with_context(|| format!("connecting to {}", socket.display()))?;
    let mut answer = String::new();
    let exchange = async {
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    tokio::time::timeout(TIMEOUT, exchange).await.with_context(|| format!("asking for {path}"))??;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    ensure!(head.starts_with("HTTP/1.0 200"), "{path} answered {head}: {body}");
    serde_json::from_str(body).with_context(|| format!("{path} answered no JSON: {body}"))
}

/// Posts JSON to a Unix socket, in the same way.
///
/// # Errors
/// When there is no answer, or another than 2xx.
pub async fn post_to_socket(socket: &Path, path: &str, body: &Value) -> Result<()> {
    let mut stream =
        UnixStream::connect(socket).await.with_context(|| format!("connecting to {}", socket.display()))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let mut answer = String::new();
    let exchange = async {
        let head =
            format!("POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    tokio::time::timeout(TIMEOUT, exchange).await.with_context(|| format!("posting to {path}"))??;
    ensure!(answer.starts_with("HTTP/1.0 2"), "{path} answered {answer}");
    Ok(())
}

/// Gets JSON.
///
/// # Errors
/// When there is no answer, or another than 200 with JSON.
pub async fn get_json(url: &str) -> Result<Value> {
    let response = ask(url, |path| Request::get(path)).await?;
    let text = String::from_utf8_lossy(&response.body);
    ensure!(response.status == 200, "{url} answered {}: {text}", response.status);
    serde_json::from_str(&text).with_context(|| format!("{url} answered no JSON: {text}"))
}

/// Posts JSON.
///
/// # Errors
/// When there is no answer, or another than 200 with JSON.
pub async fn post_json(url: &str, body: &Value) -> Result<Value> {
    let text = body.to_string();
    let response = ask(url, |path| Request {
        method: Method::POST,
        path_and_query: path,
        content_type: Some("application/json"),
        content_encoding: None,
        authorization: None,
        body: text.into(),
    })
    .await?;
    let text = String::from_utf8_lossy(&response.body);
    ensure!(response.status == 200, "{url} answered {}: {text}", response.status);
    serde_json::from_str(&text).with_context(|| format!("{url} answered no JSON: {text}"))
}
