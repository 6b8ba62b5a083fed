//! Anything at all in the kernel's files: `cargo xtask fuzz`, or `cargo fuzz run files` in `agent`.

#![no_main]

#[path = "../../tests/fake_host/mod.rs"]
mod fake_host;
#[allow(dead_code, reason = "each of those who share it needs a part")]
#[path = "../../tests/spoilt/mod.rs"]
mod spoilt;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use spoilt::Spoilt;

thread_local! {
    /// Kept from story to story: making one takes longer than reading it.
    static HOST: RefCell<Spoilt> = RefCell::new(Spoilt::new("fuzz"));
}

fuzz_target!(|story: &[u8]| {
    HOST.with_borrow_mut(|host| host.tell(story));
});
