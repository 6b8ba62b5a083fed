//! Worlds that broke a promise once, shortened to the fewest events that did it: they keep it now.

use swarmguard_sim::{run, script};

#[test]
fn a_world_that_broke_a_promise_once_breaks_it_no_more() {
    let mut worlds = 0;
    for line in script::kept(include_str!("../../regressions.txt")) {
        let (script, what) = line.unwrap();
        let outcome = run(&script, false);
        assert!(outcome.violations.is_empty(), "{what}: {}", outcome.violations[0]);
        worlds += 1;
    }
    assert!(worlds > 0, "there are none");
}
