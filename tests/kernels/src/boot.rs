//! The machines, and what their scripts printed.
//!
//! Booting and counting take many seconds, so each machine is booted once, with all that is to be done on it, and the
//! tests look at different parts of what it printed. The machines run beside each other.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use swarmguard_lab::machine::{Arch, Machine, Output};

use crate::binaries::program;
use crate::transfer::{Ip, Transfer};

/// For everything that one machine does. It takes a fifth of that on two cores that have nothing else to do.
const TIMEOUT: Duration = Duration::from_secs(150);

/// The functions that the scripts are made of.
const FUNCTIONS: &str = include_str!("boot/functions.sh");

/// What is counted: over TCP and UDP, IPv4 and IPv6, in both directions, and less in one than in the other.
pub const TRANSFERS: [Transfer; 4] = [
    Transfer::Send(Ip::V4, 4_000_000),
    Transfer::Receive(Ip::V6, 2_000_000),
    Transfer::Datagrams(Ip::V4, 400, 1_200),
    Transfer::Echoes(Ip::V6, 200, 500),
];

/// The same with less of it, where only one more thing about the kernel is different.
pub const SHORT_TRANSFERS: [Transfer; 2] = [Transfer::Send(Ip::V6, 2_000_000), Transfer::Echoes(Ip::V4, 200, 500)];

/// One whose first packet is lost.
const LOST_TRANSFER: Transfer = Transfer::Send(Ip::V4, 100_000);

/// A machine to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// As Debian has it.
    Plain(Arch),
    /// With the memory controller switched off, as on a Raspberry Pi.
    WithoutMemory,
}

/// A Raspberry Pi's.
const WITHOUT_MEMORY_ARCH: Arch = Arch::Arm64;

/// What a script printed, in its parts.
#[derive(Debug)]
pub struct Printed {
    parts: BTreeMap<String, String>,
    /// From the machine's start to the script's first line.
    pub boot: Duration,
    /// The script.
    pub script: Duration,
}

impl Printed {
    /// The text of one part.
    ///
    /// # Errors
    /// When the script has not come there.
    pub fn part(&self, name: &str) -> Result<&str> {
        let found = self.parts.get(name).map(String::as_str);
        found.with_context(|| format!("the script printed no part {name:?}, but {:?}", self.parts.keys()))
    }
}

/// What this machine's script printed. The first one who asks waits for all machines.
///
/// # Errors
/// When it could not be run to its end; the same for everyone who asks.
pub fn printed(boot: Boot) -> Result<&'static Printed> {
    static PRINTED: OnceLock<[Result<Printed>; 3]> = OnceLock::new();
    let [amd64, arm64, without_memory] = PRINTED.get_or_init(run_all);
    let printed = match boot {
        Boot::Plain(Arch::Amd64) => amd64,
        Boot::Plain(Arch::Arm64) => arm64,
        Boot::WithoutMemory => without_memory,
    };
    printed.as_ref().map_err(|error| anyhow!("{boot:?}: {error:#}"))
}

/// Two at a time: the third is short, and follows the faster architecture.
fn run_all() -> [Result<Printed>; 3] {
    thread::scope(|scope| {
        let amd64 = scope.spawn(|| run(Boot::Plain(Arch::Amd64)));
        let both = (run(Boot::Plain(Arch::Arm64)), run(Boot::WithoutMemory));
        let amd64 = amd64.join().unwrap_or_else(|_| Err(anyhow!("the thread panicked")));
        [amd64, both.0, both.1]
    })
}

fn run(boot: Boot) -> Result<Printed> {
    let (arch, word, script) = match boot {
        Boot::Plain(arch) => (arch, None, plain()),
        Boot::WithoutMemory => (WITHOUT_MEMORY_ARCH, Some("cgroup_disable=memory"), without_memory()),
    };
    let mut machine = Machine::new(arch).module("veth");
    for name in ["swarmguard-agent", "traffic"] {
        machine = machine.program(&program(arch, name)?);
    }
    let machine = word.into_iter().fold(machine, Machine::kernel_word);
    let Output { text, status, boot, script } = machine.run(&format!("{FUNCTIONS}{script}"), TIMEOUT)?;
    ensure!(status == 0, "the script failed with {status}:\n{text}");
    Ok(Printed { parts: parts(&text), boot, script })
}

fn plain() -> String {
    let mut script = String::from("prepare\ndoctor doctor\n");
    counted(&mut script, "counted", &TRANSFERS);
    script.push_str("refused\npressure\nkilled\nmount -t tmpfs tmpfs /sys/kernel/btf\npart btf\nls /sys/kernel/btf\n");
    counted(&mut script, "without-btf", &SHORT_TRANSFERS);
    let _ = writeln!(script, "begin_sample lost\nlost 0 {}\nend_sample", LOST_TRANSFER.arguments());
    script
}

fn without_memory() -> String {
    "prepare\ndoctor doctor\nbusy\nmeasure measured\n".to_owned()
}

fn counted(script: &mut String, sample: &str, transfers: &[Transfer]) {
    // Writing to a String cannot fail.
    let _ = writeln!(script, "begin_sample {sample}");
    for (number, transfer) in transfers.iter().enumerate() {
        let _ = writeln!(script, "transfer {number} {}", transfer.arguments());
    }
    script.push_str("end_sample\n");
}

/// `functions.sh` prints a headline before each part.
fn parts(text: &str) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        match line.strip_prefix("=== ").and_then(|rest| rest.strip_suffix(" ===")) {
            Some(headline) => {
                name = headline.to_owned();
                parts.insert(name.clone(), String::new());
            }
            None => {
                let part: &mut String = parts.entry(name.clone()).or_default();
                part.push_str(line);
                part.push('\n');
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_follows_its_headline() {
        let parts = parts("before\n=== a ===\n1\n2\n=== b c ===\n=== d ===\n4\n");
        let of = |name: &str| parts[name].as_str();
        assert_eq!((of(""), of("a"), of("b c"), of("d")), ("before\n", "1\n2\n", "", "4\n"));
    }
}
