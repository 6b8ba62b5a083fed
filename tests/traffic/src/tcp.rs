//! One transfer over one TCP connection.
//!
//! The client's first line says who sends: `send N` is the client, `receive N` the listener. Whoever gets the payload
//! checks its length: after `send`, the listener confirms with `received N`, so that the client ends when all has
//! arrived and not when all is in a buffer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::cli::Tcp;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte for so long, the other one is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// `receive ` and the largest number, with the end of the line.
const LINE_BYTES_MAX: u64 = 30;
const CHUNK_BYTES: usize = 64 * 1024;
/// More connections than this at once are closed without an answer.
const CONNECTIONS_MAX: usize = 256;

/// Transfers what is asked for and says how long it took.
pub(crate) fn transfer(tcp: &Tcp) -> Result<Value> {
    let Tcp { to, bytes, receive } = *tcp;
    let stream = TcpStream::connect_timeout(&to, CONNECT_TIMEOUT).with_context(|| format!("connecting to {to}"))?;
    let begun = Instant::now();
    exchange(&stream, bytes, receive).with_context(|| format!("transferring {bytes} bytes with {to}"))?;
    Ok(json!({ "protocol": "tcp", "bytes": bytes, "seconds": begun.elapsed().as_secs_f64() }))
}

fn exchange(stream: &TcpStream, bytes: u64, receive: bool) -> Result<()> {
    prepare(stream)?;
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, stream);
    if receive {
        write_line(stream, &format!("receive {bytes}"))?;
        read_payload(&mut reader, bytes)?;
        return Ok(());
    }
    write_line(stream, &format!("send {bytes}"))?;
    write_payload(stream, bytes)?;
    let confirmed = read_line(&mut reader)?;
    ensure!(confirmed == format!("received {bytes}"), "the listener said {confirmed:?}");
    Ok(())
}

/// Answers every connection in a thread of its own.
pub(crate) fn serve(connections: &TcpListener) -> Result<()> {
    // Each thread holds a clone: what is beyond this one's own is at work.
    let at_work = Arc::new(());
    loop {
        let stream = match connections.accept() {
            Ok((stream, _)) => stream,
            // The client has gone again before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error).context("accepting connections"),
        };
        if Arc::strong_count(&at_work) > CONNECTIONS_MAX {
            continue;
        }
        let mine = Arc::clone(&at_work);
        thread::Builder::new()
            .name("tcp".to_owned())
            .spawn(move || {
                // The client sees the connection end without a confirmation, and says so.
                let _ = answer(&stream);
                drop(mine);
            })
            .context("starting a thread")?;
    }
}

fn answer(stream: &TcpStream) -> Result<()> {
    prepare(stream)?;
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, stream);
    match request(&read_line(&mut reader)?)? {
        Request::Send(bytes) => {
            read_payload(&mut reader, bytes)?;
            write_line(stream, &format!("received {bytes}"))
        }
        Request::Receive(bytes) => write_payload(stream, bytes),
    }?;
    // The client closes first, and with it goes the port that would else be kept waiting here.
    let more = reader.read(&mut [0]).context("waiting for the end")?;
    ensure!(more == 0, "more came than was announced");
    Ok(())
}

/// What a client's first line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Send(u64),
    Receive(u64),
}

fn request(line: &str) -> Result<Request> {
    let understood = line.split_once(' ').and_then(|(word, number)| {
        let bytes = number.parse().ok()?;
        match word {
            "send" => Some(Request::Send(bytes)),
            "receive" => Some(Request::Receive(bytes)),
            _ => None,
        }
    });
    understood.with_context(|| format!("the first line is {line:?}, expected \"send N\" or \"receive N\""))
}

fn prepare(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX)).context("setting a timeout")?;
    stream.set_write_timeout(Some(SILENCE_MAX)).context("setting a timeout")
}

fn write_line(mut stream: &TcpStream, line: &str) -> Result<()> {
    stream.write_all(format!("{line}\n").as_bytes()).with_context(|| format!("sending {line:?}"))
}

fn read_line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    reader.take(LINE_BYTES_MAX).read_line(&mut line).context("waiting for a line")?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => bail!("the connection ended after {line:?}, without a whole line"),
    }
}

fn write_payload(mut stream: &TcpStream, bytes: u64) -> Result<()> {
    let chunk = [b'.'; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        stream.write_all(&chunk[..now]).with_context(|| format!("sending, with {left} of {bytes} bytes left"))?;
        left -= now as u64;
    }
    Ok(())
}

fn read_payload(reader: &mut impl BufRead, bytes: u64) -> Result<()> {
    let got = io::copy(&mut reader.take(bytes), &mut io::sink()).context("receiving")?;
    ensure!(got == bytes, "the connection ended after {got} of {bytes} bytes");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_direction_and_a_number_and_nothing_else() {
        assert_eq!(request("send 7").unwrap(), Request::Send(7));
        assert_eq!(request("receive 0").unwrap(), Request::Receive(0));
        for wrong in ["", "send", "send -1", "send 7 8", "take 7", "GET / HTTP/1.1"] {
            assert!(request(wrong).is_err(), "{wrong:?} was understood");
        }
    }

    #[test]
    fn a_line_without_an_end_is_no_line() {
        assert_eq!(read_line(&mut &b"send 7\nmore"[..]).unwrap(), "send 7");
        assert!(read_line(&mut &b"send 7"[..]).is_err());
        assert!(read_line(&mut &[b'x'; 100][..]).is_err());
    }
}
