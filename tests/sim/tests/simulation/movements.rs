//! What becomes of a service's tasks does not depend on chance, where a script asks for it; a real Swarm is held against the
//! same scripts in the end-to-end tests.

use std::path::Path;

use swarmguard_sim::movement;

#[test]
fn chance_decides_nothing_that_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../movements");
    let mut scripts = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let script = std::fs::read_to_string(&path).unwrap();
        let steps = movement::read(&script).unwrap_or_else(|line| panic!("{}: line {line}", path.display()));
        let told = movement::on_model(&steps, 1).unwrap();
        if std::env::var_os("SWARMGUARD_SHOW").is_some() {
            println!("== {}\n{told}", path.display());
        }
        for seed in 2..100 {
            assert_eq!(movement::on_model(&steps, seed).unwrap(), told, "{}, seed {seed}", path.display());
        }
        scripts += 1;
    }
    assert!(scripts >= 10, "{scripts} scripts");
}
