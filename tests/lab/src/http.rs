//! A small HTTP client for asking the lab's servers whether they are there. One connection per request.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Answers of the lab's servers are small; more is a mistake.
const BODY_BYTES_MAX: usize = 4 << 20;

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

pub(crate) async fn request(address: SocketAddr, method: Method, path: &str, timeout: Duration) -> Result<Answer> {
    tokio::time::timeout(timeout, exchange(address, method, path))
        .await
        .with_context(|| format!("http://{address}{path} did not answer within {timeout:?}"))?
        .with_context(|| format!("ask http://{address}{path}"))
}

async fn exchange(address: SocketAddr, method: Method, path: &str) -> Result<Answer> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("connection", "close")
        .body(Full::<Bytes>::default())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        Ok(Answer { status, body })
    };
    // The connection's own end says nothing that the answer does not.
    tokio::select! {
        answer = answer => answer,
        Err(error) = connection => Err(error.into()),
    }
}
