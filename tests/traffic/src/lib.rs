//! Sends a known amount of traffic, so that a test knows what whoever counts should have counted.
//!
//! One static program for containers without anything else in them, for emulated machines and for the lab. Read in the
//! order of the `mod` lines: what it is told ([`Cli`]), where it belongs (`cgroup`), the one who answers (`listen`), the
//! two who ask (`tcp`, `udp`), and how fast (`pace`).
//!
//! It is not a benchmark: it goes as slowly as it must to lose nothing. The invariant: when it ends with success, the
//! payload that it was told to transfer has been transferred, no byte more or less.

mod cli;

mod cgroup;

mod listen;

mod tcp;
mod udp;

mod pace;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};

pub use cli::{Cli, Command, Listen, Tcp, Udp};

/// Does what the command line says; what there is to say goes to `out`, one JSON object on a line.
///
/// # Errors
/// Says what could not be done, and with whom. Datagrams without an answer are a figure, not an error.
pub fn run(cli: Cli, out: &mut impl Write) -> Result<()> {
    end_at_sigterm()?;
    // Sockets belong to the cgroup that their process was in when it opened them.
    if let Some(folder) = &cli.cgroup {
        cgroup::join(folder)?;
    }
    match cli.command {
        Command::Listen(listen) => listen::run(&listen, out),
        Command::Tcp(tcp) => say(out, &tcp::transfer(&tcp)?),
        Command::Udp(udp) => say(out, &udp::send(&udp)?),
        Command::Sleep => loop {
            std::thread::park();
        },
    }
}

/// As process 1 of a container, SIGTERM does nothing at all unless a handler is there, and ending it takes 10 seconds.
fn end_at_sigterm() -> Result<()> {
    let at_once = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGTERM, 0, at_once)
        .context("preparing for SIGTERM")?;
    Ok(())
}

fn say(out: &mut impl Write, object: &serde_json::Value) -> Result<()> {
    writeln!(out, "{object}").and_then(|()| out.flush()).context("printing the figures")
}
