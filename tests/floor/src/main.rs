//! The floor under every agent: reads each file given once per second on kept descriptors, makes a number of what it
//! finds, and does nothing else. What an agent costs beyond this is its own doing.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let files = std::env::args_os().skip(1).map(File::open).collect::<Result<Vec<_>>>()?;
    let mut buffer = [0; 4096];
    let mut deadline = Instant::now();
    loop {
        let mut sum = 0_u64;
        for file in &files {
            let length = file.read_at(&mut buffer, 0)?;
            sum = sum.wrapping_add(number(&buffer[..length]).ok_or(Error::from(ErrorKind::InvalidData))?);
        }
        // So that no compiler finds that nobody wants the numbers.
        std::hint::black_box(sum);
        deadline += SECOND;
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    }
}

/// The first number in the text: the only one of most files, `usage_usec` of `cpu.stat`.
fn number(text: &[u8]) -> Option<u64> {
    let start = text.iter().position(u8::is_ascii_digit)?;
    let digits = text[start..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.map(|digit| u64::from(digit - b'0')).try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(digit))
}
