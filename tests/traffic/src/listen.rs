//! The one who answers: TCP and UDP on the same port number.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::cli::Listen;
use crate::{say, tcp, udp};

/// How often a free TCP port is looked for whose number is free for UDP as well.
const PORTS_TRIED_MAX: u32 = 20;

/// Answers for as long as the process lives.
pub(crate) fn run(listen: &Listen, out: &mut impl Write) -> Result<()> {
    let (connections, datagrams) = bind(SocketAddr::new(listen.address, listen.port))?;
    let address = connections.local_addr().context("asking for the port")?;
    std::thread::Builder::new()
        .name("udp".to_owned())
        .spawn(move || udp::serve(&datagrams))
        .context("starting a thread")?;
    say(out, &json!({ "address": address }))?;
    tcp::serve(&connections)
}

fn bind(wanted: SocketAddr) -> Result<(TcpListener, UdpSocket)> {
    for _ in 0..PORTS_TRIED_MAX {
        let connections = TcpListener::bind(wanted).with_context(|| format!("listening on {wanted} for TCP"))?;
        let same_port = connections.local_addr().context("asking for the port")?;
        match udp::bind(same_port) {
            Ok(datagrams) => return Ok((connections, datagrams)),
            // The number that TCP has got is taken for UDP: another one, unless just this one was wanted.
            Err(_) if wanted.port() == 0 => {}
            Err(error) => return Err(error),
        }
    }
    bail!("no port is free for both TCP and UDP in {PORTS_TRIED_MAX} tries")
}
