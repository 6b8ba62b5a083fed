//! Anything at all in the kernel's files: `cargo xtask fuzz`, or `cargo fuzz run files` in `agent`.

#![no_main]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
#[allow(dead_code, reason = "each of those who share it needs a part")]
#[path = "../../tests/spoilt/mod.rs"]
mod spoilt;

use libfuzzer_sys::fuzz_target;
use spoilt::Spoilt;

// A host for each story, so that the story alone is what is broken by.
fuzz_target!(|story: &[u8]| Spoilt::new("fuzz").tell(story));
