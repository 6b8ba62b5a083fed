//! What `traffic` claims to transfer is transferred, on this machine's own loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

struct Listener {
    child: Child,
    port: u16,
}

impl Listener {
    fn start() -> Self {
        let mut command = traffic(&["listen", "--port", "0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address: SocketAddr = said["address"].as_str().unwrap().parse().unwrap();
        Self { child, port: address.port() }
    }

    fn at(&self, host: &str) -> SocketAddr {
        SocketAddr::new(host.parse::<IpAddr>().unwrap(), self.port)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn traffic(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_traffic"));
    command.args(args);
    command
}

/// Runs it to its end; what it printed, or what it complained of.
fn run(args: &[&str]) -> Result<Value, String> {
    let output = traffic(args).output().unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[test]
fn tcp_transfers_the_bytes_in_both_directions_over_ipv4_and_ipv6() {
    let listener = Listener::start();
    for host in ["127.0.0.1", "::1"] {
        let to = listener.at(host).to_string();
        for direction in [&[][..], &["--receive"]] {
            for bytes in ["0", "1", "3000000"] {
                let said = run(&[&["tcp", "--to", &to, "--bytes", bytes], direction].concat()).unwrap();
                assert_eq!((&said["protocol"], said["bytes"].to_string().as_str()), (&"tcp".into(), bytes));
                assert!(said["seconds"].as_f64().unwrap() > 0.0);
            }
        }
    }
}

#[test]
fn every_datagram_arrives_and_comes_back_if_asked_for() {
    let listener = Listener::start();
    for host in ["127.0.0.1", "::1"] {
        let to = listener.at(host).to_string();
        for size in ["1", "1400", "9000"] {
            let said = run(&["udp", "--to", &to, "--datagrams", "200", "--size", size, "--echo"]).unwrap();
            assert_eq!(said["datagrams"], 200);
            assert_eq!(said["bytes"], 200 * size.parse::<u64>().unwrap());
            assert_eq!(said["answers"], 200, "{host}, {size} bytes");
        }
        let said = run(&["udp", "--to", &to, "--datagrams", "10", "--size", "10"]).unwrap();
        assert_eq!(said.get("answers"), None, "nobody was asked to answer");
    }
}

#[test]
fn datagrams_are_sent_at_the_pace_asked_for() {
    let listener = Listener::start();
    let to = listener.at("127.0.0.1").to_string();
    let said = run(&["udp", "--to", &to, "--datagrams", "100", "--size", "10", "--pps", "200"]).unwrap();
    let seconds = said["seconds"].as_f64().unwrap();
    assert!((0.45..1.0).contains(&seconds), "99 gaps of 5 ms took {seconds} s");
}

#[test]
fn a_transfer_that_is_cut_short_is_an_error() {
    let listener = Listener::start();
    let mut stream = TcpStream::connect(listener.at("127.0.0.1")).unwrap();
    stream.write_all(b"send 10\n12345").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "nothing is confirmed");

    let to = listener.at("127.0.0.1").to_string();
    drop(listener);
    let error = run(&["tcp", "--to", &to, "--bytes", "1"]).unwrap_err();
    assert!(error.contains(&format!("connecting to {to}")), "{error}");
}

#[test]
fn a_cgroup_that_is_not_there_is_an_error_and_is_not_made() {
    let folder = std::env::temp_dir().join(format!("traffic-no-cgroup-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let error = run(&["--cgroup", folder.to_str().unwrap(), "sleep"]).unwrap_err();
    assert!(error.contains("joining the cgroup"), "{error}");
    // Succeeds only if nothing has been put into it.
    std::fs::remove_dir(&folder).unwrap();
}

#[test]
fn it_ends_at_sigterm() {
    for args in [&["sleep"][..], &["listen", "--port", "0"]] {
        let mut child = traffic(args).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success(), "{args:?}");
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}
