//! Where this host's cgroup hierarchies are mounted, and where in them a process is.
//!
//! The path comes from `/proc/<pid>/cgroup`, so any cgroup driver, parent and nesting works; nothing is guessed from
//! a container's name. Formats: proc(5) for `mountinfo`, cgroups(7) for `cgroup`.

use std::path::{Component, Path, PathBuf};

/// The mounts of all hierarchies.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    v1: Vec<Mount>,
    v2: Option<Mount>,
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// Controllers of a v1 hierarchy; empty for v2.
    controllers: Vec<String>,
    /// The directory of the hierarchy that is mounted.
    root: PathBuf,
    /// Where it is mounted.
    point: PathBuf,
}

impl Hierarchies {
    /// Reads the text of `/proc/self/mountinfo`; only mounts below `sys` (`/sys`, or where the host's is mounted) count.
    pub fn parse(mountinfo: &str, sys: &Path) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((mount, kind)) = mount(line) else { continue };
            if !mount.point.starts_with(sys) {
                continue;
            }
            if kind == "cgroup2" {
                found.v2.get_or_insert(mount);
            } else if !found.v1.iter().any(|known| known.controllers == mount.controllers) {
                found.v1.push(mount);
            }
        }
        found
    }

    /// The directory of a v1 controller for a process; `None` where the controller is not v1's.
    pub fn v1_path(&self, controller: &str, membership: &Membership) -> Option<PathBuf> {
        let mount = self.v1.iter().find(|mount| mount.controllers.iter().any(|name| name == controller))?;
        let (_, path) = membership.v1.iter().find(|(names, _)| names.iter().any(|name| name == controller))?;
        mount.directory(path)
    }

    /// The v2 directory for a process.
    pub fn v2_path(&self, membership: &Membership) -> Option<PathBuf> {
        self.v2.as_ref()?.directory(membership.v2.as_ref()?)
    }

    /// Where v2 is mounted.
    pub fn v2_mount(&self) -> Option<&Path> {
        self.v2.as_ref().map(|mount| mount.point.as_path())
    }

    /// Whether any v1 hierarchy is mounted.
    pub fn has_v1(&self) -> bool {
        self.v1.iter().any(|mount| mount.controllers.iter().any(|name| !name.starts_with("name=")))
    }

    /// Whether a controller has a v1 hierarchy.
    pub fn has_v1_controller(&self, controller: &str) -> bool {
        self.v1.iter().any(|mount| mount.controllers.iter().any(|name| name == controller))
    }

    /// All mount points, v2's first.
    pub fn mounts(&self) -> impl Iterator<Item = &Path> {
        self.v2.iter().chain(&self.v1).map(|mount| mount.point.as_path())
    }

    /// Whether no hierarchy was found.
    pub fn is_empty(&self) -> bool {
        self.v1.is_empty() && self.v2.is_none()
    }
}

impl Mount {
    fn directory(&self, path: &Path) -> Option<PathBuf> {
        // A path with `..` is of another cgroup namespace: it does not name a directory below this mount.
        if path.components().any(|component| component == Component::ParentDir) {
            return None;
        }
        let below = path.strip_prefix(&self.root).ok()?;
        Some(self.point.join(below))
    }
}

/// `36 35 98:0 /root /point options - type source super-options`, with any number of optional fields before the dash.
fn mount(line: &str) -> Option<(Mount, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let kind = after.next().filter(|kind| matches!(*kind, "cgroup" | "cgroup2"))?;
    let super_options = after.nth(1)?;
    let controllers = if kind == "cgroup2" {
        Vec::new()
    } else {
        super_options.split(',').filter(|option| !matches!(*option, "rw" | "ro")).map(str::to_owned).collect()
    };
    Some((Mount { controllers, root: root.into(), point: point.into() }, kind))
}

/// Where a process is in each hierarchy.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Membership {
    v1: Vec<(Vec<String>, PathBuf)>,
    v2: Option<PathBuf>,
}

impl Membership {
    /// Reads the text of `/proc/<pid>/cgroup`: lines of `number:controllers:path`, v2's with no controllers.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            if number == "0" && controllers.is_empty() {
                found.v2 = Some(path.into());
            } else {
                found.v1.push((controllers.split(',').map(str::to_owned).collect(), path.into()));
            }
        }
        found
    }

    /// The same place in every hierarchy, for cgroups that are known by it and not by a process.
    pub fn everywhere(hierarchies: &Hierarchies, path: &Path) -> Self {
        let v1 = hierarchies.v1.iter().map(|mount| (mount.controllers.clone(), path.to_owned())).collect();
        Self { v1, v2: Some(path.to_owned()) }
    }

    /// How many levels below the v2 hierarchy's root it is.
    pub fn v2_level(&self) -> Option<u32> {
        let normal = |component: &Component<'_>| matches!(component, Component::Normal(_));
        u32::try_from(self.v2.as_ref()?.components().filter(normal).count()).ok()
    }

    /// Whether its cgroup of v2, if it has one, is its own. Beside v1 an engine may put containers into v1's hierarchies
    /// alone: they share a cgroup of v2 with it, and all their traffic is everybody's.
    pub fn has_own_v2(&self) -> bool {
        let counts = |names: &[String]| names.iter().any(|name| name == "cpuacct" || name == "memory");
        self.v1.iter().filter(|(names, _)| counts(names)).all(|(_, path)| Some(path) == self.v2.as_ref())
    }

    /// Whether the paths are of another cgroup namespace than this process's, and so lead nowhere.
    pub fn is_foreign(&self) -> bool {
        let outside = |path: &PathBuf| path.components().any(|component| component == Component::ParentDir);
        self.v2.iter().chain(self.v1.iter().map(|(_, path)| path)).any(outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 20 0:21 / /sys rw,relatime - sysfs sysfs rw
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
34 20 0:27 / /elsewhere/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
";
    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const JOINED: &str = "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";

    fn check(mountinfo: &str, cgroup: &str, cpuacct: Option<&str>, unified: Option<&str>) {
        let hierarchies = Hierarchies::parse(mountinfo, Path::new("/sys"));
        let membership = Membership::parse(cgroup);
        assert_eq!(hierarchies.v1_path("cpuacct", &membership), cpuacct.map(PathBuf::from), "v1");
        assert_eq!(hierarchies.v2_path(&membership), unified.map(PathBuf::from), "v2");
    }

    #[test]
    fn a_hybrid_host_has_both() {
        check(
            HYBRID,
            "4:memory:/docker/abc\n2:cpuacct:/docker/abc\n0::/docker/abc\n",
            Some("/sys/fs/cgroup/cpuacct/docker/abc"),
            Some("/sys/fs/cgroup/unified/docker/abc"),
        );
    }

    #[test]
    fn a_v2_host_has_one() {
        let cgroup = "0::/system.slice/docker-abc.scope\n";
        check(V2, cgroup, None, Some("/sys/fs/cgroup/system.slice/docker-abc.scope"));
    }

    #[test]
    fn controllers_that_share_a_hierarchy_are_each_found() {
        check(JOINED, "2:cpu,cpuacct:/docker/abc\n", Some("/sys/fs/cgroup/cpu,cpuacct/docker/abc"), None);
    }

    #[test]
    fn a_path_of_another_cgroup_namespace_leads_nowhere() {
        check(V2, "0::/../docker-abc.scope\n", None, None);
        assert!(Membership::parse("0::/../docker-abc.scope\n").is_foreign());
        assert!(!Membership::parse("0::/docker-abc.scope\n").is_foreign());
    }

    #[test]
    fn a_mount_of_a_part_of_the_hierarchy_is_taken_off_the_path() {
        let part = "30 24 0:26 /docker /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        check(part, "0::/docker/abc\n", None, Some("/sys/fs/cgroup/abc"));
        check(part, "0::/elsewhere/abc\n", None, None);
    }

    #[test]
    fn a_container_that_is_in_v1_alone_has_no_cgroup_of_v2_of_its_own() {
        let check = |cgroup: &str, own| assert_eq!(Membership::parse(cgroup).has_own_v2(), own, "{cgroup}");
        check("4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/docker/abc\n", true);
        check("4:memory:/docker/abc\n2:cpuacct:/docker/abc\n0::/system.slice/docker.service\n", false);
        check("4:memory:/docker/abc\n", false);
        check("1:name=systemd:/elsewhere\n0::/docker/abc\n", true);
    }

    #[test]
    fn nonsense_is_passed_over() {
        check("not a mount\n\n1 2 3\n", "no colons\n\n:\n", None, None);
    }
}
