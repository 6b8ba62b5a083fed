//! Writes what the fuzzer begins with into the folder given: each file as it is.

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
#[allow(dead_code, reason = "each of those who share it needs a part")]
#[path = "../../tests/spoilt/mod.rs"]
mod spoilt;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or(std::io::ErrorKind::InvalidInput)?.into();
    let host = spoilt::Spoilt::new("beginnings");
    (0..)
        .zip(host.beginnings())
        .try_for_each(|(number, story): (u32, _)| std::fs::write(folder.join(number.to_string()), story))
}
