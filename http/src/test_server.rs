//! A server for tests that does exactly what it is told: one scripted reply per request, in order.
//!
//! Raw TCP instead of a server library, so that it can also misbehave: close early, stay silent, lie about a length.
//! Shared with the tests of `swarmguard-influx`, which include this file.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers and keeps the connection.
    Answer(u16, &'static str),
    /// Answers with an extra header line.
    With(u16, &'static str, &'static str),
    /// Answers, then closes the connection without having announced it.
    AnswerAndClose(u16),
    /// Reads the request and closes.
    Close,
    /// Reads the request and never answers.
    Silence,
    /// These bytes and nothing else.
    Raw(String),
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Which connection it came over, counted from 0.
    pub(crate) connection: usize,
    /// Request line and headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Reply>,
    seen: Vec<Seen>,
}

/// Listens until dropped. When the script has run out, every request is answered 204.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl Server {
    pub(crate) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    pub(crate) async fn start_at(address: SocketAddr, script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { script: script.into_iter().collect(), seen: Vec::new() }));
        let task = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Self { address, state, task }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = tokio::task::JoinSet::new();
    for connection in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        // A client that goes away is part of many tests.
        connections.spawn(async move { drop(serve(stream, connection, &state).await) });
    }
}

async fn serve(mut stream: TcpStream, connection: usize, state: &Mutex<State>) -> io::Result<()> {
    let mut received = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut received, connection).await? {
        let reply = {
            let mut state = state.lock().unwrap();
            state.seen.push(seen);
            state.script.pop_front().unwrap_or(Reply::Answer(204, ""))
        };
        match reply {
            Reply::Answer(status, body) => stream.write_all(answer(status, "", body).as_bytes()).await?,
            Reply::With(status, header, body) => stream.write_all(answer(status, header, body).as_bytes()).await?,
            Reply::AnswerAndClose(status) => return stream.write_all(answer(status, "", "").as_bytes()).await,
            Reply::Close => return Ok(()),
            Reply::Silence => std::future::pending().await,
            Reply::Raw(bytes) => stream.write_all(bytes.as_bytes()).await?,
        }
    }
    Ok(())
}

fn answer(status: u16, header: &str, body: &str) -> String {
    let line = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
    match status {
        204 => format!("HTTP/1.1 204 No Content\r\n{line}\r\n"),
        _ => format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{line}\r\n{body}", body.len()),
    }
}

async fn read_request(stream: &mut TcpStream, received: &mut Vec<u8>, connection: usize) -> io::Result<Option<Seen>> {
    const END_OF_HEAD: &[u8] = b"\r\n\r\n";
    loop {
        if let Some(at) = received.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD) {
            let body_start = at + END_OF_HEAD.len();
            let head = String::from_utf8(received[..at].to_vec()).unwrap();
            let body_end = body_start + content_length(&head);
            if received.len() >= body_end {
                let body = received[body_start..body_end].to_vec();
                received.drain(..body_end);
                return Ok(Some(Seen { connection, head, body }));
            }
        }
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}

fn content_length(head: &str) -> usize {
    let line =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    line.map_or(0, |value| value.trim().parse().unwrap())
}
