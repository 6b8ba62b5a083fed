//! One connection, opened when first needed, kept between requests, reopened after any trouble.
//!
//! Not a pool: requests follow each other, and `&mut self` says so. A connection is in `open` only while it is idle
//! and sound: it is taken out for each request and put back after a whole answer, so an error, a time-out and a
//! caller that drops the future halfway all leave the same thing behind, nothing, and the next request starts afresh.
//! The one repetition made here is of a request that hyper hands back unwritten, because the server had closed
//! the idle connection; it is made once, on a new connection.
//!
//! Memory of an open connection: 28 to 37 KiB measured, of which hyper's buffers for reading and writing are 8 KiB each.

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::message::{Error, Request, Response, retry_after};
use crate::url::Url;

/// Longest body of an answer, unless set otherwise: an error text or a policy, never a data set.
pub const RESPONSE_BODY_BYTES_MAX: usize = 64 * 1024;

/// hyper's smallest read buffer. It also bounds the head of an answer, so nothing smaller would be wise.
const BUFFER_BYTES_MAX: usize = 8 * 1024;

/// How often the runtime gets the word before an idle connection is written to: once to notice that the server has
/// closed it, once more so that hyper's task sees that notice. See [`Connection::request`].
const YIELDS_BEFORE_REUSE: usize = 2;

type Message = hyper::Request<Full<Bytes>>;

/// A kept-alive connection to one address.
///
/// Needs a tokio runtime with I/O and time; a `current_thread` one is enough.
#[derive(Debug)]
pub struct Connection {
    authority: String,
    host: String,
    port: u16,
    host_header: HeaderValue,
    response_body_bytes_max: usize,
    open: Option<Open>,
    counters: Counters,
}

/// What a [`Connection`] has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections opened. Close to `requests` means the other side does not keep them.
    pub opened: u64,
    /// Requests asked for, answered or not.
    pub requests: u64,
}

/// hyper's two halves: where requests go in, and the task that moves the bytes.
#[derive(Debug)]
struct Open {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Will connect to the host and port of `origin` at the first request; its path and query are not looked at.
    #[must_use]
    pub fn new(origin: &Url) -> Self {
        Self {
            authority: origin.authority().to_owned(),
            host: origin.host().to_owned(),
            port: origin.port(),
            host_header: origin.host_header().clone(),
            response_body_bytes_max: RESPONSE_BODY_BYTES_MAX,
            open: None,
            counters: Counters::default(),
        }
    }

    /// Accepts bodies of at most `max` bytes instead of [`RESPONSE_BODY_BYTES_MAX`].
    #[must_use]
    pub const fn with_response_body_bytes_max(mut self, max: usize) -> Self {
        self.response_body_bytes_max = max;
        self
    }

    /// Connections opened and requests made so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Sends `request` and waits for the whole answer, connecting first where needed.
    ///
    /// `timeout` covers connecting, sending and receiving together. A kept connection that the server closed while it
    /// was idle is replaced without the caller noticing, as long as nothing was written to it. Any status is an answer,
    /// 500 included. Dropping the future closes the connection.
    ///
    /// # Errors
    /// See [`Error`]; after each but [`Error::Message`] the connection is gone and the next request opens a new one.
    pub async fn request(&mut self, request: Request<'_>, timeout: Duration) -> Result<Response, Error> {
        self.counters.requests += 1;
        let message = request.into_hyper(&self.host_header)?;
        match tokio::time::timeout(timeout, self.exchange(message)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Error::Timeout { after: timeout }),
        }
    }

    async fn exchange(&mut self, message: Message) -> Result<Response, Error> {
        let (open, answer) = match self.send_on_kept(message).await? {
            Kept::Answered(open, answer) => (open, answer),
            Kept::Unsent(message) => self.send_on_new(message).await?,
        };
        let response = receive(answer, self.response_body_bytes_max).await?;
        self.open = Some(open);
        Ok(response)
    }

    async fn send_on_kept(&mut self, message: Message) -> Result<Kept, Error> {
        let Some(mut open) = self.open.take() else {
            return Ok(Kept::Unsent(message));
        };
        // A single thread that was busy elsewhere has not looked at its sockets: without this, a connection closed a
        // moment ago still seems open, the request is written to it, and cannot be told from one that was acted on.
        for _ in 0..YIELDS_BEFORE_REUSE {
            tokio::task::yield_now().await;
        }
        if open.sender.ready().await.is_err() {
            return Ok(Kept::Unsent(message));
        }
        match open.sender.try_send_request(message).await {
            Ok(answer) => Ok(Kept::Answered(open, answer)),
            Err(mut failed) => match failed.take_message() {
                Some(message) => Ok(Kept::Unsent(message)),
                None => Err(self.broke(failed.into_error())),
            },
        }
    }

    async fn send_on_new(&mut self, message: Message) -> Result<(Open, hyper::Response<Incoming>), Error> {
        let mut open = self.connect().await?;
        match open.sender.send_request(message).await {
            Ok(answer) => Ok((open, answer)),
            Err(source) => Err(self.broke(source)),
        }
    }

    async fn connect(&mut self) -> Result<Open, Error> {
        let stream = self.connect_tcp().await.map_err(|source| self.unreachable(source))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.broke(source))?;
        // How the connection ended is told to whoever waits for an answer; the task has nothing to add.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        self.counters.opened += 1;
        Ok(Open { sender, driver })
    }

    async fn connect_tcp(&self) -> std::io::Result<TcpStream> {
        // An address is used as it is; only a name goes through the resolver, which costs a thread for a while.
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // A request is one write: waiting for more (Nagle) would only add the other side's delayed acknowledgement.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn unreachable(&self, source: std::io::Error) -> Error {
        Error::Connect { authority: self.authority.clone(), source }
    }

    fn broke(&self, source: hyper::Error) -> Error {
        Error::Send { authority: self.authority.clone(), source }
    }
}

/// What came of trying the connection kept from the last request.
enum Kept {
    Answered(Open, hyper::Response<Incoming>),
    /// There was none, or it was closed: nothing was written, and the message is back.
    Unsent(Message),
}

/// Reads the whole answer, or stops as soon as its body is known to pass `max` bytes.
async fn receive(answer: hyper::Response<Incoming>, max: usize) -> Result<Response, Error> {
    let status = answer.status().as_u16();
    let retry_after = retry_after(answer.headers());
    let mut incoming = answer.into_body();
    let announced = incoming.size_hint().lower();
    if usize::try_from(announced).map_or(true, |announced| announced > max) {
        return Err(Error::BodyTooLarge { status, max });
    }
    let mut body = Bytes::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|source| Error::Receive { status, source })?;
        // Trailers are read, so that the connection can be kept, and not looked at.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > max - body.len() {
            return Err(Error::BodyTooLarge { status, max });
        }
        body = join(body, data);
    }
    Ok(Response { status, retry_after, body })
}

/// The usual answer has one piece or none, which is handed on without a copy.
fn join(head: Bytes, tail: Bytes) -> Bytes {
    if head.is_empty() {
        return tail;
    }
    let mut whole = BytesMut::from(head);
    whole.extend_from_slice(&tail);
    whole.freeze()
}
