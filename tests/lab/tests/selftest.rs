//! The lab brings itself up and leaves nothing behind, also when it was cut short.
//!
//! Needs root and Docker, and fails without: `cargo xtask test` sees to both.

#![cfg(test)]

mod tests {
    use std::path::Path;
    use std::sync::Mutex;
    use std::time::Duration;

    use bytes::Bytes;
    use swarmguard_lab::load::Load;
    use swarmguard_lab::servers::{Balancer, haproxy};
    use swarmguard_lab::{ImageFile, Lab, Name, Options, Place, load_image};

    const NAME: Name = Name::Selftest;

    /// Both tests use the one lab of that name.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn run(test: impl Future<Output = ()>) {
        assert!(rustix::process::geteuid().is_root(), "needs root: run cargo xtask test");
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    /// Everything on this machine that bears the lab's name or lies in its folder.
    fn traces() -> Vec<String> {
        let mut found = Vec::new();
        let marks = [format!("sg-{NAME}"), NAME.state_dir().display().to_string()];
        let is_marked = |text: &str| marks.iter().any(|mark| text.contains(mark.as_str()));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        found.extend(mounts.lines().filter(|line| is_marked(line)).map(|line| format!("mount {line}")));
        let cgroups =
            mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
        for dir in ["/run/netns", "/sys/class/net", "/var/lib/swarmguard-lab"].into_iter().chain(cgroups) {
            let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let names = names.filter_map(|entry| entry.file_name().into_string().ok());
            let ours = names.filter(|name| is_marked(name) || name.starts_with(NAME.as_str()));
            found.extend(ours.map(|name| format!("{dir}/{name}")));
        }
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if is_marked(&line) {
                found.push(format!("process {} {line}", entry.path().display()));
            }
        }
        found
    }

    #[test]
    fn a_lab_comes_up_works_and_goes_without_a_trace() {
        run(async {
            Lab::clean(NAME).await.unwrap();
            let lab = Lab::up(Options::new(NAME, 1), &|_| ()).await.unwrap();

            let again = Lab::up(Options::new(NAME, 1), &|_| ()).await.unwrap_err().to_string();
            assert!(again.contains("cargo xtask lab down --name selftest"), "{again}");

            let script = "hostname; ls /sys/class/net; ls -d /sys/fs/cgroup/*; exec sleep 1000";
            let process =
                lab.spawn(Place::Node(1), "sleeper", Path::new("/bin/sh"), ["-c", script], [("A", "b")]).unwrap();
            let opened = Lab::open(NAME).unwrap();
            assert_eq!(opened.process("sleeper").unwrap().pid(), process.pid());
            tokio::time::sleep(Duration::from_millis(200)).await;
            let log = std::fs::read_to_string(process.log_path()).unwrap();
            assert!(log.starts_with("node1\n") && log.contains("\neth0\n") && log.contains("/sys/fs/cgroup/"), "{log}");
            assert!(process.is_running());

            let file = ImageFile { path: "hello".into(), mode: 0o644, contents: Bytes::from_static(b"hello") };
            load_image(&lab, "selftest:1", "FROM scratch\nCOPY hello /\n", &[file]).await.unwrap();
            let docker = lab.nodes()[0].docker().await.unwrap();
            docker.inspect_image("selftest:1").await.unwrap();

            // A node's Docker dies and comes back, to the same Swarm.
            lab.process("dockerd-node1").unwrap().kill().await.unwrap();
            assert!(!lab.is_healthy().await);
            lab.start_dockerd(1).await.unwrap();
            docker.inspect_image("selftest:1").await.unwrap();

            // Nothing answers behind the balancer: it says so itself, and that is a failure.
            let mut balancer = haproxy(&lab, Balancer::new("web", 8080, 9000)).await.unwrap();
            let load = Load::new(&balancer.url(), 100).start().unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            let report = load.stop().await.unwrap();
            assert_eq!(report.statuses.get(&503), Some(&report.failed), "{report}");
            balancer.start().await.unwrap();
            assert_eq!(balancer.counters().await.unwrap().len(), 1);

            lab.down(&|_| ()).await.unwrap();
            assert!(!process.is_running());
            assert!(Lab::open(NAME).is_none());
            assert_eq!(traces(), Vec::<String>::new());
            // Twice is as good as once.
            Lab::clean(NAME).await.unwrap();
            assert_eq!(traces(), Vec::<String>::new());
        });
    }

    #[test]
    fn a_lab_that_was_cut_short_is_cleaned_up() {
        run(async {
            Lab::clean(NAME).await.unwrap();
            // Cut short while coming up, at several points, dockerd killed on top.
            for after_ms in [20, 200] {
                let up = Lab::up(Options::new(NAME, 2), &|_| ());
                let cut = tokio::time::timeout(Duration::from_millis(after_ms), up).await;
                assert!(cut.is_err(), "the lab was up before it could be cut short");
                assert!(Lab::open(NAME).is_none());
                for record in std::fs::read_dir(NAME.state_dir().join("processes")).into_iter().flatten().flatten() {
                    let pid = record.file_name().into_string().unwrap();
                    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
                }
                assert_ne!(traces(), Vec::<String>::new());
                Lab::clean(NAME).await.unwrap();
                assert_eq!(traces(), Vec::<String>::new());
            }
            // No more than the first steps done, by someone who then was killed.
            for args in ["netns add sg-selftest-hub", "netns add sg-selftest-2", "link add sg-selftest type bridge"] {
                assert!(std::process::Command::new("ip").args(args.split(' ')).status().unwrap().success());
            }
            Lab::clean(NAME).await.unwrap();
            assert_eq!(traces(), Vec::<String>::new());
            // Its notes lost: what is there is found by name alone.
            let lab = Lab::up(Options::new(NAME, 1), &|_| ()).await.unwrap();
            std::fs::remove_dir_all(lab.state_dir().join("processes")).unwrap();
            std::fs::remove_file(lab.state_dir().join("lab.json")).unwrap();
            Lab::clean(NAME).await.unwrap();
            assert_eq!(traces(), Vec::<String>::new());
        });
    }
}
