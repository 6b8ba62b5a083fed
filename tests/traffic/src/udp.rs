//! Datagrams, so slow that none is lost.
//!
//! The first byte of each says whether the listener shall send it back. Nothing else comes back, so that traffic in one
//! direction is in one direction only.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::sockopt;
use serde_json::{Value, json};

use crate::cli::Udp;
use crate::pace::Pace;

/// The longest payload that UDP over IPv4 can carry.
pub(crate) const DATAGRAM_BYTES_MAX: i64 = 65_507;

/// An emulated Raspberry Pi manages ten times as many.
pub(crate) const PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

/// First byte of a datagram that is to be sent back, and of one that is not.
const ECHO: u8 = b'e';
const KEEP: u8 = b'k';

/// What may wait in the kernel while this process does not run: a thousand full Ethernet frames.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// An answer that is so late is lost.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Sends what is asked for and says how long it took.
pub(crate) fn send(udp: &Udp) -> Result<Value> {
    let here = if udp.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = bind(SocketAddr::new(here, 0))?;
    socket.connect(udp.to).with_context(|| format!("connecting to {}", udp.to))?;
    let size = usize::try_from(udp.size).context("size of a datagram")?;
    let begun = Instant::now();
    let answers = thread::scope(|scope| {
        let counting = udp.echo.then(|| scope.spawn(|| count_answers(&socket, udp.datagrams, size)));
        let sent = send_all(&socket, udp, size);
        let answers = counting.map(|counting| counting.join().map_err(|_| anyhow::anyhow!("counting answers failed")));
        sent.and(answers.transpose()?.transpose())
    })
    .with_context(|| format!("sending datagrams to {}", udp.to))?;
    let seconds = begun.elapsed().as_secs_f64();
    let bytes = udp.datagrams * u64::from(udp.size);
    let mut figures = json!({ "protocol": "udp", "datagrams": udp.datagrams, "bytes": bytes, "seconds": seconds });
    if let Some(answers) = answers {
        figures["answers"] = answers.into();
    }
    Ok(figures)
}

fn send_all(socket: &UdpSocket, udp: &Udp, size: usize) -> Result<()> {
    let mut datagram = vec![b'.'; size];
    datagram[0] = if udp.echo { ECHO } else { KEEP };
    let mut pace = Pace::new(udp.pps, Instant::now());
    for number in 0..udp.datagrams {
        thread::sleep(pace.wait(Instant::now()));
        let sent = socket.send(&datagram).with_context(|| format!("after {number} datagrams"))?;
        if sent != size {
            bail!("{sent} of {size} bytes sent");
        }
    }
    Ok(())
}

/// Counts answers until all have come, or none has for a while.
fn count_answers(socket: &UdpSocket, expected: u64, size: usize) -> Result<u64> {
    socket.set_read_timeout(Some(ANSWER_WAIT)).context("setting a timeout")?;
    let mut answer = vec![0; size + 1];
    let mut answers = 0;
    while answers < expected {
        match socket.recv(&mut answer) {
            Ok(bytes) if bytes == size => answers += 1,
            Ok(bytes) => bail!("an answer of {bytes} bytes came, expected {size}"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => return Err(error).context("waiting for answers"),
        }
    }
    Ok(answers)
}

/// A socket that can wait for its reader.
pub(crate) fn bind(address: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(address).with_context(|| format!("listening on {address} for UDP"))?;
    // Root may go beyond the system's maximum; anybody else gets what there is, which holds a hundred frames.
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES).context("enlarging the buffer")?;
    }
    Ok(socket)
}

/// Takes datagrams and sends those back that ask for it, for as long as the process lives.
pub(crate) fn serve(socket: &UdpSocket) {
    let mut datagram = vec![0; 1 << 16];
    loop {
        // An error is news about an earlier answer that nobody wanted (ICMP); the next datagram is read all the same.
        let Ok((bytes, from)) = socket.recv_from(&mut datagram) else { continue };
        if datagram[..bytes].first() == Some(&ECHO) {
            // The client counts; an answer that cannot be sent is one that does not come.
            let _ = socket.send_to(&datagram[..bytes], from);
        }
    }
}
