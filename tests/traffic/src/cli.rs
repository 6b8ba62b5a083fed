//! The command line.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::udp::{DATAGRAM_BYTES_MAX, PER_SECOND};

/// Sends a known amount of traffic.
#[derive(Debug, Parser)]
#[command(name = "traffic", version)]
pub struct Cli {
    /// Folder of the cgroup to belong to, such as /sys/fs/cgroup/test/a; it must be there
    #[arg(long, global = true)]
    pub cgroup: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer the others, until it is ended; prints {"address"} when it is ready
    Listen(Listen),
    /// Transfer bytes over one TCP connection; prints {"protocol", "bytes", "seconds"}
    Tcp(Tcp),
    /// Send datagrams; prints {"protocol", "datagrams", "bytes", "seconds"}
    Udp(Udp),
    /// Do nothing, until it is ended: for a cgroup that needs a process
    Sleep,
}

/// Where to listen.
#[derive(Debug, Args)]
pub struct Listen {
    /// Address for TCP and UDP; :: is IPv4 too
    #[arg(long, default_value_t = IpAddr::V6(Ipv6Addr::UNSPECIFIED))]
    pub address: IpAddr,
    /// Port for TCP and UDP; 0 takes a free one
    #[arg(long)]
    pub port: u16,
}

/// A transfer over TCP.
#[derive(Debug, Args)]
pub struct Tcp {
    /// The listener, as ADDRESS:PORT or [ADDRESS]:PORT
    #[arg(long)]
    pub to: SocketAddr,
    /// Payload; a line of less than 30 bytes goes before it, and one comes back after what was sent
    #[arg(long)]
    pub bytes: u64,
    /// From the listener to here instead
    #[arg(long)]
    pub receive: bool,
}

/// Datagrams to send.
#[derive(Debug, Args)]
pub struct Udp {
    /// The listener, as ADDRESS:PORT or [ADDRESS]:PORT
    #[arg(long)]
    pub to: SocketAddr,
    /// How many
    #[arg(long)]
    pub datagrams: u64,
    /// Bytes of payload in each, 1 to 65507
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=DATAGRAM_BYTES_MAX))]
    pub size: u32,
    /// Datagrams a second; the default is slow enough for an emulated processor
    #[arg(long, default_value_t = PER_SECOND)]
    pub pps: NonZeroU32,
    /// Let the listener send each datagram back, and print how many came back as "answers"
    #[arg(long)]
    pub echo: bool,
}
