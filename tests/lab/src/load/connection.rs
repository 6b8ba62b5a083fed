//! One kept-alive connection.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

type Sender = SendRequest<Empty<Bytes>>;

#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    kept: Option<Kept>,
}

/// An open connection; dropping it closes it, also in the middle of an answer.
#[derive(Debug)]
struct Kept {
    sender: Sender,
    task: AbortHandle,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, kept: None }
    }

    pub(super) fn close(&mut self) {
        self.kept = None;
    }

    /// Asks once and gives the status, after the whole answer was read.
    pub(super) async fn get(&mut self, path: &str) -> Result<u16> {
        let result = self.exchange(path).await;
        if result.is_err() {
            self.close();
        }
        result
    }

    async fn exchange(&mut self, path: &str) -> Result<u16> {
        let mut request = Request::get(path).header("host", self.address.to_string()).body(Empty::new())?;
        if let Some(Kept { sender: kept, .. }) = &mut self.kept {
            // Lets the connection's own task see what came in while it was idle: the server's goodbye, perhaps.
            tokio::task::yield_now().await;
            if !kept.is_closed() {
                match kept.try_send_request(request).await {
                    Ok(response) => return finish(response).await,
                    // Given back means that not a byte of it was written.
                    Err(mut error) => match error.take_message() {
                        Some(unsent) => request = unsent,
                        None => return Err(error.into_error()).context("on a kept-alive connection"),
                    },
                }
            }
        }
        // A closed one goes first: there is never more than one open.
        self.close();
        let kept = self.kept.insert(open(self.address).await?);
        let response = kept.sender.send_request(request).await.context("on a new connection")?;
        finish(response).await
    }
}

async fn open(address: SocketAddr) -> Result<Kept> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true).context("connect")?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.context("connect")?;
    // How the connection ends shows in the request it carries.
    let task = tokio::spawn(async move { connection.await.ok() }).abort_handle();
    Ok(Kept { sender, task })
}

async fn finish(response: hyper::Response<hyper::body::Incoming>) -> Result<u16> {
    let status = response.status().as_u16();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.context("in the middle of an answer")?;
    }
    Ok(status)
}
