//! The health check a container engine runs: one request over a plain socket, one exit code.
//!
//! It is part of the same binary so that the image needs neither a shell nor a client. Every step
//! has a time limit, so a server that accepts and then says nothing counts as unhealthy.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::config::HealthTarget;

const STEP_TIMEOUT: Duration = Duration::from_secs(1);
/// `HTTP/1.1 200`: all that is read of the answer.
const STATUS_LINE_BYTES: usize = 12;

/// Asks `target` once.
///
/// # Errors
/// If no connection can be made, any step takes longer than a second, or the answer is not 200.
pub fn probe(target: &HealthTarget) -> io::Result<()> {
    let address = target
        .authority
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other(format!("{} has no address", target.authority)))?;
    let mut stream = TcpStream::connect_timeout(&address, STEP_TIMEOUT)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    stream.set_write_timeout(Some(STEP_TIMEOUT))?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.path, target.authority);
    stream.write_all(request.as_bytes())?;
    let mut status = [0; STATUS_LINE_BYTES];
    stream.read_exact(&mut status)?;
    if status.starts_with(b"HTTP/1.") && status.ends_with(b" 200") {
        Ok(())
    } else {
        let found = status.escape_ascii();
        Err(io::Error::other(format!("expected HTTP/1.1 200, found {found}")))
    }
}
