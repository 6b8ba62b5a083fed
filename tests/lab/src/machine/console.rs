//! Reading what the machine prints, up to the mark at the script's end, a maximum or the end of patience.

use std::io::Read;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::emulator::Emulator;

/// `init.sh` prints them, each on a line of its own.
const BEGIN: &str = "--- the script begins ---\n";
const END: &str = "\n--- the script has ended: ";

/// A script that prints more is printing for ever.
const CONSOLE_BYTES_MAX: usize = 8 << 20;
/// Of these so many may wait, each of at most 4 KiB.
const CHUNKS_WAITING_MAX: usize = 64;

/// What a script has done.
#[derive(Debug, Clone)]
pub struct Output {
    /// All that it printed, on standard output and on standard error.
    pub text: String,
    /// Its exit status.
    pub status: i32,
    /// From the machine's start to the script's first line.
    pub boot: Duration,
    /// From there to its end.
    pub script: Duration,
}

/// Reads one console.
#[derive(Debug)]
pub(super) struct Console {
    begun: Instant,
    deadline: Instant,
    text: String,
    /// When the script began.
    script: Option<Instant>,
}

impl Console {
    pub(super) fn new(timeout: Duration) -> Self {
        let begun = Instant::now();
        Self { begun, deadline: begun + timeout, text: String::new(), script: None }
    }

    /// Reads until the script has ended. The machine is off afterwards, whatever the result.
    pub(super) fn read(mut self, mut emulator: Emulator) -> Result<Output> {
        let chunks = chunks(&mut emulator)?;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match chunks.recv_timeout(left) {
                Ok(chunk) => self.text.push_str(&chunk),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("out of time after {:.0?}; {}", self.begun.elapsed(), self.tail())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("it ended before the script; {}", self.tail()),
            }
            if self.script.is_none() && self.text.contains(BEGIN) {
                self.script = Some(Instant::now());
            }
            if let Some((text, status)) = between(&self.text) {
                let now = Instant::now();
                let script = self.script.unwrap_or(now);
                return Ok(Output {
                    text: text.to_owned(),
                    status: status.parse().with_context(|| format!("the script's exit status is {status:?}"))?,
                    boot: script - self.begun,
                    script: now - script,
                });
            }
            if self.text.len() > CONSOLE_BYTES_MAX {
                bail!("it printed more than {CONSOLE_BYTES_MAX} bytes; {}", self.tail());
            }
        }
    }

    fn tail(&self) -> String {
        const LINES: usize = 30;
        let lines: Vec<_> = self.text.lines().collect();
        format!("its last lines:\n  {}", lines[lines.len().saturating_sub(LINES)..].join("\n  "))
    }
}

/// A pipe cannot be read with a timeout: a thread reads it, and ends with the emulator.
fn chunks(emulator: &mut Emulator) -> Result<Receiver<String>> {
    let mut console = emulator.console()?;
    let (sender, receiver) = mpsc::sync_channel(CHUNKS_WAITING_MAX);
    thread::Builder::new()
        .name("console".to_owned())
        .spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(bytes @ 1..) = console.read(&mut buffer) {
                // A terminal ends its lines with both.
                let text = String::from_utf8_lossy(&buffer[..bytes]).replace('\r', "");
                if sender.send(text).is_err() {
                    break;
                }
            }
        })
        .context("starting a thread")?;
    Ok(receiver)
}

/// What is between the marks, and the status that the second one tells.
fn between(text: &str) -> Option<(&str, &str)> {
    let (_, text) = text.split_once(BEGIN)?;
    // A script that prints nothing has only one line end between the marks, which belongs to the first.
    let (text, end) = match text.strip_prefix(&END[1..]) {
        Some(end) => ("", end),
        None => text.split_once(END)?,
    };
    Some((text, end.split_once(" ---")?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_output_is_what_is_between_the_marks() {
        let check = |console: &str, expected: Option<(&str, &str)>| assert_eq!(between(console), expected, "{console}");
        check("boot\n--- the script begins ---\na\nb\n--- the script has ended: 3 ---\n", Some(("a\nb", "3")));
        check("--- the script begins ---\n--- the script has ended: 0 ---", Some(("", "0")));
        check("--- the script begins ---\na\n--- the script has ended: 12", None);
        check("--- the script begins ---\na\n", None);
        check("nothing yet", None);
    }
}
