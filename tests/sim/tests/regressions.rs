//! Worlds that broke a promise once, shortened to the fewest events that did it: they keep it now.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use swarmguard_sim::{Script, run};

/// A line is a seed and the numbers of its events; `calm` before it for a calm day. `cargo xtask simulate` prints it.
const WORLDS: &str = include_str!("../regressions.txt");

#[test]
fn a_world_that_broke_a_promise_once_breaks_it_no_more() {
    let mut worlds = 0;
    for line in WORLDS.lines().map(|line| line.split('#').next().unwrap().trim()).filter(|line| !line.is_empty()) {
        let (is_calm, numbers) = match line.strip_prefix("calm ") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let mut numbers = numbers.split_whitespace().map(|number| number.parse::<u64>().unwrap());
        let seed = numbers.next().unwrap();
        let events: Vec<usize> = numbers.map(|number| usize::try_from(number).unwrap()).collect();
        let outcome = run(&Script::with_events(seed, is_calm, &events), false);
        assert!(outcome.violations.is_empty(), "{line}: {}", outcome.violations[0]);
        assert!(!is_calm || outcome.actions[0] == 0, "{line}: {} actions", outcome.actions[0]);
        worlds += 1;
    }
    assert!(worlds > 0, "there are none");
}
